"""Addresses with credentials in what is kept as it is: not sealed, and shown to whoever may see what it belongs to."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from treadle.domain.git_url import holds_credentials

#: How many of them are told at most.
TOLD_ADDRESSES: Final = 20

_SAID: Final = "Holds credentials: register the repository, which keeps them sealed."

#: What stands before a host, also inside of other text.
_USERINFO: Final = re.compile(r"(?:https?|ssh)://[^\s\"'`<>/]*@", re.IGNORECASE)

Faults = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class _Place:
    """Spelled out only when it is told: a path of its own for each value would be large."""

    part: str
    above: Self | None = None

    def path(self) -> str:
        parts: list[str] = []
        place: _Place | None = self
        while place is not None:
            parts.append(place.part)
            place = place.above
        return "".join(reversed(parts)).removeprefix(".")


def address_faults(value: object, path: str = "") -> Faults:
    """By the paths of the texts, at any depth; a name with credentials counts for what it is a name in."""
    faults: Faults = {}
    waiting = [(_Place(path), value)]
    while waiting and len(faults) < TOLD_ADDRESSES:
        place, each = waiting.pop()
        if isinstance(each, str):
            if _is_in(each):
                faults[place.path()] = [_SAID]
        elif isinstance(each, Mapping):
            clean = [name for name in each if not _is_in(name)]
            if len(clean) < len(each):
                faults[place.path()] = [_SAID]
            waiting += reversed([(_Place(f".{name}", place), each[name]) for name in clean])
        elif isinstance(each, list | tuple):
            waiting += reversed([(_Place(f"[{at}]", place), one) for at, one in enumerate(each)])
    return faults


def line_with_credentials(source: str) -> int | None:
    """The first line that holds such an address, in a comment too."""
    return next((number for number, line in enumerate(source.split("\n"), 1) if _is_in(line)), None)


def _is_in(text: str) -> bool:
    return "@" in text and any(map(holds_credentials, (*text.split(), *_USERINFO.findall(text))))
