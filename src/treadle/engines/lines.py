"""What every reader of an engine's lines needs: JSON that cannot hurt, and events of bounded size."""

import json
import signal
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from treadle.domain.events import MAX_TEXT, Draft, EventType, JsonObject, JsonValue, clip

#: No count of tokens and no cost is larger, whatever a line says, so that every database can hold their sum.
MAX_NUMBER = 10**15

_Item = TypeVar("_Item")

#: Deeper JSON in a tool's input is shown as text.
_MAX_DEPTH = 32


def decode(line: bytes) -> dict[str, JsonValue] | None:
    """The JSON object in a line; None for anything else."""
    try:
        value = json.loads(line, parse_constant=lambda _: None)  # NaN and Infinity are no JSON
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def clean(text: str) -> str:
    """`text` without what databases and encoders refuse: half surrogate pairs and NUL."""
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\0", "\ufffd")


def as_text(value: JsonValue) -> str:
    return value if isinstance(value, str) else ""


def as_object(value: JsonValue) -> JsonObject:
    return value if isinstance(value, Mapping) else {}


def as_objects(value: JsonValue) -> list[JsonObject]:
    """The objects in a list; whatever else it holds is left out."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def as_count(value: JsonValue) -> int:
    """A whole number that is not negative, and at most MAX_NUMBER; 0 for anything else."""
    return min(value, MAX_NUMBER) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def as_amount(value: JsonValue) -> float:
    """A number that is not negative, and at most MAX_NUMBER; 0.0 for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    return float(min(value, MAX_NUMBER)) if value > 0 else 0.0


def text_event(kind: EventType, text: str) -> list[Draft]:
    """An event with a text; none for a text that is blank."""
    if not text.strip():
        return []
    return [Draft(kind, _clipped({}, "text", text))]


def tool_started(tool_id: str, tool: str, arguments: JsonValue) -> Draft:
    data: dict[str, JsonValue] = {"id": clean(tool_id), "tool": clean(tool)}
    trimmer = _Trimmer()
    data["input"] = trimmer.trim(arguments, 0)
    if trimmer.cut:
        data["clipped"] = trimmer.cut
    return Draft(EventType.TOOL_STARTED, data)


def tool_finished(tool_id: str, output: str, *, is_error: bool) -> Draft:
    return Draft(EventType.TOOL_FINISHED, _clipped({"id": clean(tool_id), "isError": is_error}, "output", output))


def _clipped(data: dict[str, JsonValue], name: str, text: str) -> JsonObject:
    data[name], cut = clip(clean(text))
    if cut:
        data["clipped"] = cut
    return data


def signal_of(exit_code: int) -> str | None:
    """The signal that ended a process: -9, and 137 where a shell or a sandbox tells of it, are SIGKILL."""
    number = -exit_code if exit_code < 0 else exit_code - 128
    if number not in signal.valid_signals():
        return None
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal has no name of its own
        return f"signal {number}"


class _Trimmer:
    """Shortens a JSON value to about MAX_TEXT characters, texts and entries together."""

    def __init__(self) -> None:
        self.cut = 0
        self._left = MAX_TEXT

    def trim(self, value: JsonValue, depth: int) -> JsonValue:
        if isinstance(value, str):
            return self._text(value)
        if depth == _MAX_DEPTH and isinstance(value, Mapping | list):
            return "…"
        if isinstance(value, Mapping):
            return {self._text(key): self.trim(item, depth + 1) for key, item in self._fitting(value.items())}
        if isinstance(value, list):
            return [self.trim(item, depth + 1) for item in self._fitting(value)]
        return value

    def _text(self, text: str) -> str:
        kept, cut = clip(clean(text), max(self._left, 0))
        self._left -= len(kept)
        self.cut += cut
        return kept

    def _fitting(self, items: Iterable[_Item]) -> Iterator[_Item]:
        for item in items:
            self._left -= 1
            if self._left < 0:
                self.cut += 1
            else:
                yield item
