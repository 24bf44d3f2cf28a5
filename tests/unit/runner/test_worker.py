"""When a worker looks for work, and when it leaves it to others."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from uuid import uuid4

import pytest
from tests.support.stores import World, a_draft, open_world

from treadle.clock import SystemClock
from treadle.domain.run import Run
from treadle.domain.states import RunStatus
from treadle.ports import Fence
from treadle.ports.page import WorkerReport
from treadle.queues.database import DatabaseQueue
from treadle.queues.pending import Hint
from treadle.runner import worker as module
from treadle.runner.execute import Ports
from treadle.runner.leaving import End
from treadle.runner.limits import Limits
from treadle.runner.patience import Hold
from treadle.runner.worker import Worker
from treadle.settings import Settings
from treadle.store.address import sqlite_url
from treadle.version import __version__

pytestmark = pytest.mark.anyio

#: A pause that no test waits out.
LONG = 3600.0
PATIENCE = 120.0


class NoGateway:
    async def aclose(self) -> None:
        """There was none."""


class HeldExecution:
    """In place of an execution: it goes on until the test lets it end."""

    begun: "asyncio.Queue[HeldExecution]"
    world: World

    def __init__(self, run: Run, _ports: Ports, _limits: Limits, hold: Hold, _draining: asyncio.Event) -> None:
        self.run_id = run.id
        self.fence = Fence(run.id, run.lease)
        self.hold = hold
        self.may_end = asyncio.Event()
        self.end = End.SUCCESS

    async def run(self) -> End:
        self.begun.put_nowait(self)
        await self.may_end.wait()
        if self.end is End.AWAY:
            await self.world.store.release(self.fence, SystemClock().now())
        else:
            await self.world.store.finish(self.fence, RunStatus.SUCCESS, None, SystemClock().now())
        return self.end


class NoWorkspaces:
    async def sweep(self, keep: frozenset[object]) -> None:
        pass


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend: str) -> AsyncIterator[World]:
    async with open_world(sqlite_url(tmp_path / "treadle.db")) as made:
        HeldExecution.begun, HeldExecution.world = asyncio.Queue(), made
        monkeypatch.setattr(module, "Execution", HeldExecution)
        yield made


class Disk:
    def __init__(self, free: int = 1 << 40) -> None:
        self.free = free
        self.asked = asyncio.Event()

    def __call__(self) -> int:
        self.asked.set()
        return self.free


class IdleQueue(DatabaseQueue):
    """Says when a worker has looked and found nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.is_waited_at = asyncio.Event()

    async def take(self, seconds: float) -> Hint | None:
        if seconds:
            self.is_waited_at.set()
        return await super().take(seconds)


def made(world: World, queue: DatabaseQueue, disk: Disk | None = None, **settings: object) -> Worker:
    limits = Limits.of(Settings.load({}, **{"poll_seconds": LONG, **settings}))
    # Of the ports, only these are used besides the execution's.
    ports = cast(
        "Ports",
        SimpleNamespace(
            store=world.store,
            queue=queue,
            clock=SystemClock(),
            workspaces=NoWorkspaces(),
            sandbox=SimpleNamespace(name="none"),
            gateway=NoGateway(),
        ),
    )
    return Worker("worker", ports, limits, free_bytes=disk or Disk())


async def begun() -> HeldExecution:
    return await asyncio.wait_for(HeldExecution.begun.get(), PATIENCE)


async def drained(worker: Worker, task: "asyncio.Task[None]", *held: HeldExecution) -> None:
    for each in held:
        each.may_end.set()
    worker.drain()
    await asyncio.wait_for(task, PATIENCE)


async def test_what_waits_is_taken_without_a_hint_and_no_more_than_there_are_slots(world: World) -> None:
    ids = [(await world.run(replace(a_draft(), branch_work=f"work-{n}"))).id for n in range(3)]
    worker = made(world, DatabaseQueue(), slots=2)
    task = asyncio.create_task(worker.run())
    first, second = await begun(), await begun()
    assert [first.run_id, second.run_id] == ids[:2]
    assert worker.running == {*ids[:2]}
    first.may_end.set()
    third = await begun()
    assert third.run_id == ids[2]
    await drained(worker, task, second, third)


