"""What a worker says of itself: often, at once when it changes, and never to its own harm."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime

import pytest
from tests.support.deployment import START, StillClock

from treadle.domain.errors import Unavailable
from treadle.ports.page import WorkerReport
from treadle.runner.reports import Reporter

pytestmark = pytest.mark.anyio

ABOUT = WorkerReport("worker", "1", "none", 4, is_paused=False, date_started=START, date_seen=START)
SOON = 60.0


class Listener:
    """Hears reports; `is_away` as a database that does not answer."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[WorkerReport | str] = asyncio.Queue()
        self.tries = asyncio.Semaphore(0)
        self.is_away = False

    async def report_worker(self, report: WorkerReport) -> None:
        await self._hear(report)

    async def forget_worker(self, name: str) -> None:
        await self._hear(name)

    async def workers(self, since: datetime) -> Sequence[WorkerReport]:
        raise NotImplementedError

    async def holders(self, organization_id: int) -> Mapping[int, str]:
        raise NotImplementedError

    async def _hear(self, said: WorkerReport | str) -> None:
        self.tries.release()
        if self.is_away:
            raise Unavailable("The database does not answer.")
        await self.heard.put(said)

    async def next(self) -> WorkerReport | str:
        async with asyncio.timeout(SOON):
            return await self.heard.get()


async def test_it_reports_again_and_again_and_says_goodbye() -> None:
    listener, clock = Listener(), StillClock()
    async with Reporter(listener, clock, lambda: ABOUT, every=0.001).reporting():
        for _ in range(3):
            assert await listener.next() == ABOUT
    while isinstance(said := await listener.next(), WorkerReport):
        pass
    assert said == "worker"
    assert listener.heard.empty()


async def test_a_change_is_told_at_once_and_with_its_time() -> None:
    listener, clock, about = Listener(), StillClock(), [ABOUT]
    reporter = Reporter(listener, clock, lambda: about[0], every=3600)
    async with reporter.reporting():
        await listener.next()
        clock.advance(5)
        about[0] = WorkerReport("worker", "1", "none", 4, is_paused=True, date_started=START, date_seen=START)
        reporter.changed()
        said = await listener.next()
        assert isinstance(said, WorkerReport)
        assert (said.is_paused, said.date_seen) == (True, clock.now())


async def test_a_database_that_is_away_ends_nothing() -> None:
    listener = Listener()
    listener.is_away = True
    async with Reporter(listener, StillClock(), lambda: ABOUT, every=0.001).reporting():
        for _ in range(3):
            async with asyncio.timeout(SOON):
                await listener.tries.acquire()
        listener.is_away = False
        assert await listener.next() == ABOUT
        listener.is_away = True
