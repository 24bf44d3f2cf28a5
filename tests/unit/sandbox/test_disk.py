"""What a directory takes, whoever filled it."""

import os
from pathlib import Path

import pytest

from treadle.ports.sandbox import BoxLimits
from treadle.sandbox import disk
from treadle.sandbox.disk import FILE_BYTES, MAX_DEPTH, measure
from treadle.sandbox.disk_watch import MIN_WALK_SECONDS, DiskWatch

MIB = 1024**2


def test_what_is_allocated_counts(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(MIB))
    with (tmp_path / "sparse").open("wb") as sparse:
        sparse.truncate(10_000 * MIB)
    assert MIB <= measure([tmp_path]).size <= MIB + 4 * FILE_BYTES


def test_a_file_with_many_names_counts_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(MIB))
    for number in range(5):
        os.link(tmp_path / "a", tmp_path / str(number))
    assert measure([tmp_path]).size <= MIB + 4 * FILE_BYTES


def test_many_empty_files_count(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / str(number)).touch()
    assert measure([tmp_path]).size >= 100 * FILE_BYTES


def test_links_lead_nowhere(tmp_path: Path) -> None:
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    for path in (inner, outer):
        path.mkdir()
    (outer / "large").write_bytes(bytes(MIB))
    (inner / "link").symlink_to(outer)
    (inner / "loop").symlink_to(inner)
    os.mkfifo(inner / "pipe")
    assert measure([inner, tmp_path / "missing"]).size <= 4 * FILE_BYTES
    assert measure([inner / "link"]).size == 0


def test_what_lies_too_deep_is_hidden(tmp_path: Path) -> None:
    """Deeper than a path can be long."""
    fds = [os.open(tmp_path, os.O_RDONLY)]
    for _ in range(MAX_DEPTH + 3):
        os.mkdir("a" * 100, dir_fd=fds[-1])
        fds.append(os.open("a" * 100, os.O_RDONLY, dir_fd=fds[-1]))
    try:
        measured = measure([tmp_path])
        assert measured.hidden == 1
    finally:
        for number in range(len(fds) - 2, -1, -1):
            os.rmdir("a" * 100, dir_fd=fds[number])
        for fd in fds:
            os.close(fd)


