"""What the commands write: standard output for results, standard error for what goes wrong, and exit codes."""

import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Final

from treadle.cli.text import columns, cut, neutral, one_line, pad

#: Exit codes. 0 is for success only.
FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130

_TABLE_GAP: Final = "  "


def prepare_streams() -> None:
    """Text that the terminal's encoding lacks is written out, not an error; JSON stays JSON with it."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def is_terminal() -> bool:
    """Whether standard output is a terminal that can be drawn on."""
    return sys.stdout.isatty() and os.environ.get("TERM", "") != "dumb"


def line(text: str = "") -> None:
    """One line of a result, at once, so that a reader of a pipe sees it."""
    sys.stdout.write(neutral(text) + "\n")
    sys.stdout.flush()


def as_json(value: object, *, indent: bool = True) -> None:
    """A result as JSON: one object, or one line of a stream."""
    # Only ASCII on a terminal, where some other characters are commands.
    text = json.dumps(value, ensure_ascii=sys.stdout.isatty(), indent=2 if indent else None)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def error(message: str, hint: str | None = None) -> None:
    """One sentence and a hint."""
    sys.stderr.write(f"Error: {neutral(message)}\n")
    if hint:
        sys.stderr.write(f"Hint: {neutral(hint)}\n")
    sys.stderr.flush()


def note(text: str) -> None:
    """Something beside the result."""
    sys.stderr.write(neutral(text) + "\n")
    sys.stderr.flush()


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns under a head on a terminal, cut to its width; in a pipe without the head, whole, separated by tabs."""
    if not is_terminal():
        for row in rows:
            line("\t".join(one_line(cell) or "-" for cell in row))
        return
    cells = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(columns(row[at]) for row in [list(head), *cells]) for at in range(len(head))]
    for row in [list(head), *cells]:
        text = _TABLE_GAP.join(pad(cell, room) for cell, room in zip(row, widths, strict=True)).rstrip()
        line(cut(text, width() or None))


def width() -> int:
    """Columns of the terminal; 0 in a pipe, where nothing is cut."""
    return shutil.get_terminal_size().columns if is_terminal() else 0
