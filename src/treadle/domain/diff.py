"""The structured diff of two trees: what changed, file by file, hunk by hunk, line by line.

Applied to the old tree it gives the new one, byte for byte, except for files that are binary: those are only named.
`DiffEncoder` makes its JSON from git's output without ever holding it whole; the classes here are for whoever wants
objects and has a diff that fits.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypedDict, cast

from treadle.domain.patch import DiffEncoder
from treadle.domain.raw_diff import (
    DIFF_ARGUMENTS,
    NUMSTAT_ARGUMENTS,
    MalformedDiffError,
    path_batches,
)

__all__ = [
    "DIFF_ARGUMENTS",
    "NUMSTAT_ARGUMENTS",
    "CodeDiff",
    "DiffChange",
    "DiffEncoder",
    "DiffFile",
    "DiffLine",
    "LineKind",
    "MalformedDiffError",
    "from_json",
    "parse",
    "path_batches",
]


class LineKind(StrEnum):
    CONTEXT = "Context"
    ADDED = "Added"
    REMOVED = "Removed"


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A line. Numbers count from 1; an added line has none in the old file, a removed one none in the new."""

    kind: LineKind
    content: str  # without its line feed; a carriage return is part of it
    old_line: int | None
    new_line: int | None
    no_newline_at_end: bool  # the last line of its file, and without a line feed


@dataclass(frozen=True, slots=True)
class DiffChange:
    """A hunk. The header is git's whole `@@` line, for people: `@@ -1,3 +1,4 @@ def main():`."""

    header: str
    lines: tuple[DiffLine, ...]


@dataclass(frozen=True, slots=True)
class DiffFile:
    """What happened to one path. A change of type (a file became a symlink) is two: deleted, then new.

    `old_filename` is set for renames and copies only, and then names the file that `changes` apply to; of a copy
    `is_new` is true, too. Modes are git's six octal digits: `100644`, `100755`, `120000` for a symlink (its target is
    the text), `160000` for a submodule (`Subproject commit <id>` is the text); None where the file does not exist.
    Text is bytes in `encoding`, names are bytes in `filename_encoding`: `utf-8` or, where they are not that, `latin-1`,
    which maps every byte to the character of its number.
    """

    filename: str
    old_filename: str | None
    is_new: bool
    is_deleted: bool
    is_renamed: bool
    is_binary: bool
    changes: tuple[DiffChange, ...]
    old_mode: str | None
    new_mode: str | None
    additions: int
    deletions: int
    encoding: str
    filename_encoding: str


@dataclass(frozen=True, slots=True)
class CodeDiff:
    """The files in git's order."""

    files: tuple[DiffFile, ...]

    @property
    def additions(self) -> int:
        return sum(file.additions for file in self.files)

    @property
    def deletions(self) -> int:
        return sum(file.deletions for file in self.files)


class _LineJson(TypedDict):
    type: str
    content: str
    oldLine: int | None
    newLine: int | None
    noNewlineAtEnd: bool


class _ChangeJson(TypedDict):
    header: str
    diff: Sequence[_LineJson]


class _FileJson(TypedDict):
    filename: str
    oldFilename: str | None
    isNew: bool
    isDeleted: bool
    isRenamed: bool
    isBinary: bool
    changes: Sequence[_ChangeJson]
    oldMode: str | None
    newMode: str | None
    additions: int
    deletions: int
    encoding: str
    filenameEncoding: str


class _DiffJson(TypedDict):
    files: Sequence[_FileJson]


def parse(output: bytes, numstat: bytes = b"") -> CodeDiff:
    """Reads the whole output of git with `DIFF_ARGUMENTS`, and of `NUMSTAT_ARGUMENTS` where the diff has renames,
    copies or changes of mode without changes of text. Raises MalformedDiffError.
    """
    encoder = DiffEncoder()
    start = encoder.feed(output)
    encoder.settle(numstat)
    return from_json(start + encoder.close())


def from_json(data: bytes) -> CodeDiff:
    """Reads what `DiffEncoder` wrote. Raises MalformedDiffError when somebody else did."""
    try:
        diff = cast("_DiffJson", json.loads(data))  # wrong shapes show as the errors caught below
        return CodeDiff(tuple(_file(file) for file in diff["files"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MalformedDiffError(f"This is not the JSON of a diff: {error!r}.") from error


def _file(file: _FileJson) -> DiffFile:
    return DiffFile(
        filename=file["filename"],
        old_filename=file["oldFilename"],
        is_new=file["isNew"],
        is_deleted=file["isDeleted"],
        is_renamed=file["isRenamed"],
        is_binary=file["isBinary"],
        changes=tuple(DiffChange(change["header"], tuple(map(_line, change["diff"]))) for change in file["changes"]),
        old_mode=file["oldMode"],
        new_mode=file["newMode"],
        additions=file["additions"],
        deletions=file["deletions"],
        encoding=file["encoding"],
        filename_encoding=file["filenameEncoding"],
    )


def _line(line: _LineJson) -> DiffLine:
    return DiffLine(LineKind(line["type"]), line["content"], line["oldLine"], line["newLine"], line["noNewlineAtEnd"])
