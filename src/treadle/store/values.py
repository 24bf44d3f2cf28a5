"""What is written in a column, and back."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import overload
from uuid import UUID

from treadle.domain.events import JsonObject, JsonValue, clip
from treadle.domain.run import StructuredOutput

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

#: Largest event, in characters of JSON. Engines clip their texts long before; this bounds whatever they did not.
MAX_EVENT = 1 << 20

#: Made once: `json.dumps` with separators makes an encoder a call. ASCII, so that NUL and lone surrogates are kept.
_encode = json.JSONEncoder(separators=(",", ":")).encode

#: For ids that many rows share: an organization's, a user's.
shared_uuid = lru_cache(maxsize=4096)(UUID)


@overload
def micros(date: datetime) -> int: ...
@overload
def micros(date: None) -> None: ...
@overload
def micros(date: datetime | None) -> int | None: ...
def micros(date: datetime | None) -> int | None:
    """Microseconds since 1970. TypeError for a date without a time zone."""
    return None if date is None else (date - _EPOCH) // _MICROSECOND


def date_of(value: int) -> datetime:
    return _EPOCH + timedelta(microseconds=value)


def optional_date(value: int | None) -> datetime | None:
    return None if value is None else _EPOCH + timedelta(microseconds=value)


@overload
def plain(text: str) -> str: ...
@overload
def plain(text: None) -> None: ...
@overload
def plain(text: str | None) -> str | None: ...
def plain(text: str | None) -> str | None:
    """`text` as both databases can hold it: PostgreSQL refuses NUL, both refuse lone surrogates; U+FFFD stands in."""
    if text is None or (text.isascii() and "\0" not in text):
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\0", "\ufffd")


def json_of(value: JsonValue) -> str:
    return _encode(value)


def event_json(data: JsonObject) -> str:
    """An event's data as JSON of at most MAX_EVENT characters: its texts are cut until it fits, and `clipped` says how
    many characters went."""
    if not data:
        return "{}"
    encoded = _encode(data)
    if len(encoded) <= MAX_EVENT:
        return encoded
    for limit in (65_536, 8_192, 1_024):
        lost: list[int] = []
        cut = _encode({**{name: _cut(value, limit, lost) for name, value in data.items()}, "clipped": sum(lost)})
        if len(cut) <= MAX_EVENT:
            return cut
    return _encode({"clipped": len(encoded)})


def _cut(value: JsonValue, limit: int, lost: list[int]) -> JsonValue:
    if isinstance(value, str):
        kept, gone = clip(value, limit)
        if gone:
            lost.append(gone)
        return kept
    if isinstance(value, Mapping):
        return {name: _cut(inner, limit, lost) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_cut(inner, limit, lost) for inner in value]
    return value


def structured_json(answer: StructuredOutput | None) -> str | None:
    if answer is None:
        return None
    return _encode(asdict(answer))


def structured_of(text: str | None) -> StructuredOutput | None:
    return None if text is None else StructuredOutput(**json.loads(text))
