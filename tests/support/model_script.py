"""What a scripted model says: turns made of blocks, or a failure, for `tests.support.model_server`."""

import json
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

#: The name under which the Claude CLI offers its structured-output tool.
STRUCTURED_OUTPUT = "StructuredOutput"


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class Thinking:
    text: str


@dataclass(frozen=True)
class ToolUse:
    """The model asks for a tool: Claude's `Write`, `Bash`, ... or Kimi's own names."""

    name: str
    input: Mapping[str, JsonValue]


@dataclass(frozen=True)
class Stall:
    """The stream stops here, for good, with the connection open."""


@dataclass(frozen=True)
class Wait:
    """The stream goes on once `may_go` is set."""

    may_go: threading.Event


Block = Text | Thinking | ToolUse | Stall | Wait


@dataclass(frozen=True)
class Say:
    """One turn of the model, block by block.

    Tokens are counted as the API would report them, so that a test can add up a bill.
    """

    blocks: tuple[Block, ...]
    input_tokens: int = 100
    output_tokens: int = 20
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    hour_write_tokens: int = 0  # of those written, for an hour
    searches: int = 0


@dataclass(frozen=True)
class Fail:
    """An HTTP error. `body` None gives the vendor's own shape with `message`."""

    status: int
    message: str = "scripted failure"
    body: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Hang:
    """The request is read and never answered."""


@dataclass(frozen=True)
class Drop:
    """The connection is closed without an answer."""


@dataclass(frozen=True)
class Raw:
    """An answer whose bytes are the test's own, piece by piece in chunks; `pause_seconds` before each. `is_cut`: the
    connection closes after them, without the end of the chunks."""

    pieces: Iterable[bytes]
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "text/event-stream"})
    status: int = 200
    pause_seconds: float = 0
    is_cut: bool = False


Turn = Say | Fail | Hang | Drop | Raw


def say(
    *blocks: Block | str,
    input_tokens: int = 100,
    output_tokens: int = 20,
    cache_read_tokens: int = 0,
    cache_write_tokens: int = 0,
    hour_write_tokens: int = 0,
    searches: int = 0,
) -> Say:
    """A turn; a bare string is text."""
    return Say(
        tuple(Text(block) if isinstance(block, str) else block for block in blocks),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=cache_read_tokens,
        cache_write_tokens=cache_write_tokens,
        hour_write_tokens=hour_write_tokens,
        searches=searches,
    )


def write(path: str, content: str) -> ToolUse:
    """Claude's Write; its paths are absolute."""
    return ToolUse("Write", {"file_path": path, "content": content})


def bash(command: str) -> ToolUse:
    """Claude's Bash, and Kimi's, which takes the same argument."""
    return ToolUse("Bash", {"command": command, "description": "run a command"})


def structured(value: Mapping[str, JsonValue]) -> ToolUse:
    return ToolUse(STRUCTURED_OUTPUT, value)


def usage_limit(resets_at: int, *, kind: str = "five_hour") -> Fail:
    """The 429 that a subscription (OAuth) gets when its quota is used up.

    Args:
        resets_at: seconds since the epoch.
        kind: `five_hour`, `seven_day`, ...
    """
    prefix = "anthropic-ratelimit-unified"
    return Fail(
        429,
        "This request would exceed your account's rate limit. Please try again later.",
        headers={
            f"{prefix}-status": "rejected",
            f"{prefix}-reset": str(resets_at),
            f"{prefix}-representative-claim": kind,
            f"{prefix}-5h-status": "rejected" if kind == "five_hour" else "allowed",
            f"{prefix}-5h-reset": str(resets_at),
            f"{prefix}-5h-utilization": "1.0",
            f"{prefix}-overage-status": "rejected",
            f"{prefix}-overage-disabled-reason": "org_level_disabled",
            f"{prefix}-fallback-percentage": "0.5",
            "retry-after": "3600",
        },
    )


@dataclass(frozen=True)
class ModelRequest:
    """One request as it arrived.

    Attributes:
        path: without the query.
        headers: names in lower case.
        body: the parsed JSON; None when there was none.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: JsonValue

    @property
    def is_turn(self) -> bool:
        """Whether it asks the model for a turn, not for a list of models or a count of tokens."""
        return self.method == "POST" and self.path.endswith(("/v1/messages", "/chat/completions"))

    @property
    def credential(self) -> str | None:
        """What it authenticated with: `x-api-key VALUE` or `Bearer VALUE`."""
        if key := self.headers.get("x-api-key"):
            return f"x-api-key {key}"
        return self.headers.get("authorization")

    @property
    def wants_stream(self) -> bool:
        return isinstance(self.body, dict) and self.body.get("stream") is True

    @property
    def model(self) -> str:
        model = self.body.get("model") if isinstance(self.body, dict) else None
        return model if isinstance(model, str) else ""

    @property
    def tools(self) -> tuple[str, ...]:
        """The names of the tools on offer."""
        tools = self.body.get("tools") if isinstance(self.body, dict) else None
        return tuple(_tool_names(tools)) if isinstance(tools, list) else ()

    @property
    def messages(self) -> list[dict[str, JsonValue]]:
        messages = self.body.get("messages") if isinstance(self.body, dict) else None
        return [message for message in messages if isinstance(message, dict)] if isinstance(messages, list) else []

    @property
    def transcript(self) -> str:
        """The whole conversation as JSON text, for asking whether something was ever said."""
        return json.dumps(self.messages, ensure_ascii=False)

    @property
    def last(self) -> str:
        """All the text of the user's last message: the prompt, or a tool's result."""
        message = self._last_message
        return "\n".join(_texts(message.get("content"))) if message else ""

    @property
    def is_tool_result(self) -> bool:
        """Whether the last message answers a tool call, so that no new prompt has arrived."""
        message = self._last_message
        content = message.get("content")
        blocks = content if isinstance(content, list) else []
        return message.get("role") == "tool" or any(
            isinstance(block, dict) and block.get("type") == "tool_result" for block in blocks
        )

    @property
    def _last_message(self) -> dict[str, JsonValue]:
        """The last that is not the CLI's own: Claude ends with a message in the role of the system."""
        spoken = [message for message in self.messages if message.get("role") in {"user", "tool"}]
        return spoken[-1] if spoken else {}


#: What a server plays: turns one after another, or a function of the request.
Script = Sequence[Turn] | Callable[[ModelRequest], Turn]


def _tool_names(tools: Iterable[JsonValue]) -> Iterable[str]:
    for tool in tools:
        if not isinstance(tool, dict):
            continue
        function = tool.get("function")
        name = function.get("name") if isinstance(function, dict) else tool.get("name")
        if isinstance(name, str):
            yield name


def _texts(content: JsonValue) -> Iterable[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for block in content:
            if isinstance(block, dict):
                text = block.get("text")
                yield from (text,) if isinstance(text, str) else _texts(block.get("content"))
