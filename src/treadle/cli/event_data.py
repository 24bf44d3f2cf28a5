"""Reads what an event holds, whatever it holds: a newer server's may be of any shape."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Cost:
    """Tokens are whole, cost is US dollars."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cost_usd + other.cost_usd,
        )


def first_line(text: str) -> str:
    """The first line that says something."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def text_of(data: Mapping[str, object], key: str) -> str:
    """The text under `key`, or ""."""
    value = data.get(key)
    return value if isinstance(value, str) else ""


def number_of(data: Mapping[str, object], key: str) -> float:
    """The number under `key`, or 0."""
    value = data.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0


def whole(data: Mapping[str, object], key: str) -> int:
    """The number under `key` without its fraction, or 0."""
    value = number_of(data, key)
    return int(value) if math.isfinite(value) else 0


def cost_of(usage: Mapping[str, object]) -> Cost:
    """The cost in a `usage` object."""
    return Cost(whole(usage, "inputTokens"), whole(usage, "outputTokens"), number_of(usage, "costUsd"))


def outcome_of(data: Mapping[str, object]) -> str:
    """How a command ended: its exit code, or why it has none."""
    code = data.get("exitCode")
    return f"exit code {code}" if isinstance(code, int) else f"ended, {text_of(data, 'reason') or 'nobody knows why'}"


#: What of a tool's input tells most, in this order.
_TELLING: Final = ("file_path", "path", "notebook_path", "command", "pattern", "url", "query", "description", "prompt")


def describe_tool(data: Mapping[str, object]) -> str:
    """A tool call in a few words: its name and the telling part of its input."""
    name, given = text_of(data, "tool") or "tool", data.get("input")
    if isinstance(given, Mapping):
        for key in _TELLING:
            if value := text_of(given, key):
                return f"{name} {value}"
    return name