async def test_a_run_that_waited_for_its_branch_begins_as_soon_as_the_other_ends(world: World) -> None:
    one, two = [await world.run(a_draft(branch="work")) for _ in range(2)]
    queue = IdleQueue()
    worker = made(world, queue)
    task = asyncio.create_task(worker.run())
    first = await begun()
    assert first.run_id == one.id
    await asyncio.wait_for(queue.is_waited_at.wait(), PATIENCE)
    assert HeldExecution.begun.empty()
    first.may_end.set()
    second = await begun()
    assert second.run_id == two.id
    await drained(worker, task, second)


async def test_a_full_disk_takes_no_run_and_fails_none(world: World) -> None:
    disk = Disk(1000)
    run = await world.run()
    queue = DatabaseQueue()
    worker = made(world, queue, disk, min_free_bytes=2000, poll_seconds=0.01)
    task = asyncio.create_task(worker.run())
    await disk.asked.wait()
    await queue.announce(run.id)
    for _ in range(3):  # it looks, and looks again
        disk.asked.clear()
        await asyncio.wait_for(disk.asked.wait(), PATIENCE)
    assert worker.is_paused
    assert (await world.store.get_run_by_id(run.id)).status is RunStatus.NEW
    disk.free = 3000
    held = await begun()
    assert worker.running == {run.id}
    await drained(worker, task, held)


async def test_a_worker_on_which_runs_cannot_go_on_rests_longer_each_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REST_SECONDS", 0.2)
    await world.run(a_draft("one", branch="a"))
    await world.run(a_draft("two", branch="b"))
    worker = made(world, DatabaseQueue(), slots=2)
    task = asyncio.create_task(worker.run())
    together = [await begun(), await begun()]
    for held in together:
        held.end = End.AWAY
    before = asyncio.get_running_loop().time()
    for held in together:
        held.may_end.set()
    again = await begun()
    assert asyncio.get_running_loop().time() - before >= 0.2, "they count as one: both began before the rest"
    other = await begun()
    again.end = End.AWAY
    before = asyncio.get_running_loop().time()
    again.may_end.set()
    again = await begun()
    assert asyncio.get_running_loop().time() - before >= 0.4, "twice as long"
    other.may_end.set()
    await drained(worker, task, again)
    assert worker._setbacks == 0


async def test_each_hint_is_settled_also_when_nothing_is_won(world: World) -> None:
    settled = asyncio.Event()

    class Hint:
        run_id = 7

        async def settle(self) -> None:
            settled.set()

    class OneHint(DatabaseQueue):
        given = False

        async def take(self, seconds: float) -> Hint | None:  # type: ignore[override] # another Announcement
            if seconds and not self.given:
                self.given = True
                return Hint()
            return await super().take(seconds)  # type: ignore[return-value] # None, in this test

    worker = made(world, OneHint())
    task = asyncio.create_task(worker.run())
    await asyncio.wait_for(settled.wait(), PATIENCE)
    assert HeldExecution.begun.empty()
    await drained(worker, task)


async def test_the_lease_counts_from_before_the_claim(world: World) -> None:
    await world.run(replace(a_draft(), branch_work=str(uuid4())))
    worker = made(world, DatabaseQueue(), lease_seconds=100)
    task = asyncio.create_task(worker.run())
    held = await begun()
    assert held.hold.remaining <= 80
    await drained(worker, task, held)


async def test_a_worker_says_how_it_is_until_it_has_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    said: asyncio.Queue[WorkerReport] = asyncio.Queue()
    keep = world.store.report_worker

    async def heard(report: WorkerReport) -> None:
        await keep(report)
        said.put_nowait(report)

    monkeypatch.setattr(world.store, "report_worker", heard)
    await world.run()
    disk = Disk()
    worker = made(world, DatabaseQueue(), disk, slots=2, poll_seconds=0.01, min_free_bytes=2000)
    task = asyncio.create_task(worker.run())

    async def until(*, is_paused: bool) -> None:
        """What has not changed is said again from time to time."""
        while (await asyncio.wait_for(said.get(), PATIENCE)).is_paused is not is_paused:
            pass

    first = await asyncio.wait_for(said.get(), PATIENCE)
    assert (first.name, first.version, first.sandbox, first.slots) == ("worker", __version__, "none", 2)
    assert not first.is_paused
    held = await begun()
    (kept,) = await world.store.workers(first.date_started)
    assert kept.running == 1
    disk.free = 1000
    await until(is_paused=True)
    disk.free = 3000
    await until(is_paused=False)
    worker.drain()
    await until(is_paused=True)
    held.may_end.set()
    await asyncio.wait_for(task, PATIENCE)
    assert await world.store.workers(first.date_started) == ()
