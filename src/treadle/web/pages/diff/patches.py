"""A patch, made anew of the structured diff: of one file, or of one step."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence

from starlette.responses import Response, StreamingResponse

from treadle.api.downloads import SAFE_HEADERS, attachment
from treadle.domain.diff import LineKind
from treadle.web.pages.diff.index import FileEntry, Kind
from treadle.web.pages.diff.lines import header_of, whole_lines
from treadle.web.pages.diff.shelf import OpenDiff

#: Lines that are made at a time.
_LINES = 500

_MARKS = {LineKind.CONTEXT: b" ", LineKind.ADDED: b"+", LineKind.REMOVED: b"-"}
_ESCAPES = {ord("\\"): b"\\\\", ord('"'): b'\\"', ord("\t"): b"\\t", ord("\n"): b"\\n", ord("\r"): b"\\r"}


def patch_response(diff: OpenDiff, entries: Sequence[FileEntry], *, name: str | None) -> Response:
    """As text; with a name, to be saved under it."""
    headers = {**SAFE_HEADERS, "Content-Type": "text/plain; charset=utf-8"}
    if name is not None:
        headers |= {"Content-Type": "text/x-diff", "Content-Disposition": attachment(name)}
    return StreamingResponse(_stream(diff, entries), headers=headers)


async def _stream(diff: OpenDiff, entries: Sequence[FileEntry]) -> AsyncIterator[bytes]:
    for entry in entries:
        pieces = patch(diff, entry)
        while piece := await asyncio.to_thread(next, pieces, b""):
            yield piece


def patch(diff: OpenDiff, entry: FileEntry) -> Iterator[bytes]:
    """One file's, as `git apply` takes it if the file is not binary. Pieces are never empty."""
    yield b"".join(_head(entry))
    found = diff.outline(entry)
    for number, (begin, _) in enumerate(found.hunks):
        end = found.hunks[number + 1][0] if number + 1 < len(found.hunks) else len(found.lines)
        yield header_of(diff.data, found, number).encode(entry.encoding, errors="replace") + b"\n"
        for first in range(begin, end, _LINES):
            lines = list(whole_lines(diff.data, found, first, min(first + _LINES, end)))
            yield b"".join(
                _MARKS[line.kind]
                + line.content.encode(entry.encoding, errors="replace")
                + (b"\n\\ No newline at end of file\n" if line.no_newline else b"\n")
                for line in lines
            )


def _head(entry: FileEntry) -> Iterator[bytes]:
    old, new = _name(entry, "a/", entry.old_path or entry.path), _name(entry, "b/", entry.path)
    yield b"diff --git %s %s\n" % (old, new)
    if entry.kind is Kind.ADDED:
        yield b"new file mode %s\n" % (entry.new_mode or "100644").encode()
    elif entry.kind is Kind.DELETED:
        yield b"deleted file mode %s\n" % (entry.old_mode or "100644").encode()
    elif entry.has_new_mode:
        yield b"old mode %s\nnew mode %s\n" % ((entry.old_mode or "").encode(), (entry.new_mode or "").encode())
    if entry.kind is Kind.RENAMED:
        yield b"rename from %s\nrename to %s\n" % (
            _name(entry, "", entry.old_path or ""),
            _name(entry, "", entry.path),
        )
    if entry.is_binary:
        yield b"Binary files %s and %s differ\n" % (old, new)
    elif entry.lines:
        yield b"--- %s\n" % (b"/dev/null" if entry.kind is Kind.ADDED else _ended(old))
        yield b"+++ %s\n" % (b"/dev/null" if entry.kind is Kind.DELETED else _ended(new))


def _name(entry: FileEntry, prefix: str, path: str) -> bytes:
    """As git quotes it."""
    data = (prefix + path).encode(entry.name_encoding, errors="replace")
    if all(0x20 <= byte < 0x7F and byte not in b'"\\' for byte in data):  # noqa: PLR2004 - what can be printed
        return data
    quoted = (
        _ESCAPES.get(byte) or (bytes([byte]) if 0x20 <= byte < 0x7F else b"\\%03o" % byte)  # noqa: PLR2004 - as above
        for byte in data
    )
    return b'"' + b"".join(quoted) + b'"'


def _ended(name: bytes) -> bytes:
    """A name with a blank in it is ended by a tabulator, as git does it."""
    return name + b"\t" if b" " in name and not name.startswith(b'"') else name
