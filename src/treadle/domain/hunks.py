"""The patch text of one file, as JSON."""

import codecs
import re
from collections import deque
from collections.abc import Iterator
from json.encoder import encode_basestring

from treadle.domain.diff_rows import MARK, added, escaped, marked, mixed, removed
from treadle.domain.raw_diff import MalformedDiffError, Section

_HUNK = re.compile(r" -([0-9]{1,18})(?:,([0-9]{1,18}))? \+([0-9]{1,18})(?:,([0-9]{1,18}))? @@(?: |$)")
_HEADER_LINES = (
    *("--- ", "+++ ", "old mode ", "new mode ", "new file mode ", "deleted file mode "),
    *("similarity index ", "dissimilarity index ", "rename from ", "rename to ", "copy from ", "copy to "),
)
_EMPTY_BLOBS = frozenset(
    {
        "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
        "473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813",
    }
)


class FileWriter:
    r"""Writes one file of the patch as a JSON object: `opening`, `write` for each piece of its text, `finish`.

    A piece is whole lines, each with its line end before it instead of after it: `\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a`.
    Once in a hunk, the last line of a piece may be left open; the next piece then begins with more of it.

    The encoding of a file is known when its last line has been seen. So text is passed on at once only while it is
    ASCII, the same in both encodings; from then on pieces wait until one is not UTF-8 or the file ends. The text behind
    the second `@@` has no say: git cuts it where it stops being UTF-8.
    """

    def __init__(self, section: Section, *, is_binary: bool) -> None:
        self.additions = 0
        self.deletions = 0
        self._section = section
        self._is_binary = is_binary
        self._encoding: str | None = None  # None: nothing but ASCII so far, or waiting
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._waiting: deque[tuple[bytes, bool]] = deque()
        self._has_hunk_waiting = False
        self._tail: str | None = None  # what ends the line that is open
        self._out: list[str] = []
        self._has_index = False
        self._hunks = 0
        # Of the hunk: lines shown so far, the next line's numbers, and where they end when its header is right.
        self._shown = 0
        self._old = self._old_count = self._old_end = 0
        self._new = self._new_count = self._new_end = 0

    def opening(self) -> bytes:
        """The object's beginning: all that the raw part tells."""
        section = self._section
        encoding = _name_encoding(section)
        old_path = "null" if section.old_path is None else encode_basestring(section.old_path.decode(encoding))
        return (
            f'{{"filename":{encode_basestring(section.path.decode(encoding))},"oldFilename":{old_path},'
            f'"filenameEncoding":"{encoding}",'
            f'"isNew":{_boolean(section.status in "AC")},"isDeleted":{_boolean(section.status == "D")},'
            f'"isRenamed":{_boolean(section.status == "R")},'
            f'"oldMode":{_mode(section.old_mode)},"newMode":{_mode(section.new_mode)},'
        ).encode()

    @property
    def has_hunks(self) -> bool:
        """Whether the header is over."""
        return self._hunks > 0 or self._has_hunk_waiting

    def write(self, piece: bytes, *, is_open: bool = False) -> Iterator[bytes]:
        """What of the object is ready."""
        if self._encoding is None and (self._waiting or not piece.isascii()):
            if self._is_utf8_so_far(piece):
                self._has_hunk_waiting = self._has_hunk_waiting or b"\n@@" in piece
                self._waiting.append((piece, is_open))
                return
            yield from self._settle("latin-1")
        yield self._convert(piece, is_open=is_open)

    def finish(self) -> Iterator[bytes]:
        """The rest of the object."""
        if self._encoding is None:
            yield from self._settle("latin-1" if self._decoder.getstate()[0] else "utf-8")
        self._out = []
        self._close_line("")
        self._end_hunk()
        if not self._hunks:
            self._check_without_hunks()
            self._begin_changes()
        end = f'],"additions":{self.additions},"deletions":{self.deletions},"encoding":"{self._encoding}"}}'
        yield ("".join(self._out) + end).encode("ascii")

    def _settle(self, encoding: str) -> Iterator[bytes]:
        self._encoding = encoding
        while self._waiting:
            piece, is_open = self._waiting.popleft()
            yield self._convert(piece, is_open=is_open)

    def _is_utf8_so_far(self, piece: bytes) -> bool:
        try:
            self._decoder.decode(piece)
        except UnicodeDecodeError:
            return False
        return True

    def _convert(self, piece: bytes, *, is_open: bool) -> bytes:
        self._out = []
        text = escaped(piece)
        if self._tail is not None:
            more = text.partition("\n")[0]
            self._out.append(more)
            text = text[len(more) :]
            if text or not is_open:
                text = self._close_line(text)
        if text:
            self._add_text(text)
            if is_open:
                self._open_line()
        return "".join(self._out).encode("utf-8" if self._encoding == "latin-1" else "latin-1")

    def _open_line(self) -> None:
        """Takes back the end of the last line, which is to have more content."""
        rows = self._out.pop()
        end = rows.rindex('","oldLine":')  # not of the content: its quotes are escaped
        self._out.append(rows[:end])
        self._tail = rows[end:]

    def _close_line(self, text: str) -> str:
        """Ends the open line, if any, and gives what of the text is not its mark."""
        if self._tail is None:
            return text
        tail, self._tail = self._tail, None
        if text.startswith(f"\n{MARK}"):
            tail = marked(tail)
            text = text[text.find("\n", 1) :] if "\n" in text[1:] else ""
        self._out.append(tail)
        return text

    def _add_text(self, text: str) -> None:
        head, *hunks = text.split("\n@@")  # with the blank behind it this takes twice as long
        if head:
            if self._hunks:
                self._add_lines(head)
            else:
                self._read_header(head)
        for hunk in hunks:
            header = hunk.partition("\n")[0]
            self._begin_hunk(header)
            if len(hunk) > len(header):
                self._add_lines(hunk[len(header) :])

    def _read_header(self, text: str) -> None:
        for line in text[1:].split("\n"):
            if line.startswith("index "):
                self._has_index = line.split(" ")[1] == f"{self._section.old_id}..{self._section.new_id}"
            elif line.startswith("Binary files "):
                self._is_binary = True
            elif not line.startswith(_HEADER_LINES):
                raise self._malformed(f"has a header line that git does not write: {line[:120]!r}")

    def _check_without_hunks(self) -> None:
        section = self._section
        if section.has_same_blob:
            return
        if not self._has_index:
            raise self._malformed("is not the one that the raw part names")
        is_empty = section.status in "AD" and bool({section.old_id, section.new_id} & _EMPTY_BLOBS)
        if not (self._is_binary or is_empty):
            raise self._malformed("ends before its changes")

    def _begin_changes(self) -> None:
        self._out.append(f'"isBinary":{_boolean(self._is_binary)},"changes":[')

    def _begin_hunk(self, header: str) -> None:
        self._end_hunk()
        if not self._hunks:
            if not self._has_index:
                raise self._malformed("is not the one that the raw part names")
            self._begin_changes()
        match = _HUNK.match(header)
        if match is None:
            raise self._malformed(f"has a hunk header that git does not write: {header[:120]!r}")
        old, old_count, new, new_count = (1 if number is None else int(number) for number in match.groups())
        self._old, self._old_count, self._old_end = old, old_count, old + old_count
        self._new, self._new_count, self._new_end = new, new_count, new + new_count
        self._shown = 0
        self._out.append(f'{"," if self._hunks else ""}{{"header":"@@{header}","diff":[')
        self._hunks += 1

    def _end_hunk(self) -> None:
        if not self._hunks:
            return
        if self._old != self._old_end or self._new != self._new_end:
            raise self._malformed("has a hunk of more or fewer lines than its header says")
        # A context line counts on both sides, so what is shown beyond the old side was added.
        self.additions += self._shown - self._old_count
        self.deletions += self._shown - self._new_count
        self._out.append("]}")

    def _add_lines(self, text: str) -> None:
        try:
            if not self._old_count:
                rows = added(text, self._new)
            elif not self._new_count:
                rows = removed(text, self._old)
            else:
                rows = mixed(text, self._old, self._new)
        except ValueError as error:
            raise self._malformed(f"has {error} in a hunk") from None
        if rows.json and self._shown:
            self._out.append(",")
        self._out.append(",".join(rows.json))
        self._shown += len(rows.json)
        self._old += rows.old
        self._new += rows.new

    def _malformed(self, what: str) -> MalformedDiffError:
        return MalformedDiffError(f"Git's patch of {self._section.path!r} {what}.")


def _name_encoding(section: Section) -> str:
    """What reads both names of a file without loss."""
    try:
        (section.path + b"\n" + (section.old_path or b"")).decode()
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _mode(mode: str) -> str:
    return "null" if mode == "000000" else f'"{mode}"'
