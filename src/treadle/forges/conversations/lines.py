"""Which lines a diff shows: a review's comments can stand beside no others. Pure."""

import re
from collections.abc import Mapping

#: New lines that are shown, each with its old number; None for one that is new.
Lines = Mapping[int, int | None]

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_ESCAPE = re.compile(rb"\\([0-7]{3}|.)")
_ESCAPED = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}


def of_hunks(patch: str) -> Lines:
    """Of one file, whose patch begins with its first hunk."""
    return _hunks(patch.split("\n"), 0)[0]


def of_diff(diff: str) -> Mapping[str, Lines]:
    """By the new path, of what `git diff` writes; each hunk is counted, so that no content passes for a header."""
    found, rows, at, path = dict[str, Lines](), diff.split("\n"), 0, ""
    while at < len(rows):
        row = rows[at]
        if row.startswith("diff --git "):
            path = ""
        elif row.startswith("+++ "):
            path = _path(row[4:])
        elif row.startswith("@@ ") and path:
            found[path], at = _hunks(rows, at)
            continue
        at += 1
    return found


def _hunks(rows: list[str], at: int) -> tuple[dict[int, int | None], int]:
    found = dict[int, int | None]()
    while at < len(rows) and (head := _HUNK.match(rows[at])):
        old, new = int(head[1]), int(head[3])
        last_old, last_new = old + int(head[2] or 1), new + int(head[4] or 1)
        at += 1
        while at < len(rows) and (old < last_old or new < last_new):
            match rows[at][:1]:
                case "+":
                    found[new] = None
                    new += 1
                case "-":
                    old += 1
                case "\\":
                    pass
                case _:
                    found[new] = old
                    old, new = old + 1, new + 1
            at += 1
        while at < len(rows) and rows[at].startswith("\\"):
            at += 1
    return found, at


def _path(said: str) -> str:
    """As `+++` has it: with `b/`, in quotes where it holds what is not plain, with a tab behind one with a blank."""
    if said.startswith('"') and said.rstrip().endswith('"'):
        raw = _ESCAPE.sub(_unescaped, said.rstrip()[1:-1].encode())
        said = raw.decode("utf-8", errors="replace")
    else:
        said = said.removesuffix("\t")
    return said.removeprefix("b/")


def _unescaped(match: re.Match[bytes]) -> bytes:
    code = match[1]
    return bytes([int(code, 8) & 0xFF]) if len(code) > 1 else _ESCAPED.get(code, code)
