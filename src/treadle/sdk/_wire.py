"""Reads JSON of a server that may be newer than this SDK: what it does not know it leaves alone."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeAlias, TypeVar
from uuid import UUID

JsonValue: TypeAlias = "str | int | float | bool | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
E = TypeVar("E", bound="OpenEnum")


class WireError(ValueError):
    """An answer that does not have the form that the API promises."""


class OpenEnum(StrEnum):
    """An enum that takes values it does not know, so that a newer server's do not break an older SDK: such a member has
    the value as its name, equals that text, and is in none of the lists."""

    @classmethod
    def _missing_(cls, value: object) -> "OpenEnum | None":
        if not isinstance(value, str):
            return None
        unknown = str.__new__(cls, value)
        unknown._name_ = value
        unknown._value_ = value
        return unknown


class Fields:
    """A JSON object's fields by type. A missing or null optional field is None (or the default); one of another type
    is a WireError."""

    __slots__ = ("_what", "raw")

    def __init__(self, value: object, what: str) -> None:
        if not isinstance(value, Mapping):
            raise WireError(f"{what} is no JSON object.")
        self.raw: Mapping[str, JsonValue] = value
        self._what = what

    def text(self, name: str) -> str:
        found = self.optional_text(name)
        if found is None:
            raise self._wrong(name)
        return found

    def optional_text(self, name: str) -> str | None:
        found = self.raw.get(name)
        if found is not None and not isinstance(found, str):
            raise self._wrong(name)
        return found

    def flag(self, name: str) -> bool:
        """False when missing."""
        found = self.raw.get(name)
        if found is not None and not isinstance(found, bool):
            raise self._wrong(name)
        return bool(found)

    def integer(self, name: str) -> int:
        """0 when missing."""
        return int(self.number(name))

    def optional_integer(self, name: str) -> int | None:
        return None if self.raw.get(name) is None else self.integer(name)

    def number(self, name: str) -> float:
        """0 when missing."""
        found = self.raw.get(name)
        if found is None:
            return 0
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise self._wrong(name)
        return found

    def optional_number(self, name: str) -> float | None:
        return None if self.raw.get(name) is None else self.number(name)

    def uuid(self, name: str) -> UUID:
        return self._uuid(name, self.text(name))

    def optional_uuid(self, name: str) -> UUID | None:
        found = self.optional_text(name)
        return None if found is None else self._uuid(name, found)

    def date(self, name: str) -> datetime | None:
        """With a time zone: UTC where the text names none."""
        found = self.optional_text(name)
        if found is None:
            return None
        try:
            date = datetime.fromisoformat(found)
        except ValueError:
            raise self._wrong(name) from None
        return date if date.tzinfo is not None else date.replace(tzinfo=UTC)

    def choice(self, name: str, kind: type[E]) -> E:
        return kind(self.text(name))

    def optional_choice(self, name: str, kind: type[E]) -> E | None:
        found = self.optional_text(name)
        return None if found is None else kind(found)

    def array(self, name: str) -> Sequence[JsonValue]:
        """Empty when missing."""
        found = self.raw.get(name)
        if found is None:
            return ()
        if isinstance(found, str) or not isinstance(found, Sequence):
            raise self._wrong(name)
        return found

    def objects(self, name: str) -> Iterator["Fields"]:
        return (Fields(item, f"{self._what}.{name}[{at}]") for at, item in enumerate(self.array(name)))

    def optional_object(self, name: str) -> "Fields | None":
        found = self.raw.get(name)
        return None if found is None else Fields(found, f"{self._what}.{name}")

    def _uuid(self, name: str, text: str) -> UUID:
        try:
            return UUID(text)
        except ValueError:
            raise self._wrong(name) from None

    def _wrong(self, name: str) -> WireError:
        return WireError(f"{self._what}.{name} is missing or not of its type.")
