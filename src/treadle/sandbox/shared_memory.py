"""What a command keeps in memory that belongs to none of its processes alone: shared mappings, memfds, and its files in
memory.

The kernel's limits for each process leave all of it out, and what is resident says little: pages stay when nobody has
them in its tables. So it is the files behind them that are counted, each once, by what is allocated of them.
"""

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from treadle.sandbox import disk

#: A name in `/tmp` or `/dev/shm` counts as this many bytes of the kernel's memory, besides what is in the file.
NAME_BYTES = 1024

#: At most from one look to the next, in seconds.
MAX_PAUSE_SECONDS = 5.0

#: How many times as long as a look took there is none.
_PAUSE_SHARE = 20

_BLOCK = 512  # of `st_blocks`
_IN_MEMORY = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))  # noqa: S108 - in the sandbox


@dataclass(slots=True)
class SharedMemoryWatch:
    """Looks the more rarely the more there is to look at."""

    _last: int = 0
    _next: float = 0.0

    def look(self, pids: Sequence[int]) -> int:
        """Bytes, as of the last look. Blocks as long as one takes."""
        if time.monotonic() >= self._next:
            began = time.thread_time()
            self._last = used(pids)
            pause = min((time.thread_time() - began) * _PAUSE_SHARE, MAX_PAUSE_SECONDS)
            self._next = time.monotonic() + pause
        return self._last


def used(pids: Sequence[int]) -> int:
    return _unnamed(pids) + _files(pids)


def _unnamed(pids: Sequence[int]) -> int:
    """Shared mappings of no file, memfds and segments of System V: to the kernel files of a device of its own. One that
    is only mapped, and whose file this process may not look at, counts as far as it is mapped, used or not."""
    exact: dict[int, int] = {}
    mapped: dict[int, int] = {}
    for pid in pids:
        with suppress(OSError):
            exact.update(_open(pid))
    for pid in pids:
        with suppress(OSError):
            for start, end, offset, number in _mappings(pid):
                if number in exact:
                    continue
                try:
                    found = Path(f"/proc/{pid}/map_files/{start:x}-{end:x}").stat()
                except OSError:
                    mapped[number] = max(mapped.get(number, 0), offset + end - start)
                else:
                    exact[found.st_ino] = found.st_blocks * _BLOCK
    return sum((mapped | exact).values())


def _open(pid: int) -> Iterator[tuple[int, int]]:
    with os.scandir(f"/proc/{pid}/fd") as entries:
        for entry in entries:
            with suppress(OSError):
                found = entry.stat()
                if found.st_dev == _device():
                    yield found.st_ino, found.st_blocks * _BLOCK


def _mappings(pid: int) -> Iterator[tuple[int, int, int, int]]:
    """Start, end, offset in the file and the file's number."""
    for line in _pattern().findall(Path(f"/proc/{pid}/maps").read_bytes()):
        start, end, offset = (int(word, 16) for word in line[:3])
        yield start, end, offset, int(line[3])


def _files(pids: Sequence[int]) -> int:
    """In memory, of the first process that has such places of its own: the others share them. Files without a name
    are among them."""
    here = disk.devices(_IN_MEMORY)
    for pid in pids:
        found = {}
        for path in _IN_MEMORY:
            with suppress(OSError):
                inside = Path(f"/proc/{pid}/root{path}")
                device = inside.stat().st_dev
                if device not in here:
                    system = os.statvfs(inside)
                    size = (system.f_blocks - system.f_bfree) * system.f_frsize
                    found[device] = size + (system.f_files - system.f_ffree) * NAME_BYTES
        if found:
            return sum(found.values())
    return 0


@cache
def _device() -> int:
    """On which the kernel keeps shared memory that has no name."""
    fd = os.memfd_create("treadle", os.MFD_CLOEXEC)
    try:
        return os.fstat(fd).st_dev
    finally:
        os.close(fd)


@cache
def _pattern() -> re.Pattern[bytes]:
    """Of a line of `maps` that maps something from there."""
    device = f"{os.major(_device()):02x}:{os.minor(_device()):02x}"
    return re.compile(rf"^([0-9a-f]+)-([0-9a-f]+) \S+ ([0-9a-f]+) {device} (\d+)".encode(), re.MULTILINE)
