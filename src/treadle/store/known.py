"""Words and JSON in columns without a CHECK: another version may have written what this one does not know, which then
counts as nothing."""

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TypeVar

from treadle.domain.events import JsonValue

E = TypeVar("E", bound=StrEnum)


def member(kind: type[E], text: str | None) -> E | None:
    return next((one for one in kind if one == text), None)


def loaded(text: str | None) -> JsonValue:
    """None also for what is no JSON."""
    try:
        found: JsonValue = None if text is None else json.loads(text)
    except ValueError:
        return None
    return found


def mapping(value: JsonValue) -> Mapping[str, JsonValue]:
    return value if isinstance(value, Mapping) else {}


def number(value: JsonValue, otherwise: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise


def texts(value: JsonValue) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return ()
    return tuple(one for one in value if isinstance(one, str))


def texts_by_name(value: JsonValue) -> dict[str, str]:
    return {name: one for name, one in mapping(value).items() if isinstance(one, str)}


def numbers_by_name(value: JsonValue) -> dict[str, int]:
    return {name: one for name, one in mapping(value).items() if isinstance(one, int) and not isinstance(one, bool)}
