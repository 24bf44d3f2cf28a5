"""What directories that somebody hostile writes to take of the disk."""

import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

#: A file counts as this many bytes at least: names and inodes fill a disk too.
FILE_BYTES = 4096

#: What lies deeper counts as hidden.
MAX_DEPTH = 256

_BLOCK_BYTES = 512  # of `st_blocks`, whatever the file system's own are
_OPEN_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


@dataclass(slots=True)
class Measured:
    """Blocks that are allocated, so that a sparse file counts for what is in it; a file with many names once. `hidden`:
    directories that could not be looked into."""

    size: int = 0
    hidden: int = 0
    _seen: set[tuple[int, int]] = field(default_factory=set)

    def add(self, found: os.stat_result) -> None:
        if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
            if (found.st_dev, found.st_ino) in self._seen:
                return
            self._seen.add((found.st_dev, found.st_ino))
        self.size += max(found.st_blocks * _BLOCK_BYTES, FILE_BYTES)


def measure(roots: Iterable[Path]) -> Measured:
    """Follows no link, whatever is swapped while it looks."""
    measured = Measured()
    for root in roots:
        try:
            fd = os.open(root, _OPEN_FLAGS)
        except OSError:
            continue  # it has been taken away, with all that was in it
        _measure(fd, measured, 0)
    return measured


def _measure(fd: int, measured: Measured, depth: int) -> None:
    """Closes it."""
    below: list[str] = []
    try:
        with suppress(OSError), os.scandir(fd) as entries:
            for entry in entries:
                with suppress(OSError):  # gone meanwhile
                    measured.add(entry.stat(follow_symlinks=False))
                    if entry.is_dir(follow_symlinks=False):
                        below.append(entry.name)
        for name in below:
            if depth >= MAX_DEPTH:
                measured.hidden += 1
                continue
            try:
                inner = os.open(name, _OPEN_FLAGS, dir_fd=fd)
            except PermissionError:
                measured.hidden += 1
            except OSError:
                continue
            else:
                _measure(inner, measured, depth + 1)
    finally:
        os.close(fd)


def unlinked(pids: Iterable[int], devices: Sequence[int]) -> int:
    """Bytes on those devices of files that have no name any more and are open in one of those processes."""
    measured = Measured()
    seen = set()
    for pid in pids:
        with suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                with suppress(OSError):
                    found = entry.stat()
                    key = found.st_dev, found.st_ino
                    if found.st_nlink == 0 and found.st_dev in devices and key not in seen:
                        seen.add(key)
                        measured.add(found)
    return measured.size


def used(roots: Iterable[Path]) -> int:
    """Of the whole file systems that they are on, whoever uses them."""
    found = {}
    for root in roots:
        with suppress(OSError):
            system = os.statvfs(root)
            found[root.stat().st_dev] = (system.f_blocks - system.f_bfree) * system.f_frsize
    return sum(found.values())


def free(roots: Iterable[Path]) -> int | None:
    """Of the file system of them that has the least; None when none of them is there."""
    found = []
    for root in roots:
        with suppress(OSError):
            system = os.statvfs(root)
            found.append(system.f_bavail * system.f_frsize)
    return min(found, default=None)


def devices(roots: Iterable[Path]) -> Sequence[int]:
    """Of those roots."""
    found = []
    for root in roots:
        with suppress(OSError):
            found.append(root.stat().st_dev)
    return found
