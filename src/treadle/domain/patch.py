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
from collections.abc import Iterator
from io import BytesIO

from treadle.domain.hunks import FileWriter
from treadle.domain.raw_diff import MalformedDiffError, RawPart, Section, read_numstat

_BLOCK_BYTES = 256 * 1024  # large enough for speed, small enough for memory
_BACKSLASH = ord("\\")


class DiffEncoder:
    """Reads git's output with `DIFF_ARGUMENTS` in chunks of any size and gives the JSON, UTF-8, as far as it is ready.

        encoder = DiffEncoder()
        for chunk in git(*DIFF_ARGUMENTS, old, new):
            write(encoder.feed(chunk))
            for paths in path_batches(encoder.unsettled):
                encoder.settle(git(*NUMSTAT_ARGUMENTS, old, new, "--", *paths))
        write(encoder.close())

    The JSON is `{"files": [...]}` as `treadle.domain.diff.CodeDiff` describes it, in camel case. `feed` holds as little
    as it can: a file whose changed lines are not ASCII waits for its last line, anything else for the end of a line.
    Raises MalformedDiffError; the encoder is of no use then. `block_bytes` is how much text is worked on at once.
    """

    def __init__(self, *, block_bytes: int = _BLOCK_BYTES) -> None:
        self._block_bytes = block_bytes
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
        # The input not worked on. It begins with a line end: each block is lines that have theirs before them.
        self._pending: list[bytes] = []
        self._writer: FileWriter | None = None

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
        # A chunk without a line end completes nothing: a long line is not joined again for every chunk of it.
        if not self._unsettled and (b"\n" in chunk or not chunk):
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
        yield from self._work()
        rest = b"".join(self._pending)
        self._pending = []
        if not rest.endswith(b"\n"):
            raise MalformedDiffError("Git's diff ends in the middle of a line.")
        if len(rest) > 1:
            yield from self._block(rest[:-1])
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
        self._pending = []
        start = 0
        while (end := _block_end(data, start, self._block_bytes)) > start:
            yield from self._block(data[start:end])
            start = end
        self._pending = [data[start:]]

    def _block(self, block: bytes) -> Iterator[bytes]:
        piece, *files = block.split(b"\ndiff --git ")
        if piece:
            if self._writer is None:
                raise MalformedDiffError(f"Git's patch begins with no file: {piece[:120]!r}.")
            yield from self._writer.write(piece)
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


def _block_end(data: bytes, start: int, block_bytes: int) -> int:
    r"""Where the next block ends: at a line end with something behind it that is no `\ No newline` mark, for that
    belongs to its line. -1 where there is none yet.

    The block is at most `block_bytes` long, or one line where that is longer.
    """
    last = len(data) - 1  # a line end there might have a mark to come
    limit = min(start + block_bytes, last)
    end = data.rfind(b"\n", start + 1, limit)
    while end > start and data[end + 1] == _BACKSLASH:
        end = data.rfind(b"\n", start + 1, end)
    if end > start:
        return end
    end = data.find(b"\n", limit, last)
    while end >= 0 and data[end + 1] == _BACKSLASH:
        end = data.find(b"\n", end + 1, last)
    return end


def _joined(pieces: Iterator[bytes]) -> bytes:
    whole = BytesIO()  # hands its buffer over, where a join would hold everything twice
    for piece in pieces:
        whole.write(piece)
    return whole.getvalue()
