"""Private directories: gone with their process, by a later one's sweep if it was killed."""

import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import pytest

from treadle import scratch
from treadle.scratch import scratch_directory, sweep

#: Makes one, says where it is, and lasts until it is killed.
_HOLDER = """
import sys
from treadle.scratch import scratch_directory

with scratch_directory() as made:
    (made / "deep").mkdir()
    (made / "deep" / "secret").write_text("s")
    print(made, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_one_is_private_and_goes_with_all_that_is_in_it(place: Path) -> None:
    with scratch_directory() as made:
        assert (made.parent, made.stat().st_mode & 0o777) == (place, 0o700)
        (made / "file").write_text("x")
    assert list(place.iterdir()) == []


def test_a_sweep_takes_those_of_the_dead_and_of_nobody_else(place: Path) -> None:
    holders = [
        subprocess.Popen(
            (sys.executable, "-c", _HOLDER),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(place)},
        )
        for _ in range(2)
    ]
    try:
        dead, alive = (Path(holder.stdout.readline().strip()) for holder in holders if holder.stdout is not None)
        with scratch_directory() as own:
            sweep()
            assert dead.is_dir(), "nobody is dead"
            holders[0].kill()
            holders[0].wait()
            sweep()
            assert not dead.exists()
            assert (alive / "deep" / "secret").read_text() == "s"
            assert own.is_dir()
    finally:
        for holder in holders:
            holder.kill()
            holder.communicate()
    sweep()
    assert list(place.iterdir()) == []


def test_a_sweep_follows_no_link_and_leaves_what_is_not_its_own(place: Path) -> None:
    kept, prefix = place / "kept", scratch._PREFIX
    kept.mkdir(mode=0o700)
    (kept / "file").write_text("x")
    (place / f"{prefix}link").symlink_to(kept)
    (place / f"{prefix}file").write_text("x")
    (place / f"{prefix}open").mkdir()
    (place / f"{prefix}open").chmod(0o755)
    (place / "treadle-older").mkdir(mode=0o700)
    inner = place / f"{prefix}left"
    inner.mkdir(mode=0o700)
    (inner / "link").symlink_to(kept)
    sweep()
    assert not inner.exists()
    assert {path.name.removeprefix(prefix) for path in place.iterdir()} == {
        "kept", "link", "file", "open", "treadle-older",
    }  # fmt: skip
    assert (kept / "file").read_text() == "x"


def test_another_users_is_left(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = place / f"{scratch._PREFIX}left"
    left.mkdir(mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    sweep()
    assert left.is_dir()


@pytest.mark.parametrize("module", [tempfile, fcntl])
def test_one_that_a_sweep_came_between_is_made_again(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
    """Before it is open, and before it is locked."""
    name = "mkdtemp" if module is tempfile else "flock"
    real, swept = getattr(module, name), list[str]()

    def interrupted(*given: int, **named: str) -> object:
        done = real(*given, **named) if module is tempfile else None
        if not swept:
            swept.append(name)
            sweep()
        return done if module is tempfile else real(*given)

    monkeypatch.setattr(module, name, interrupted)
    with scratch_directory() as found:
        assert swept
        assert found.is_dir()
        sweep()
        assert found.is_dir()


def test_no_place_at_all_is_no_trouble(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    sweep()
