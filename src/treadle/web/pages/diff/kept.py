"""What was kept beside a diff: text around its hunks, and pictures."""

import mmap
from collections.abc import Mapping
from dataclasses import dataclass

from treadle.domain.diff_contents import Side, unpack
from treadle.web.pages.diff.index import FileEntry


@dataclass(frozen=True, slots=True)
class Kept:
    """`digest` is that of the diff that it belongs to."""

    digest: str
    _data: mmap.mmap
    _places: Mapping[tuple[int, Side], slice]

    @classmethod
    def read(cls, data: mmap.mmap, _digest: str) -> "Kept":
        digest, places = unpack(data)
        return cls(digest, data, places)

    def has(self, entry: FileEntry, side: Side) -> bool:
        return (entry.at, side) in self._places

    def content(self, entry: FileEntry, side: Side) -> bytes | None:
        place = self._places.get((entry.at, side))
        return None if place is None else self._data[place]

    def lines(self, entry: FileEntry) -> list[str] | None:
        """Of the new text, without their line feeds; None where it was not kept."""
        data = None if entry.is_binary else self.content(entry, Side.NEW)
        if data is None:
            return None
        lines = data.decode(entry.encoding, errors="replace").split("\n")
        return lines[:-1] if lines[-1] == "" else lines
