"""How a run is put down on this worker."""

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import cast

import pytest

from treadle.domain.errors import ConfigurationError, Unavailable
from treadle.domain.run import Run
from treadle.ports import Clock, Fence, Queue
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
        self.announced: list[int] = []

    async def release(self, fence: Fence, _now: datetime) -> None:
        if self.calls:
            self.calls -= 1
            raise self.error("away")
        self.released.append(fence)

    async def announce(self, run_id: int) -> None:
        self.announced.append(run_id)


class PassingClock:
    """Sleeps no longer than a lease of the test's."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.01))


@pytest.mark.parametrize("error", [Unavailable, ConfigurationError])
async def test_a_run_is_handed_back_after_an_outage_of_many_leases(error: type[ConfigurationError]) -> None:
    """Else each long outage would count as a lost worker: also one that an operator ends, of a password that was
    changed."""
    outage = Outage(20, error)

    async def record() -> None:
        pass

    leaving = Leaving(  # of its parts, only these are used here
        cast("Run", SimpleNamespace(id=FENCE.run_id)),
        cast("PatientStore", outage),
        cast("PatientBlobs", None),
        cast("Progress", SimpleNamespace(fence=FENCE, record=record)),
        cast("Queue", outage),
        cast("Clock", PassingClock()),
        Limits.of(Settings.load({}, lease_seconds=0.01)),
    )
    await asyncio.wait_for(leaving.leave(Ending(End.AWAY), None, None), 30)
    assert outage.released == [FENCE]
    assert outage.announced == [FENCE.run_id]
