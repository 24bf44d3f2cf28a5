"""What is written in a column, and back."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import overload
from uuid import UUID

from treadle.domain.events import JsonObject, JsonValue, clip
from treadle.domain.network import NetworkMode, NetworkPolicy
from treadle.domain.run import StructuredOutput
from treadle.domain.validation import CommandResult, ValidationRules

_UNKNOWN_RULES = ValidationRules(("echo 'This version of Treadle cannot read the validation rules.'; exit 1",), 0)

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


def policy_json(policy: NetworkPolicy | None) -> str | None:
    return None if policy is None else _encode(policy.json())


def policy_of(text: str | None) -> NetworkPolicy | None:
    """One that this version cannot read is the strictest that an engine can work with: it is no reason to be lax."""
    if text is None:
        return None
    try:
        return NetworkPolicy.read(json.loads(text))
    except ValueError:
        return NetworkPolicy(NetworkMode.MODEL)


def rules_json(rules: ValidationRules | None) -> str | None:
    return None if rules is None else _encode(rules.json())


def rules_of(text: str | None) -> ValidationRules | None:
    """Some that this version cannot read pass for no work: it is no reason to be lax."""
    if text is None:
        return None
    try:
        return ValidationRules.read(json.loads(text))
    except ValueError:
        return _UNKNOWN_RULES


def results_json(results: Sequence[CommandResult] | None) -> str | None:
    return None if results is None else _encode([result.json() for result in results])


def results_of(text: str | None) -> tuple[CommandResult, ...]:
    return () if text is None else tuple(map(CommandResult.from_json, json.loads(text)))
