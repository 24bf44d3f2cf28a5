"""What `treadle doctor` says of the walls."""

import pytest

from treadle.cli import sandbox_checks
from treadle.cli.findings import Level
from treadle.sandbox.bubblewrap import BubblewrapSandbox, Walls
from treadle.sandbox.cgroup_places import CgroupPlaces
from treadle.settings import Settings

pytestmark = pytest.mark.anyio

SETTINGS = Settings.load({})


async def fine(_: BubblewrapSandbox) -> None:
    """As where bubblewrap works."""


def given(monkeypatch: pytest.MonkeyPatch, walls: Walls) -> None:
    monkeypatch.setattr(BubblewrapSandbox, "check", fine)
    monkeypatch.setattr(BubblewrapSandbox, "walls", lambda _: walls)


@pytest.mark.bubblewrap
async def test_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.sandbox.cgroups.places", lambda: CgroupPlaces(2, {}))
    found = await sandbox_checks.walls(SETTINGS)
    assert (found.level, found.found) == (
        Level.OK,
        "bubblewrap works, with no network but its doors; a filter of system calls",
    )


async def test_without_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.sandbox.bubblewrap._SEARCH_PATH", "/nonexistent")
    found = await sandbox_checks.walls(SETTINGS)
    assert (found.level, found.found) == (Level.PROBLEM, "bubblewrap is not installed.")
    assert "apt install bubblewrap" in str(found.hint)
    assert (await sandbox_checks.limits(SETTINGS)).level is Level.WARNING


@pytest.mark.parametrize(
    ("walls", "level", "said"),
    [
        (Walls(True, True, 2, True), Level.OK, "a filter of system calls"),
        (Walls(False, True, 2, True), Level.WARNING, "no filter of system calls"),
        (Walls(True, False, 2, True), Level.OK, "user namespaces within are left to the filter"),
        (Walls(False, False, 2, True), Level.WARNING, "no filter of system calls; user namespaces"),
    ],
)
async def test_what_is_missing(monkeypatch: pytest.MonkeyPatch, walls: Walls, level: Level, said: str) -> None:
    given(monkeypatch, walls)
    found = await sandbox_checks.walls(SETTINGS)
    assert found.level is level
    assert said in found.found
    assert found.level is Level.OK or found.hint


@pytest.mark.parametrize(
    ("version", "is_counted", "level", "said"),
    [
        (2, True, Level.OK, "held by control groups (version 2)"),
        (1, True, Level.OK, "held by control groups (version 1)"),
        (1, False, Level.WARNING, "version 1's control groups hold a part"),
        (None, False, Level.WARNING, "there can be no control group"),
    ],
)
async def test_what_holds_the_limits(
    monkeypatch: pytest.MonkeyPatch, version: int | None, is_counted: bool, level: Level, said: str
) -> None:
    given(monkeypatch, Walls(True, True, version, is_counted))
    found = await sandbox_checks.limits(SETTINGS)
    assert found.level is level
    assert said in found.found
    assert found.level is Level.OK or "Delegate=yes" in str(found.hint)


async def test_none_says_what_would_work(monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, Walls(True, True, 2, True))
    none = Settings.load({"TREADLE_SANDBOX": "none"})
    found = await sandbox_checks.walls(none)
    assert (found.level, found.hint) == (Level.WARNING, "bubblewrap works here: unset TREADLE_SANDBOX.")
    assert (await sandbox_checks.limits(none)).level is Level.WARNING
