"""How a run is put down on this worker."""

import asyncio
import shutil
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from uuid import uuid4

import pytest

from treadle.domain.errors import ConfigurationError, Unavailable
from treadle.domain.run import Run
from treadle.domain.states import RunStatus
from treadle.ports import Clock, Fence, Queue, Workspace
from treadle.runner.leaving import End, Ending, Leaving
from treadle.runner.limits import Limits
from treadle.runner.patience import PatientBlobs, PatientStore
from treadle.services.progress import Progress
from treadle.settings import Settings

pytestmark = pytest.mark.anyio

FENCE = Fence(7, 1)


class Outage:
    """A store that is away for so many calls, and the queue beside it."""

    def __init__(self, calls: int, error: type[ConfigurationError] = Unavailable) -> None:
        self.calls = calls
        self.error = error
        self.released: list[Fence] = []
        self.finished: list[tuple[RunStatus, str | None]] = []
        self.announced: list[int] = []

    async def release(self, fence: Fence, _now: datetime) -> None:
        if self.calls:
            self.calls -= 1
            raise self.error("away")
        self.released.append(fence)

    async def finish(
        self, _fence: Fence, status: RunStatus, details: str | None, _now: datetime, **_more: object
    ) -> RunStatus:
        self.finished.append((status, details))
        return status

    async def announce(self, run_id: int) -> None:
        self.announced.append(run_id)


class PassingClock:
    """Sleeps no longer than a lease of the test's."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.01))


def leaving(outage: Outage) -> Leaving:
    """Of its parts, only these are used here."""

    async def record() -> None:
        pass

    async def checkpoint(_run_id: int) -> None:
        pass

    async def keep_only(_prefix: str, _keys: object) -> None:
        pass

    store = SimpleNamespace(release=outage.release, finish=outage.finish, checkpoint=checkpoint)
    return Leaving(
        cast("Run", SimpleNamespace(id=FENCE.run_id, uuid=uuid4())),
        cast("PatientStore", store),
        cast("PatientBlobs", SimpleNamespace(keep_only=keep_only)),
        cast("Progress", SimpleNamespace(fence=FENCE, record=record, clean=str)),
        cast("Queue", outage),
        cast("Clock", PassingClock()),
        Limits.of(Settings.load({}, lease_seconds=0.01)),
    )


@pytest.mark.parametrize("error", [Unavailable, ConfigurationError])
async def test_a_run_is_handed_back_after_an_outage_of_many_leases(error: type[ConfigurationError]) -> None:
    """Else each long outage would count as a lost worker: also one that an operator ends, of a password that was
    changed."""
    outage = Outage(20, error)
    await asyncio.wait_for(leaving(outage).leave(Ending(End.AWAY), None, None), 30)
    assert outage.released == [FENCE]
    assert outage.announced == [FENCE.run_id]


@pytest.mark.parametrize(
    ("free", "freed", "filled"),
    [(0, 9 << 20, True), (0, 4096, False), (300 << 20, 9 << 20, False)],
    ids=["filled by the run", "filled by others", "not full"],
)
async def test_a_run_that_filled_the_disk_is_not_handed_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, freed: int, filled: bool
) -> None:
    """It would only fill the next worker's, and nobody would ever count how often."""
    tree = tmp_path / "run" / "tree"
    tree.mkdir(parents=True)

    async def remove() -> None:
        shutil.rmtree(tree.parent)

    def disk_usage(path: Path) -> SimpleNamespace:
        path.stat()
        return SimpleNamespace(free=free if path == tree else free + freed)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    workspace = cast("Workspace", SimpleNamespace(box=SimpleNamespace(work_tree=tree), remove=remove))
    outage = Outage(0)
    await leaving(outage).leave(Ending(End.AWAY), workspace, 1)
    if filled:
        ((status, details),) = outage.finished
        assert (status, outage.released) == (RunStatus.FAILED, [])
        assert "filled the disk" in str(details)
    else:
        assert (outage.finished, outage.released) == ([], [FENCE])