@pytest.mark.skipif(os.geteuid() == 0, reason="root looks into everything")
def test_what_cannot_be_opened_is_hidden(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    assert measure([tmp_path]).hidden == 1


def test_a_file_without_a_name_is_found_by_who_has_it_open(tmp_path: Path) -> None:
    with (tmp_path / "a").open("wb") as file:
        file.write(bytes(MIB))
        file.flush()
        devices = disk.devices([tmp_path])
        assert disk.unlinked([os.getpid()], devices) < MIB
        (tmp_path / "a").unlink()
        found = disk.unlinked([os.getpid(), os.getpid(), 2**22 + 1], devices)
    assert MIB <= found < 2 * MIB


# ---- when it walks ---------------------------------------------------------------------------------------------------


class World:
    """A file system and a clock; `walks` counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.used, self.now, self.walks = 1000 * MIB, 0.0, 0
        self.size = 100_000 * MIB
        self.measured = disk.Measured(10 * MIB)
        self.nameless = 0
        monkeypatch.setattr("treadle.sandbox.disk_watch.time.monotonic", lambda: self.now)
        monkeypatch.setattr(disk, "used", lambda _roots: self.used)
        monkeypatch.setattr(disk, "free", lambda _roots: self.size - self.used)
        monkeypatch.setattr(disk, "measure", self._measure)
        monkeypatch.setattr(disk, "unlinked", lambda _pids, _devices: self.nameless)

    def _measure(self, _roots: object) -> disk.Measured:
        self.walks += 1
        return disk.Measured(self.measured.size, self.measured.hidden)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


@pytest.fixture
def watch(world: World) -> DiskWatch:
    del world
    return DiskWatch(BoxLimits(disk_bytes=100 * MIB), ())


def test_a_short_command_is_not_walked_through(world: World, watch: DiskWatch) -> None:
    assert watch.look(()) is None
    world.now = MIN_WALK_SECONDS - 0.1
    assert watch.look(()) is None
    assert world.walks == 0


def test_half_of_what_is_left_has_it_walk_at_once(world: World, watch: DiskWatch) -> None:
    watch.look(())
    world.used += 60 * MIB
    assert watch.look(()) is None
    assert world.walks == 1  # it was somebody else
    watch.look(())
    assert world.walks == 1


def test_it_walks_again_for_who_hides_behind_another_s_deletions(world: World, watch: DiskWatch) -> None:
    watch.look(())
    world.now, world.measured = MIN_WALK_SECONDS, disk.Measured(101 * MIB)
    assert "100.0 MiB that TREADLE_SANDBOX_DISK_BYTES" in str(watch.look(()))


def test_growth_that_no_walk_explains_has_it_look_for_nameless_files(world: World, watch: DiskWatch) -> None:
    watch.look(())
    world.now = MIN_WALK_SECONDS
    watch.look(())
    world.used, world.nameless = world.used + 95 * MIB, 95 * MIB
    assert "TREADLE_SANDBOX_DISK_BYTES" in str(watch.look(()))


def test_hidden_directories_count_once_the_disk_has_filled(world: World, watch: DiskWatch) -> None:
    watch.look(())
    world.measured = disk.Measured(10 * MIB, hidden=1)
    world.now = MIN_WALK_SECONDS
    assert watch.look(()) is None
    world.used += 101 * MIB
    assert "cannot be looked into" in str(watch.look(()))


def test_without_a_limit_nobody_looks(world: World) -> None:
    unlimited = DiskWatch(BoxLimits(), ())
    world.now = 1000.0
    assert unlimited.look(()) is None
    assert world.walks == 0


@pytest.fixture
def sparing(world: World) -> DiskWatch:
    """Of a box that leaves 128 MiB of a disk with 600 MiB of space, and has a large checkout from the start."""
    world.size, world.measured = world.used + 600 * MIB, disk.Measured(5000 * MIB)
    return DiskWatch(BoxLimits(disk_bytes=20_000 * MIB, free_bytes=128 * MIB), ())


def test_who_fills_the_disk_is_ended_before_it_is_full(world: World, sparing: DiskWatch) -> None:
    assert sparing.look(()) is None
    world.used, world.measured = world.used + 500 * MIB, disk.Measured(5500 * MIB)
    assert "TREADLE_MIN_FREE_BYTES" in str(sparing.look(()))


def test_who_has_grown_little_is_not_ended_for_another(world: World) -> None:
    world.size = world.used + 600 * MIB
    sparing = DiskWatch(BoxLimits(disk_bytes=20_000 * MIB, free_bytes=128 * MIB), ())
    world.used += 500 * MIB  # its own files are 10 MiB, as before
    for _ in range(5):
        assert sparing.look(()) is None
        world.now += MIN_WALK_SECONDS
    assert world.walks > 1


def test_a_large_checkout_is_no_growth(world: World, sparing: DiskWatch) -> None:
    world.now = MIN_WALK_SECONDS
    assert sparing.look(()) is None
    world.used += 500 * MIB  # somebody else's
    for _ in range(5):
        assert sparing.look(()) is None
        world.now += MIN_WALK_SECONDS
    assert world.walks > 1


def test_who_has_grown_before_is_ended_without_another_walk(world: World, sparing: DiskWatch) -> None:
    world.used, world.measured = world.used + 300 * MIB, disk.Measured(5300 * MIB)
    world.now = MIN_WALK_SECONDS
    assert sparing.look(()) is None
    world.used += 200 * MIB
    assert "TREADLE_MIN_FREE_BYTES" in str(sparing.look(()))
    assert world.walks == 1


def test_a_disk_is_watched_without_a_limit_of_the_box(world: World) -> None:
    world.size = world.used + 200 * MIB
    watch = DiskWatch(BoxLimits(free_bytes=128 * MIB), ())
    world.used, world.measured = world.used + 150 * MIB, disk.Measured(160 * MIB)
    assert "TREADLE_MIN_FREE_BYTES" in str(watch.look(()))


def test_the_space_of_a_file_system_is_found(tmp_path: Path) -> None:
    assert disk.free([tmp_path, tmp_path / "missing"])
    assert disk.free([tmp_path / "missing"]) is None
