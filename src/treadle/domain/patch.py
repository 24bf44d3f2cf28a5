"""Turns what `git diff` writes into the diff's JSON while git is still writing it.

Three sources, each for what it alone tells without ambiguity:

- names, modes and renames: the `--raw -z` part that precedes the patch;
- hunks: the patch, whose sections come in the same order. Of their headers only the blob ids are read, to be held
  against the raw part. Every line of a hunk begins with a blank, `+`, `-` or a backslash, and no other line does once
  the headers are over, so content cannot pass for a header; each hunk is counted against its `@@` numbers;
- whether a file is binary: the patch, but not where the old and the new blob are the same, for then there is nothing to
  show. Those files, and only those, are asked for with `--numstat`: to have it of all files from the same process
  doubles the time of a large diff.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from io import BytesIO

from treadle.domain.hunks import FileWriter
from treadle.domain.raw_diff import MalformedDiffError, RawPart, Section, read_numstat

_BLOCK_BYTES = 256 * 1024  # large enough for speed, small enough for memory
_SMALLEST_BLOCK = 64  # room for a mark and its line end
_BACKSLASH = ord("\\")
_END = b"\0"  # behind the last line end, so that no mark is waited for


class DiffEncoder:
    """Reads git's output with `DIFF_ARGUMENTS` in chunks of any size and gives the JSON, UTF-8, as far as it is ready.

        encoder = DiffEncoder()
        for chunk in git(*DIFF_ARGUMENTS, old, new):
            write(encoder.feed(chunk))
            for paths in path_batches(encoder.unsettled):
                encoder.settle(git(*NUMSTAT_ARGUMENTS, old, new, "--", *paths))
        write(encoder.close())

    The JSON is `{"files": [...]}` as `treadle.domain.diff.CodeDiff` describes it, in camel case. `feed` holds as little
    as it can: a file whose changed lines are not ASCII waits for its last line, anything else for a block or a line.
    Raises MalformedDiffError; the encoder is of no use then. `block_bytes` is how much text is worked on at once.
    """

    def __init__(self, *, block_bytes: int = _BLOCK_BYTES) -> None:
        self._block_bytes = max(block_bytes, _SMALLEST_BLOCK)
        self.files = 0
        #: Lines of the files that are complete.
        self.additions = 0
        self.deletions = 0
        #: How many bytes of the input precede the patch; None until it has begun.
        self.patch_offset: int | None = None
        self._raw = RawPart()
        self._read = 0
        self._sections: deque[Section] = deque()
        self._unsettled: dict[bytes, None] = {}  # in git's order
        self._binary: dict[bytes, bool] = {}
        # The input not worked on. It begins with a line end, for blocks are lines that have theirs before them, or in
        # the middle of a long line.
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._writer: FileWriter | None = None

    @property
    def sections(self) -> Sequence[Section]:
        """What the raw part tells of each file, in the order of the diff's files; complete when the raw part is."""
        return self._raw.sections

    @property
    def unsettled(self) -> tuple[bytes, ...]:
        """Paths that `settle` must be told about. Known when the raw part is over, never more after that."""
        return tuple(self._unsettled)

    def settle(self, numstat: bytes) -> None:
        """Takes what git said with `NUMSTAT_ARGUMENTS` about some or all of `unsettled`."""
        for path, is_binary in read_numstat(numstat).items():
            if path in self._unsettled:
                del self._unsettled[path]
                self._binary[path] = is_binary

    def feed(self, chunk: bytes) -> bytes:
        """What of the JSON is ready."""
        return _joined(self.feed_pieces(chunk))

    def close(self) -> bytes:
        """The rest of the JSON, once git has ended well."""
        return _joined(self.close_pieces())

    def feed_pieces(self, chunk: bytes) -> Iterator[bytes]:
        """As `feed`, in pieces that are bounded even when a huge file was held back. Exhaust it."""
        if self.patch_offset is None:
            if not self._read and chunk:
                yield b'{"files":['
            self._read += len(chunk)
            patch = self._raw.feed(chunk)
            if patch is None:
                return
            self._begin_patch(patch)
        else:
            self._pending.append(chunk)
            self._pending_bytes += len(chunk)
        # Small chunks without a line end wait, not to be joined again for every one of them.
        is_enough = self._pending_bytes > self._block_bytes or b"\n" in chunk or not chunk
        if is_enough and not self._unsettled:
            yield from self._work()

    def close_pieces(self) -> Iterator[bytes]:
        """As `close`, in pieces. Exhaust it."""
        if not self._read:
            yield b'{"files":[]}'
            return
        if self.patch_offset is None:
            raise MalformedDiffError("Git's diff ends before its patch begins.")
        if self._unsettled:
            raise MalformedDiffError(f"Whether {next(iter(self._unsettled))!r} is binary was not settled.")
        self._pending.append(_END)
        yield from self._work()
        if self._pending != [b"\n" + _END]:
            raise MalformedDiffError("Git's diff ends in the middle of a line.")
        yield from self._finish_file()
        if self._sections:
            raise MalformedDiffError(f"Git's patch ends before the file {self._sections[0].path!r}.")
        yield b"]}"

    def _begin_patch(self, patch: bytes) -> None:
        self.patch_offset = self._read - len(patch)
        self._sections.extend(self._raw.sections)
        self._unsettled = dict.fromkeys(section.path for section in self._sections if section.is_unsettled)
        self._pending = [b"\n", patch]

    def _work(self) -> Iterator[bytes]:
        data = b"".join(self._pending)
        start = 0
        while True:
            end, is_cut = self._next_end(data, start)
            if end <= start:
                break
            yield from self._block(data[start:end], is_cut=is_cut)
            start = end
        self._pending = [data[start:]]
        self._pending_bytes = len(data) - start

    def _next_end(self, data: bytes, start: int) -> tuple[int, bool]:
        """Where the next block ends, -1 where that is not known yet, and whether that is in the middle of a line.

        It is, when the line is longer than a block and of a hunk. Headers are always read whole.
        """
        limit = min(start + self._block_bytes, len(data) - 1)
        end = _last_line_end(data, start + 1, limit)
        if end >= 0:
            return end, False
        if limit == start + self._block_bytes and self._is_of_hunk(data, start):
            line_end = data.find(b"\n", start + 1, limit)
            return (limit if line_end < 0 else line_end), True
        return _first_line_end(data, limit), False

    def _is_of_hunk(self, data: bytes, start: int) -> bool:
        """Whether a line of a hunk begins here, or goes on."""
        if self._writer is None or not self._writer.has_hunks:
            return False
        return data[start : start + 1] != b"\n" or data[start + 1] in b"+- "

    def _block(self, block: bytes, *, is_cut: bool) -> Iterator[bytes]:
        piece, *files = block.split(b"\ndiff --git ")
        if piece:
            if self._writer is None:
                raise MalformedDiffError(f"Git's patch begins with no file: {piece[:120]!r}.")
            yield from self._writer.write(piece, is_open=is_cut)
        for text in files:
            yield from self._finish_file()
            writer = self._begin_file()
            yield (b"," if self.files > 1 else b"") + writer.opening()
            names, line_end, _ = text.partition(b"\n")
            if line_end:
                yield from writer.write(text[len(names) :])

    def _begin_file(self) -> FileWriter:
        if not self._sections:
            raise MalformedDiffError("Git's patch has more files than its raw part.")
        section = self._sections.popleft()
        self.files += 1
        is_binary = section.is_unsettled and self._binary[section.path]
        self._writer = FileWriter(section, is_binary=is_binary)
        return self._writer

    def _finish_file(self) -> Iterator[bytes]:
        if self._writer is not None:
            yield from self._writer.finish()
            self.additions += self._writer.additions
            self.deletions += self._writer.deletions
            self._writer = None


def _last_line_end(data: bytes, start: int, end: int) -> int:
    r"""The last one with something behind it that is no `\ No newline` mark, for that belongs to its line; or -1.

    `end` is at most one less than the length of the data: what is behind the last byte is not known yet.
    """
    found = data.rfind(b"\n", start, end)
    while found >= 0 and data[found + 1] == _BACKSLASH:
        found = data.rfind(b"\n", start, found)
    return found


def _first_line_end(data: bytes, start: int) -> int:
    found = data.find(b"\n", start, len(data) - 1)
    while found >= 0 and data[found + 1] == _BACKSLASH:
        found = data.find(b"\n", found + 1, len(data) - 1)
    return found


def _joined(pieces: Iterator[bytes]) -> bytes:
    whole = BytesIO()  # hands its buffer over, where a join would hold everything twice
    for piece in pieces:
        whole.write(piece)
    return whole.getvalue()
