"""The sweeper and the clock of its machine."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from tests.support.deployment import StillClock

from treadle.clock import SystemClock
from treadle.domain.errors import Unavailable
from treadle.ports import Store, Sweep
from treadle.queues.database import DatabaseQueue, ProcessSignals
from treadle.runner import recovery
from treadle.runner.limits import Limits
from treadle.runner.recovery import Sweeper
from treadle.settings import Settings
from treadle.store.address import sqlite_url
from treadle.store.sql import SqlStore

pytestmark = pytest.mark.anyio


class Swept:
    """Of the store, a sweep that says what the test wants."""

    def __init__(self) -> None:
        self.waiting: tuple[int, ...] = ()
        self.is_away = False
        self.times = 0
        self.pruned = 0
        self.portions = 0
        self.forgotten: list[datetime] = []  # before when renewals of licenses are
        self.asked = asyncio.Event()

    async def time(self) -> None:
        """It is this machine's."""

    async def prune_rates(self, _now: datetime) -> int:
        self.pruned += 1
        return 0

    async def prune_renewals(self, before: datetime) -> int:
        self.forgotten.append(before)
        return 0

    async def prune_messages(self, delivered: datetime, dead: datetime, *, limit: int) -> int:
        """A full portion, and then what is left."""
        assert dead < delivered
        self.portions += 1
        return limit if self.portions == 1 else 0

    async def sweep(self, *_given: object, **_named: object) -> Sweep:
        self.times += 1
        self.asked.set()
        if self.is_away:
            raise Unavailable("away")
        return Sweep(waiting=self.waiting)


def made(store: object, queue: DatabaseQueue, folder: Path) -> Sweeper:
    limits = Limits.of(Settings.load({}, lease_seconds=30, poll_seconds=0.01))
    return Sweeper(cast("Store", store), queue, ProcessSignals(), SystemClock(), limits)


async def taken(queue: DatabaseQueue) -> list[int | None]:
    found = []
    while (hint := await queue.take(0)) is not None:
        found.append(hint.run_id)
    return found


async def test_what_waits_is_announced_again_only_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, queue = Swept(), DatabaseQueue()
    sweeper = made(store, queue, tmp_path)
    store.waiting = (1, 2)
    await sweeper.sweep()
    assert await taken(queue) == [1, 2]
    store.waiting = (2, 3)
    await sweeper.sweep()
    assert await taken(queue) == [3], "2 was announced lately"
    monkeypatch.setattr(recovery, "ANNOUNCE_SECONDS", 0.0)
    await sweeper.sweep()
    assert await taken(queue) == [2, 3]


async def test_after_an_outage_the_workers_may_ping_before_they_are_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Swept()
    store.is_away = True
    sweeper = made(store, DatabaseQueue(), tmp_path)
    sweeping = asyncio.create_task(sweeper.run())
    await store.asked.wait()
    store.is_away = False
    await asyncio.sleep(0.2)
    assert store.times == 1, "it rests for half a lease"
    at = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: at + 16)
    await sweeper.sweep()
    assert store.times == 1, "it only asks whether the store is there again"
    monkeypatch.setattr(time, "monotonic", lambda: at + 32)
    await sweeper.sweep()
    assert store.times == 1, "and the clock is looked at first: this machine's seems to have jumped"
    await sweeper.sweep()
    assert store.times >= 2
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)


async def test_a_sweep_that_waited_for_the_store_takes_no_run_before_its_worker_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweeper asks while the store is away, and would be answered before anybody else."""
    store = Swept()
    store.is_away = True
    sweeper = made(store, DatabaseQueue(), tmp_path)
    sweeping = asyncio.create_task(sweeper.run())
    await store.asked.wait()
    await asyncio.sleep(0.1)  # it goes to its rest
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)
    store.is_away = False
    at = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: at + 16)
    for _ in range(3):
        await sweeper.sweep()
    assert store.times == 1, "it only asked whether the store is there again"
    monkeypatch.setattr(time, "monotonic", lambda: at + 32)
    for _ in range(2):  # to the first the clock seems to have jumped
        await sweeper.sweep()
    assert store.times == 2


async def test_a_clock_that_was_set_takes_no_run_from_its_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, swept = StillClock(), list[object]()
    store = await SqlStore.open(sqlite_url(tmp_path / "treadle.db"))
    try:
        sweep = store.sweep

        async def counted(*arguments: object, **named: object) -> object:
            swept.append(arguments)
            return await sweep(*arguments, **named)  # type: ignore[arg-type]  # handed on as it came

        monkeypatch.setattr(store, "sweep", counted)
        sweeper = Sweeper(
            store,
            DatabaseQueue(),
            ProcessSignals(),
            clock,
            Limits.of(Settings.load({}, lease_seconds=30)),
        )
        await sweeper.sweep()
        assert len(swept) == 1
        clock.advance(3600)
        await sweeper.sweep()
        assert len(swept) == 1, "left out: the workers of this machine have not pinged since"
        await sweeper.sweep()
        assert len(swept) == 2
    finally:
        await store.close()


async def test_old_messages_are_forgotten_a_portion_at_a_time_and_now_and_then(tmp_path: Path) -> None:
    store = Swept()
    sweeper = made(store, DatabaseQueue(), tmp_path)
    await sweeper.sweep()
    assert store.portions == 2
    await sweeper.sweep()
    assert store.portions == 2


async def test_what_followed_a_license_is_forgotten_where_nobody_renews_any(tmp_path: Path) -> None:
    store = Swept()
    await made(store, DatabaseQueue(), tmp_path).sweep()
    (before,) = store.forgotten
    assert timedelta(days=29) < datetime.now(UTC) - before < timedelta(days=31)
