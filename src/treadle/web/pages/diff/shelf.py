"""Diffs at hand: copied once from the blobs into a file that only this process has, mapped, and indexed.

A diff may be 50 MB and lie at a store across the network that gives no parts of it; a page needs a few kilobytes here
and there. The file has no name, so that nothing is left behind, whatever happens to the process.
"""

import asyncio
import hashlib
import mmap
import os
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from anyio import to_thread

from treadle.domain.errors import TooLarge
from treadle.domain.run import Artifact
from treadle.services.content import Content
from treadle.web.pages.diff.index import FileEntry, index
from treadle.web.pages.diff.lines import Outline, outline

#: How many diffs are kept at hand, and how many bytes of them.
MAX_DIFFS, MAX_DIFFS_BYTES = 32, 1 << 30

#: A diff of more bytes of JSON than these is not shown, only downloaded.
MAX_DIFF_BYTES = 512 << 20

#: Of each diff, so many files' lines stay found, and so many lines.
MAX_OUTLINES, MAX_OUTLINE_LINES = 64, 2_000_000

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """The values that were asked for last, up to a number of them and a sum of their sizes."""

    def __init__(self, *, count: int, size: int, size_of: Callable[[Value], int]) -> None:
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._count, self._size, self._size_of = count, size, size_of
        self._held = 0

    def get(self, key: Hashable) -> Value | None:
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: Hashable, value: Value) -> None:
        if (old := self._values.pop(key, None)) is not None:
            self._held -= self._size_of(old)
        self._values[key] = value
        self._held += self._size_of(value)
        while len(self._values) > 1 and (len(self._values) > self._count or self._held > self._size):
            self._held -= self._size_of(self._values.popitem(last=False)[1])


@dataclass(slots=True)
class OpenDiff:
    """A diff at hand. `digest` is the SHA-256 of its JSON."""

    data: mmap.mmap
    digest: str
    entries: Sequence[FileEntry]
    _outlines: Recent[Outline] = field(
        default_factory=lambda: Recent(
            count=MAX_OUTLINES, size=MAX_OUTLINE_LINES, size_of=lambda found: len(found.lines)
        )
    )

    @property
    def additions(self) -> int:
        return sum(entry.additions for entry in self.entries)

    @property
    def deletions(self) -> int:
        return sum(entry.deletions for entry in self.entries)

    def outline(self, entry: FileEntry) -> Outline:
        found = self._outlines.get(entry.at)
        if found is None:
            found = outline(self.data, entry)
            self._outlines.put(entry.at, found)
        return found


class Shelf(Generic[Value]):
    """Opens artifacts as something, each once for all who ask meanwhile."""

    def __init__(self, folder: Path, read: Callable[[mmap.mmap, str], Value], *, max_bytes: int) -> None:
        """`read` makes it of the bytes and their digest; in a thread."""
        self._folder = folder
        self._read = read
        self._max_bytes = max_bytes
        self._open: Recent[tuple[Value, int]] = Recent(
            count=MAX_DIFFS, size=MAX_DIFFS_BYTES, size_of=lambda opened: opened[1]
        )
        self._opening: dict[Hashable, asyncio.Task[Value]] = {}

    async def open(self, artifact: Artifact, content: Content) -> Value:
        """Raises TooLarge, NotFound for bytes that are gone, and what `read` raises."""
        if artifact.size > self._max_bytes:
            raise TooLarge(
                f"This diff is larger than the {self._max_bytes >> 20} MiB that are shown here.",
                hint="Download the patch instead.",
            )
        # A run's later diff is written over its earlier one, under the same key.
        key = (artifact.blob, artifact.size, artifact.date_created)
        found = self._open.get(key)
        if found is not None:
            return found[0]
        task = self._opening.get(key)
        if task is None:
            task = self._opening[key] = asyncio.create_task(self._spool(key, content))
            task.add_done_callback(partial(self._opened, key))
        return await asyncio.shield(task)  # somebody else may wait for it, too

    def _opened(self, key: Hashable, task: "asyncio.Task[Value]") -> None:
        del self._opening[key]
        if not task.cancelled():
            task.exception()  # whoever waited has it; if nobody did, it is no news

    async def _spool(self, key: Hashable, content: Content) -> Value:
        with await to_thread.run_sync(lambda: tempfile.TemporaryFile(dir=self._folder)) as file:
            digest = hashlib.sha256()
            async for chunk in content.stream():
                digest.update(chunk)
                await to_thread.run_sync(file.write, chunk)
            await to_thread.run_sync(file.flush)
            size = os.fstat(file.fileno()).st_size
            data = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) if size else mmap.mmap(-1, 1)
        value = await to_thread.run_sync(self._read, data, digest.hexdigest())
        self._open.put(key, (value, size))
        return value


def diffs(folder: Path) -> Shelf[OpenDiff]:
    """A shelf of diffs, with its files in `folder`."""
    return Shelf(folder, lambda data, digest: OpenDiff(data, digest, index(data)), max_bytes=MAX_DIFF_BYTES)
