"""Blobs as Git gives them out: one process for them all, piece by piece, whatever their size."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from treadle.command import CommandError
from treadle.domain.errors import GitError, GitTimedOut
from treadle.workspace.git import Git, failure_of, last_line, measured, refuse_full_memory

_ARGUMENTS = ("cat-file", "--batch", "--buffer")
_CHUNK_SIZE = 1 << 20
_LONGEST_HEAD = 200


@dataclass(frozen=True, slots=True)
class Piece:
    """`at`: where in the blob it begins. The last piece of a blob may be empty."""

    blob: str
    size: int
    at: int
    data: bytes

    @property
    def is_last(self) -> bool:
        return self.at + len(self.data) == self.size


async def read_blobs(git: Git, ids: Sequence[str]) -> AsyncIterator[Piece]:
    """In the order of `ids`. Raises GitError, also for what is no blob."""
    if not ids:
        return
    asked = "".join(f"{each}\n" for each in ids).encode()
    with measured(_ARGUMENTS):
        try:
            async with (
                asyncio.timeout(git.seconds),
                git.spawn(*_ARGUMENTS, stdin=asked) as running,
            ):
                reader = _Reader()
                async for chunk in running.chunks(chunk_bytes=_CHUNK_SIZE):
                    for piece in reader.feed(chunk):
                        yield piece
                if await running.wait() != 0:
                    refuse_full_memory(_ARGUMENTS, running.stderr)
                    raise GitError(f"git cat-file failed: {last_line(running.stderr)}.")
        except TimeoutError:
            raise GitTimedOut(
                "The changes could not be examined in time.", hint="TREADLE_GIT_SECONDS sets how long it may take."
            ) from None
        except CommandError as error:
            raise failure_of(_ARGUMENTS, error) from error


class _Reader:
    def __init__(self) -> None:
        self._buffer = b""
        self._blob: str | None = None
        self._size = self._at = 0

    def feed(self, chunk: bytes) -> list[Piece]:
        data, at, found = self._buffer + chunk, 0, list[Piece]()
        while True:
            if self._blob is None:
                end = data.find(b"\n", at, at + _LONGEST_HEAD)
                if end < 0:
                    break
                self._begin(data[at:end].decode(errors="replace"))
                at = end + 1
            elif (rest := self._size - self._at) < len(data) - at:  # and the line feed behind it
                found.append(Piece(self._blob, self._size, self._at, data[at : at + rest]))
                at += rest + 1
                self._blob = None
            else:
                whole = min(rest, len(data) - at)
                if whole and whole < rest:
                    found.append(Piece(self._blob, self._size, self._at, data[at : at + whole]))
                    self._at += whole
                    at += whole
                break
        self._buffer = data[at:]
        return found

    def _begin(self, head: str) -> None:
        match head.split(" "):
            case [blob, "blob", size]:
                self._blob, self._size, self._at = blob, int(size), 0
            case _:
                raise GitError(f"git cat-file failed: {head}.")
