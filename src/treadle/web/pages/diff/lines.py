"""The lines of one file of a structured diff, a stretch at a time."""

import json
import re
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from json.decoder import JSONDecoder

from treadle.domain.diff import LineKind, MalformedDiffError
from treadle.web.pages.diff.index import Bytes, FileEntry, positions
from treadle.web.text import MAX_SHOWN_LINE

_LINE, _HUNK = b'{"type":"', b'{"header":'
_NUMBERS = re.compile(r"@@ -([0-9]+)(?:,([0-9]+))? \+([0-9]+)(?:,([0-9]+))? @@ ?")
_LINE_TAIL = re.compile(rb'","oldLine":(null|[0-9]+),"newLine":(null|[0-9]+),"noNewlineAtEnd":(true|false)\}')
_LINE_HEAD = re.compile(rb'\{"type":"([A-Za-z]+)","content":"')

#: A line of more bytes of JSON than these is not read whole.
MAX_LINE_BYTES = 64 << 10

#: A hunk's header is shorter.
_HEADER_BYTES = 8 << 10
#: Enough of a long line to show what is shown of it.
_SHOWN_BYTES = 12 * MAX_SHOWN_LINE
_TAIL_BYTES = 160

_decoder = JSONDecoder()


@dataclass(frozen=True, slots=True)
class Line:
    """A line. `cut`: how many characters (bytes, of a very long line) are left out of its content."""

    kind: LineKind
    content: str
    old: int | None
    new: int | None
    no_newline: bool = False
    cut: int = 0

    @property
    def ends_in_cr(self) -> bool:
        return self.content.endswith("\r")


@dataclass(frozen=True, slots=True)
class Hunk:
    """Lines that follow each other. `note` is what the header says behind its numbers (a function's name, for one);
    `is_begun`: lines before these belong to it. The hunk before it, or the file's beginning, ends before the lines
    `after_old` and `after_new`; what is between is not in the diff."""

    note: str
    after_old: int
    after_new: int
    new: int  # the number of its first line
    lines: tuple[Line, ...]
    is_begun: bool = False


@dataclass(frozen=True, slots=True)
class Outline:
    """Where a file's lines begin in the JSON, and which line each hunk begins with."""

    lines: Sequence[int]
    hunks: Sequence[tuple[int, int]]  # number of its first line, place of its header
    end: int


def outline(data: Bytes, entry: FileEntry) -> Outline:
    lines = array("Q", positions(data, _LINE, entry.begin, entry.end))
    headers = positions(data, _HUNK, entry.begin, entry.end)
    return Outline(lines, tuple((bisect_right(lines, place), place) for place in headers), entry.end)


def stretch(data: Bytes, found: Outline, first: int, last: int) -> Sequence[Hunk]:
    """The lines from number `first` up to `last`, counted from 0 over the whole file, in their hunks."""
    hunks: list[Hunk] = []
    after_old = after_new = 1
    for number, (begin, place) in enumerate(found.hunks):
        end = found.hunks[number + 1][0] if number + 1 < len(found.hunks) else len(found.lines)
        if begin >= last:
            break
        note, (old, old_count, new, new_count) = _header(data, place)
        if end > first:
            taken = range(max(begin, first), min(end, last))
            lines = tuple(_line(data, found.lines[at], _end(found, at)) for at in taken)
            hunks.append(Hunk(note, after_old, after_new, new, lines, is_begun=taken.start > begin))
        after_old, after_new = old + max(1, old_count), new + max(1, new_count)
    return hunks


def after_last(data: Bytes, found: Outline) -> tuple[int, int]:
    """The numbers, old and new, of the first line behind the last hunk."""
    if not found.hunks:
        return 1, 1
    _, (old, old_count, new, new_count) = _header(data, found.hunks[-1][1])
    return old + max(1, old_count), new + max(1, new_count)


def header_of(data: Bytes, found: Outline, hunk: int) -> str:
    """The whole `@@` line of the hunk with that number, from 0."""
    return _header_text(data, found.hunks[hunk][1])


