"""Where each file of a structured diff lies in its JSON, found without reading the JSON as such.

The JSON is what `treadle.domain.patch.DiffEncoder` writes: compact, its keys in a fixed order. Quotes inside of strings
are escaped, so that `{"filename":"` and `{"type":"` are nowhere but where an object begins. So 50 MB are indexed in a
fraction of a second, and a file of it is parsed only when somebody looks.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Protocol, TypedDict, cast

from treadle.domain.diff import MalformedDiffError

_OPENING = b'{"files":['
_FILE = b'{"filename":"'
_CHANGES = b',"changes":['
_LINE = b'{"type":"'
_TAIL = re.compile(rb'\],"additions":([0-9]+),"deletions":([0-9]+),"encoding":"(utf-8|latin-1)"\}(?:,|\]\}\s*)$')

#: The bytes before and behind a file's changes are fewer than these.
_HEAD_BYTES, _TAIL_BYTES = 1 << 20, 256

#: How much is looked through at a time; between two pieces other threads get their turn.
_PIECE = 1 << 20


class Bytes(Protocol):
    """Bytes that are sliced: a memory map, or in a test bytes."""

    def __len__(self) -> int: ...
    def __getitem__(self, which: slice, /) -> bytes: ...


class Kind(StrEnum):
    """What happened to a file."""

    ADDED = "added"
    DELETED = "deleted"
    RENAMED = "renamed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a diff. `at` is its place, from 0; `lines` counts those of its hunks, context too; its hunks are the
    bytes from `begin` to `end`."""

    at: int
    path: str
    old_path: str | None
    kind: Kind
    is_binary: bool
    old_mode: str | None
    new_mode: str | None
    encoding: str
    name_encoding: str
    additions: int
    deletions: int
    lines: int
    begin: int
    end: int

    @property
    def has_new_mode(self) -> bool:
        return self.old_mode is not None and self.new_mode is not None and self.old_mode != self.new_mode


class _Head(TypedDict):
    filename: str
    oldFilename: str | None
    filenameEncoding: str
    isNew: bool
    isDeleted: bool
    isRenamed: bool
    oldMode: str | None
    newMode: str | None
    isBinary: bool


def index(data: Bytes) -> Sequence[FileEntry]:
    """The files, in order. Raises MalformedDiffError for what is no diff of ours."""
    if data[: len(_OPENING)] != _OPENING:
        raise MalformedDiffError("This is not the JSON of a diff.")
    starts = [*positions(data, _FILE, len(_OPENING), len(data)), len(data)]
    return tuple(_entry(data, at, begin, end) for at, (begin, end) in enumerate(pairwise(starts)))


def positions(data: Bytes, token: bytes, begin: int, end: int) -> Iterator[int]:
    """Where `token` begins, between two places."""
    for at in range(begin, end, _PIECE):
        piece = data[at : min(at + _PIECE + len(token) - 1, end)]
        found = piece.find(token)
        while found >= 0:
            yield at + found
            found = piece.find(token, found + 1)


def _entry(data: Bytes, at: int, begin: int, end: int) -> FileEntry:
    head = data[begin : min(begin + _HEAD_BYTES, end)]
    length = head.find(_CHANGES)
    tail = _TAIL.search(data[max(begin, end - _TAIL_BYTES) : end])
    if length < 0 or tail is None:
        raise MalformedDiffError(f"File {at} of the diff is not whole.")
    try:
        fields = cast("_Head", json.loads(head[:length] + b"}"))
        kind = _kind(fields)
        first, last = begin + length + len(_CHANGES), end - len(tail[0])
        return FileEntry(
            at=at,
            path=fields["filename"],
            old_path=fields["oldFilename"],
            kind=kind,
            is_binary=fields["isBinary"],
            old_mode=fields["oldMode"],
            new_mode=fields["newMode"],
            encoding=tail[3].decode(),
            name_encoding=fields["filenameEncoding"],
            additions=int(tail[1]),
            deletions=int(tail[2]),
            lines=_count(data, first, last),
            begin=first,
            end=last,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise MalformedDiffError(f"File {at} of the diff cannot be read: {error!r}.") from error


def _kind(fields: _Head) -> Kind:
    if fields["isRenamed"]:
        return Kind.RENAMED
    if fields["isNew"]:
        return Kind.ADDED
    return Kind.DELETED if fields["isDeleted"] else Kind.CHANGED


def _count(data: Bytes, begin: int, end: int) -> int:
    overlap = len(_LINE) - 1
    return sum(
        data[at : min(at + _PIECE + overlap, end)].count(_LINE) for at in range(begin, end, _PIECE)
    )  # a token that begins in the overlap does not fit in it, so that none counts twice
