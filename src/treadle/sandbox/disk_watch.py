"""Watches what a box takes of the disk: by walks through its directories, as rare as they can be.

There is one when the file systems have lost half of what was left to the box, whoever took it, or are nearly full, and
else the more rarely the longer it takes.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from treadle.ports.sandbox import BoxLimits
from treadle.sandbox import disk, limits

#: Before the first walk through a box's directories, and at least between two, in seconds.
MIN_WALK_SECONDS = 2.0

#: At most between two, in seconds.
MAX_WALK_SECONDS = 60.0

#: How many times as long as a walk took there is none.
WALK_SHARE = 50

#: More than this share of the limit that the walks do not explain has them look for files without names.
_UNEXPLAINED_SHARE = 0.25


@dataclass(slots=True)
class DiskWatch:
    """`roots`: what the box may write to, and stays; the first of them is on the worker's disk, others may be in
    memory, of which a machine may have little."""

    limits: BoxLimits
    roots: Sequence[Path]
    _used_at_start: int = field(init=False)  # of the file systems
    _used: int = field(init=False)  # of them, at the last walk
    _next: float = field(init=False)
    _first: int | None = None  # of the box, at the first walk
    _start: int = 0  # of it, before what the file systems had lost by then
    _last: int = 0
    _grown: int = 0  # by how much the box has grown, at the last walk

    def __post_init__(self) -> None:
        self._used_at_start = self._used = disk.used(self.roots)
        self._next = time.monotonic() + MIN_WALK_SECONDS

    def look(self, pids: Sequence[int]) -> str | None:
        """A sentence once there is too much. `pids`: the box's processes, as far as they are known. Blocks as long as
        a walk takes."""
        if not (self.limits.disk_bytes or self.limits.free_bytes):
            return None
        used, is_nearly_full = disk.used(self.roots), self._is_nearly_full()
        if is_nearly_full and self._grown >= self.limits.free_bytes:
            return limits.said_of_full_disk(self.limits)
        unseen = used - self._used
        if time.monotonic() < self._next and unseen < self._unwatched(is_nearly_full=is_nearly_full):
            return None
        measured = self._walk(used, pids)
        lost = used - self._used_at_start
        if is_nearly_full and self._grown >= self.limits.free_bytes:
            return limits.said_of_full_disk(self.limits)
        return self._said_of(measured, lost) if self.limits.disk_bytes else None

    def _walk(self, used: int, pids: Sequence[int]) -> disk.Measured:
        began = time.monotonic()
        measured = disk.measure(self.roots)
        now = time.monotonic()
        self._used = used
        self._next = now + min(max((now - began) * WALK_SHARE, MIN_WALK_SECONDS), MAX_WALK_SECONDS)
        lost = used - self._used_at_start
        if self._first is None:
            self._first = measured.size
            self._start = measured.size - min(measured.size, max(lost, 0))
        most = self.limits.disk_bytes or self.limits.free_bytes
        if lost - (measured.size - self._first) > most * _UNEXPLAINED_SHARE:
            measured.size += disk.unlinked(pids, disk.devices(self.roots))
        self._last = measured.size
        self._grown = measured.size - self._start
        return measured

    def _said_of(self, measured: disk.Measured, lost: int) -> str | None:
        if measured.size > self.limits.disk_bytes:
            return limits.said_of_disk(self.limits)
        if measured.hidden and lost > self.limits.disk_bytes:
            return limits.said_of_hidden_files(self.limits)
        return None

    def _is_nearly_full(self) -> bool:
        free = disk.free(self.roots[:1]) if self.limits.free_bytes else None
        return free is not None and free < self.limits.free_bytes

    def _unwatched(self, *, is_nearly_full: bool) -> float:
        """How much the file systems may lose without a walk."""
        losses = []
        if self.limits.disk_bytes:
            losses.append((self.limits.disk_bytes - self._last) / 2)
        if is_nearly_full:
            losses.append(self.limits.free_bytes / 2)
        return min(losses, default=float("inf"))