def whole_lines(data: Bytes, found: Outline, first: int, last: int) -> Iterator[Line]:
    """The same lines, however long."""
    for at in range(first, min(last, len(found.lines))):
        yield _read(data[found.lines[at] : _end(found, at)])


def line_number_of(data: Bytes, found: Outline, *, old: int | None, new: int | None) -> int | None:
    """The number, from 0, of the line that has that number on the old or the new side; None for one not shown."""
    for at, (first, place) in enumerate(found.hunks):
        _, (old_start, old_count, new_start, new_count) = _header(data, place)
        start, count, wanted = (old_start, old_count, old) if old is not None else (new_start, new_count, new)
        if wanted is not None and start <= wanted < start + count:
            last = found.hunks[at + 1][0] if at + 1 < len(found.hunks) else len(found.lines)
            for number in range(first, last):
                line = _line(data, found.lines[number], _end(found, number))
                if (line.old if old is not None else line.new) == wanted:
                    return number
    return None


def _end(found: Outline, at: int) -> int:
    """Where its bytes end; a hunk's header may be among them, behind the line."""
    return found.lines[at + 1] if at + 1 < len(found.lines) else found.end


def _line(data: Bytes, begin: int, end: int) -> Line:
    if end - begin > MAX_LINE_BYTES:
        return _long_line(data, begin, end)
    line = _read(data[begin:end])
    if len(line.content) <= MAX_SHOWN_LINE:
        return line
    kept = line.content[:MAX_SHOWN_LINE]
    return replace(line, content=kept, cut=len(line.content) - len(kept))


def _read(data: bytes) -> Line:
    try:
        fields, _ = _decoder.raw_decode(data.decode(errors="replace"))
        return Line(
            LineKind(fields["type"]),
            fields["content"],
            fields["oldLine"],
            fields["newLine"],
            fields["noNewlineAtEnd"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise MalformedDiffError(f"A line of the diff cannot be read: {error!r}.") from error


def _long_line(data: Bytes, begin: int, end: int) -> Line:
    """Read at both ends only."""
    head = _LINE_HEAD.match(data[begin : begin + 64])
    tail = _LINE_TAIL.search(data[max(begin, end - _HEADER_BYTES - _TAIL_BYTES) : end])
    if head is None or tail is None:
        raise MalformedDiffError("A long line of the diff is not whole.")
    start = begin + head.end()
    shown = _unescaped(data[start : min(start + _SHOWN_BYTES, end - _TAIL_BYTES)].decode(errors="ignore"))
    content = shown[:MAX_SHOWN_LINE]
    size = end - start - _TAIL_BYTES
    old, new = (None if number == b"null" else int(number) for number in tail.groups()[:2])
    cut = max(1, size - len(content.encode(errors="replace")))
    return Line(LineKind(head[1].decode()), content, old, new, tail[3] == b"true", cut)


def _unescaped(text: str) -> str:
    """A piece of a JSON string that may end inside an escape."""
    for shorter in range(7):
        try:
            piece = text[: len(text) - shorter]
            return str(json.loads(f'"{piece}"'))
        except ValueError:
            continue
    raise MalformedDiffError("A long line of the diff is not whole.")


def _header_text(data: Bytes, place: int) -> str:
    text = data[place + len(_HUNK) : place + _HEADER_BYTES].decode(errors="replace")
    try:
        return str(_decoder.raw_decode(text)[0])
    except ValueError as error:
        raise MalformedDiffError("A hunk of the diff has no whole header.") from error


def _header(data: Bytes, place: int) -> tuple[str, tuple[int, int, int, int]]:
    """What it says behind its numbers, and those: old start and count, new start and count."""
    text = _header_text(data, place)
    match = _NUMBERS.match(text)
    if match is None:
        raise MalformedDiffError(f"A hunk of the diff has no numbers: {text[:80]!r}.")
    old, old_count, new, new_count = match.groups()
    return text[match.end() :], (int(old), int(old_count or "1"), int(new), int(new_count or "1"))
