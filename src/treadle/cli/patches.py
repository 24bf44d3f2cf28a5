"""Diffs to look at: a patch in colours, and the list of files with their changes."""

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from treadle import CodeDiff
from treadle.cli.output import is_terminal
from treadle.cli.text import columns, cut, neutral, one_line, pad

_HUNK: Final = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")

#: Widest graph of additions and deletions, in columns.
_GRAPH_COLUMNS: Final = 40


class Kind(Enum):
    """What a line of a patch is."""

    FILE = auto()  # `diff --git`
    HEADER = auto()
    HUNK = auto()
    ADDED = auto()
    REMOVED = auto()
    CONTEXT = auto()


#: The style of each kind, for rich.
STYLES: Final = {
    Kind.FILE: "bold",
    Kind.HEADER: "bold",
    Kind.HUNK: "cyan",
    Kind.ADDED: "green",
    Kind.REMOVED: "red",
    Kind.CONTEXT: "",
}


def kinds(lines: Iterable[str]) -> Iterator[tuple[Kind, str]]:
    """Each line of a patch with its kind. A hunk's lines are counted: text may look like a header."""
    old = new = 0
    for line in lines:
        if old > 0 or new > 0:
            kind = {"+": Kind.ADDED, "-": Kind.REMOVED}.get(line[:1], Kind.CONTEXT)
            if line[:1] != "\\":  # "\ No newline at end of file" is no line of either side
                old -= kind is not Kind.ADDED
                new -= kind is not Kind.REMOVED
            yield kind, line
        elif match := _HUNK.match(line):
            old, new = int(match[1] or 1), int(match[2] or 1)
            yield Kind.HUNK, line
        elif line.startswith("\\"):
            yield Kind.CONTEXT, line
        else:
            yield Kind.FILE if line.startswith("diff --git ") else Kind.HEADER, line


def print_patch(patch: bytes) -> None:
    """On a terminal in colours, control characters written out; in a pipe byte for byte, for `git apply`."""
    if not is_terminal():
        sys.stdout.flush()
        sys.stdout.buffer.write(patch)
        sys.stdout.buffer.flush()
        return
    from rich.text import Text

    from treadle.cli.terminal import console

    screen = console()
    lines = patch.decode(errors="backslashreplace").removesuffix("\n").split("\n")
    for kind, line in kinds(lines) if patch else ():
        screen.print(Text(neutral(line), style=STYLES[kind]), soft_wrap=True)


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file of a diff. `old_path` None: it was not renamed."""

    path: str
    old_path: str | None
    added: int
    removed: int
    is_binary: bool
    word: str  # new, deleted, renamed or ""


def stat_of(diff: CodeDiff) -> list[FileChange]:
    """The files of the API's diff."""
    return [
        FileChange(
            path=file.filename,
            old_path=file.old_filename if file.old_filename != file.filename else None,
            added=file.additions,
            removed=file.deletions,
            is_binary=file.is_binary,
            word="new" if file.is_new else "deleted" if file.is_deleted else "renamed" if file.is_renamed else "",
        )
        for file in diff.files
    ]


def stat_lines(files: Sequence[FileChange], width: int) -> Iterator[str]:
    """The files with their changes, and the sum, in at most `width` columns a line (0: no limit)."""
    names = [one_line(f"{file.old_path} => {file.path}" if file.old_path else file.path) for file in files]
    limit = max(20, width - _GRAPH_COLUMNS - 14) if width else None
    room = min(max((columns(name) for name in names), default=0), limit or 10_000)
    most = max((file.added + file.removed for file in files), default=0)
    digits = len(str(most))
    for name, file in zip(names, files, strict=True):
        changed = file.added + file.removed
        amount = "Bin" if file.is_binary else f"{changed:>{digits}} {_graph(file, most)}".rstrip()
        word = f" ({file.word})" if file.word else ""
        yield f" {pad(cut(name, room), room)} | {amount}{word}"
    added, removed = sum(file.added for file in files), sum(file.removed for file in files)
    yield f" {len(files)} file{'s' * (len(files) != 1)} changed, {added} added, {removed} removed"


def _graph(file: FileChange, most: int) -> str:
    scale = min(1.0, _GRAPH_COLUMNS / most) if most else 0.0
    added, removed = (max(number > 0, round(number * scale)) for number in (file.added, file.removed))
    return "+" * added + "-" * removed
