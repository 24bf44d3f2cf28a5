"""Which file system a box may not fill."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from treadle.ports.sandbox import BoxLimits
from treadle.sandbox import disk
from treadle.sandbox.disk_watch import MIN_WALK_SECONDS, DiskWatch

MIB = 1024**2
DISK, MEMORY = Path("/disk/1/code"), Path("/memory/1")


def test_little_shared_memory_ends_no_box_that_the_disk_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Docker gives a container 64 MiB of it, and an engine's own state lies there."""
    room, now, used, size = {DISK: 90_000 * MIB, MEMORY: 60 * MIB}, 0.0, 1000 * MIB, 10 * MIB

    def free(roots: Sequence[Path]) -> int:
        return min(room[root] for root in roots)

    monkeypatch.setattr("treadle.sandbox.disk_watch.time.monotonic", lambda: now)
    monkeypatch.setattr(disk, "free", free)
    monkeypatch.setattr(disk, "used", lambda _roots: used)
    monkeypatch.setattr(disk, "measure", lambda _roots: disk.Measured(size))
    watch = DiskWatch(BoxLimits(disk_bytes=20_000 * MIB, free_bytes=128 * MIB), (DISK, MEMORY))
    used, size, now = used + 500 * MIB, size + 500 * MIB, MIN_WALK_SECONDS
    assert watch.look(()) is None
    room[DISK] = 100 * MIB
    assert "TREADLE_MIN_FREE_BYTES" in str(watch.look(()))
