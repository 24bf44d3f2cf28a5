"""What an answer has cost in tokens: as the model API says it, or an estimate where it broke off before that."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from pydantic import JsonValue
from pydantic_core import from_json

from treadle.domain.prices import Tokens
from treadle.gateway.events import Events

#: Least bytes of a token, for what the API did not come to count: the vocabularies are of byte pairs, where every token
#: stands for one byte or more, so that no text has more tokens than bytes. Most have three or four.
BYTES_OF_A_TOKEN = 1

#: Most tokens that a model writes in a second, for what nobody saw of it: several times what the listed ones do.
TOKENS_PER_SECOND = 500

#: Largest count that is believed.
MAX_TOKENS = 1_000_000_000

#: Largest answer in one piece that is read for its count; of a larger one it is estimated.
MAX_WHOLE_BYTES = 16 * 1024 * 1024

_MODEL_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Count:
    """`model` empty: the answer names none."""

    model: str
    tokens: Tokens
    is_estimated: bool


class Meter(Protocol):
    """Reads an answer along while it is passed on."""

    def feed(self, chunk: bytes) -> None: ...

    @property
    def is_complete(self) -> bool:
        """Whether nothing can follow that changes the count."""

    def count(self) -> Count:
        """By what was fed so far."""


class Usage(Protocol):
    """What one API's stream has said about its tokens."""

    model: str
    written: int  # bytes of the answer
    tool_requests: int  # to the API's own tools, as far as the answer shows them
    is_complete: bool

    @property
    def is_final(self) -> bool:
        """Whether it has said what the whole answer comes to."""

    def note(self, event: Mapping[str, JsonValue]) -> None: ...

    def end(self) -> None:
        """The stream says `[DONE]`."""

    def tokens(self) -> Tokens | None:
        """None: nothing was said yet."""


class StreamMeter:
    """Of server-sent events. `most_input`: of the request, for an estimate."""

    def __init__(self, usage: Usage, most_input: Tokens) -> None:
        self._usage = usage
        self._most_input = most_input
        self._events = Events()
        self._odd = 0

    def feed(self, chunk: bytes) -> None:
        for data in self._events.feed(chunk):
            if data == b"[DONE]":
                self._usage.end()
                continue
            event = as_object(data)
            if event is None:
                self._odd += len(data)
            else:
                self._usage.note(event)

    @property
    def is_complete(self) -> bool:
        return self._usage.is_complete

    def count(self) -> Count:
        usage = self._usage
        said = usage.tokens()
        if said is not None and usage.is_final:
            return Count(usage.model, said, is_estimated=False)
        least = self._most_input if said is None else said
        tokens = replace(
            least,
            output=max(least.output, estimate(usage.written + self._odd + self._events.overlong)),
            tool_requests=max(least.tool_requests, usage.tool_requests),
        )
        return Count(usage.model, tokens, is_estimated=True)


class WholeMeter:
    """Of JSON in one piece. `read`: what it says that it comes to, None: nothing. `most_input`: of the request, for an
    estimate."""

    def __init__(self, read: Callable[[Mapping[str, JsonValue]], Tokens | None], most_input: Tokens) -> None:
        self._read = read
        self._most_input = most_input
        self._kept = bytearray()
        self._size = 0

    def feed(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size <= MAX_WHOLE_BYTES:
            self._kept += chunk
        else:
            self._kept.clear()

    @property
    def is_complete(self) -> bool:
        return False  # known at its end only

    def count(self) -> Count:
        answer = as_object(bytes(self._kept)) or {}
        said = self._read(answer)
        if said is not None:
            return Count(model_of(answer), said, is_estimated=False)
        return Count(model_of(answer), replace(self._most_input, output=estimate(self._size)), is_estimated=True)


def estimate(size: int) -> int:
    """Most tokens in so many bytes."""
    return -(-size // BYTES_OF_A_TOKEN)


def as_object(data: bytes) -> dict[str, JsonValue] | None:
    """A JSON object; None for anything else."""
    try:
        found = from_json(data)  # many times as fast; it reads no half of a surrogate pair
    except ValueError:
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            return None
    return found if isinstance(found, dict) else None


def as_count(value: JsonValue) -> int:
    return min(value, MAX_TOKENS) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def model_of(value: Mapping[str, JsonValue]) -> str:
    """As a request or an answer names it."""
    model = value.get("model")
    return model[:_MODEL_CHARACTERS] if isinstance(model, str) and model.isprintable() else ""


def length_of(value: JsonValue) -> int:
    """Bytes of all texts in a piece of an answer; what kind of piece it is, no model has written."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, dict):
        return sum(length_of(item) for name, item in value.items() if name != "type")
    return sum(map(length_of, value)) if isinstance(value, list) else 0
