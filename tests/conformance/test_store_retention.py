"""What is kept of runs that have ended, on each database."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Table, bindparam, insert, null, select, update
from tests.support.deployment import StillClock
from tests.support.stores import NOW, World, later, said

from treadle.blobs.directory import DirectoryBlobs
from treadle.domain.errors import NotFound
from treadle.domain.events import EventType
from treadle.domain.run import Artifact, Run
from treadle.domain.states import RunStatus
from treadle.ports import Fence, Spent
from treadle.services.retention import Keep, Pruned, Retention
from treadle.store.prepared import Prepared
from treadle.store.retention import PORTION_EVENTS
from treadle.store.session import Session
from treadle.store.sql import SqlStore
from treadle.store.tables import artifacts, events, runs
from treadle.store.values import event_json

pytestmark = pytest.mark.anyio

PATIENCE_SECONDS = 120.0

_SET = {
    "status": update(runs).where(runs.c.id == bindparam("run")).values(status="New", date_completed=null()),
    "uncount": update(runs).where(runs.c.id == bindparam("run")).values(event_bytes=0),
}
PREPARED = {name: Prepared(statement) for name, statement in _SET.items()}


async def change(world: World, what: str, run_id: int) -> None:
    """What no port does: `status` lets the run live again, `uncount` makes it one of an older version's."""
    assert await world.store._executor.write(lambda session: session.run(PREPARED[what], run=run_id)) == 1


async def held(world: World, *texts: str, artifacts: Sequence[int] = ()) -> tuple[Run, Fence]:
    """A Running run with an event of each text, and an artifact of each size."""
    run, fence = await world.claimed()
    await world.store.record(fence, [said(text) for text in texts], NOW, has_diff=bool(artifacts))
    for number, size in enumerate(artifacts):
        key = f"runs/{run.uuid}/artifacts/1-{number}"
        await world.store.add_artifact(fence, Artifact(run.id, f"{number}", "text/plain", size, key, NOW))
    return run, fence


async def ended(world: World, *texts: str, artifacts: Sequence[int] = (), seconds: float = 10) -> Run:
    """The same, ended."""
    run, fence = await held(world, *texts, artifacts=artifacts)
    await world.store.finish(fence, RunStatus.SUCCESS, None, later(seconds))
    return await world.store.get_run_by_id(run.id)


async def bytes_of(world: World, run: Run) -> list[int]:
    return [len(event_json(event.data)) for event in await world.told(run.id)]


def ids(found: Sequence[Spent]) -> list[int]:
    return [spent.run_id for spent in found]


async def test_runs_that_have_ended_are_found_with_what_may_go(world: World) -> None:
    first = await ended(world, "a", "bc" * 100, seconds=30)
    second = await ended(world, "x", artifacts=[5, 7], seconds=20)
    await held(world, "lives", artifacts=[1])
    store = world.store
    assert await store.runs_with_events(before=later(31)) == (
        Spent(first.id, first.uuid, later(30), sum((await bytes_of(world, first))[:-1])),
        Spent(second.id, second.uuid, later(20), sum((await bytes_of(world, second))[:-1])),
    )
    assert ids(await store.runs_with_events(before=later(30))) == [second.id], "ended before, not then"
    assert await store.runs_with_artifacts(before=later(31)) == (Spent(second.id, second.uuid, later(20), 12),)
    assert await store.runs_with_artifacts(before=later(20)) == ()
    assert await store.sizes() == (
        sum(await bytes_of(world, first)) + sum(await bytes_of(world, second)),
        12,
    )


async def test_a_page_follows_the_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [(await ended(world, "x", artifacts=[1])).id for _ in range(7)]
    for window in (1, 2, 3, 20_000):
        monkeypatch.setattr("treadle.store.retention.WINDOW", window)
        for find in (world.store.runs_with_events, world.store.runs_with_artifacts):
            assert ids(await find(before=later(60), limit=3)) == made[:3]
            assert ids(await find(before=later(60), after=made[2], limit=3)) == made[3:6]
            assert ids(await find(before=later(60), after=made[5], limit=3)) == made[6:]
            assert await find(before=later(60), after=made[6], limit=3) == ()


async def test_the_last_event_stays(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run = await ended(world, *"abcdefg")
    other = await ended(world, "x")
    monkeypatch.setattr("treadle.store.retention.PORTION_EVENTS", 3)
    assert await world.store.prune_events(run.id) == 9
    [last] = await world.told(run.id)
    assert (last.number, last.type) == (10, EventType.RUN_FINISHED)
    assert [event.number for event in await world.store.events(run.id, after=4)] == [10]
    assert (await world.store.get_run_by_id(run.id)) == run, "but for its events it is as it was"
    assert ids(await world.store.runs_with_events(before=later(60))) == [other.id]
    assert (await world.store.sizes())[0] == sum(await bytes_of(world, run)) + sum(await bytes_of(world, other))
    assert await world.store.prune_events(run.id) == 0


async def test_a_portion_is_bounded_by_its_bytes_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run = await ended(world, *["x" * 1000] * 10)
    monkeypatch.setattr("treadle.store.retention.PORTION_BYTES", 2000)
    pauses = []

    async def pause(seconds: float) -> None:
        pauses.append((await world.told(run.id))[0].number)

    monkeypatch.setattr("treadle.store.retention.asyncio.sleep", pause)
    assert await world.store.prune_events(run.id) == 12
    assert pauses == [5, 7, 9, 11, 13]


async def test_a_run_that_lives_loses_nothing(world: World) -> None:
    new = await world.run()
    running, _ = await held(world, "x", artifacts=[3])
    for run in (new, running):
        before = await world.told(run.id)
        assert await world.store.prune_events(run.id) == 0
        assert await world.store.prune_artifacts(run.id) == ()
        assert await world.told(run.id) == before
    assert len(await world.store.artifacts(running.id)) == 1
    assert (await world.store.get_run_by_id(running.id)).has_diff


async def test_a_run_that_lives_again_keeps_what_is_left(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run = await ended(world, *"abcdef", artifacts=[3])
    monkeypatch.setattr("treadle.store.retention.PORTION_EVENTS", 3)

    async def resume(seconds: float) -> None:
        await change(world, "status", run.id)

    monkeypatch.setattr("treadle.store.retention.asyncio.sleep", resume)
    assert await world.store.prune_events(run.id) == 3
    assert [event.number for event in await world.told(run.id)] == [4, 5, 6, 7, 8, 9]
    assert await world.store.prune_artifacts(run.id) == ()
    assert len(await world.store.artifacts(run.id)) == 1
    assert await world.store.runs_with_events(before=later(60)) == ()
    assert await world.store.blobs_of_ended([run.uuid]) == {}
    monkeypatch.undo()

    claimed = await world.store.claim("worker", NOW, run_id=run.id)
    assert claimed is not None
    await world.store.finish(Fence(run.id, claimed.lease), RunStatus.FAILED, "no", later(40))
    [spent] = await world.store.runs_with_events(before=later(60))
    assert spent.size == sum((await bytes_of(world, run))[:-1])
    assert await world.store.prune_events(run.id) == 7
    assert [event.number for event in await world.told(run.id)] == [11]


async def test_what_an_older_version_did_not_count_is_counted_when_asked(world: World) -> None:
    run = await ended(world, "a", "b" * 500)
    counted = await world.store.runs_with_events(before=later(60)), await world.store.sizes()
    await change(world, "uncount", run.id)
    assert (await world.store.runs_with_events(before=later(60)), await world.store.sizes()) == counted
    assert await world.store.prune_events(run.id) == 4
    assert (await world.store.sizes())[0] == sum(await bytes_of(world, run))


async def test_artifacts_go_with_the_mark_of_the_diff(world: World) -> None:
    run = await ended(world, "x", artifacts=[5, 7])
    other = await ended(world, "x", artifacts=[2])
    kept = await world.store.artifacts(run.id)
    assert sorted(await world.store.prune_artifacts(run.id), key=lambda one: one.name) == list(kept)
    assert await world.store.artifacts(run.id) == ()
    assert not (await world.store.get_run_by_id(run.id)).has_diff
    assert (await world.store.get_run_by_id(other.id)).has_diff
    assert await world.store.prune_artifacts(run.id) == ()
    assert ids(await world.store.runs_with_artifacts(before=later(60))) == [other.id]
    assert (await world.store.sizes())[1] == 2
    assert len(await world.told(run.id)) == 4, "its events are another matter"


async def test_blobs_are_named_by_what_ended_runs_have(world: World) -> None:
    with_some = await ended(world, artifacts=[5, 7])
    with_none = await ended(world)
    living, _ = await held(world, artifacts=[1])
    named = {artifact.blob for artifact in await world.store.artifacts(with_some.id)}
    assert await world.store.blobs_of_ended([with_some.uuid, with_none.uuid, living.uuid, uuid4()]) == {
        with_some.uuid: named,
        with_none.uuid: frozenset(),
    }
    assert await world.store.blobs_of_ended([]) == {}


async def test_of_a_run_that_there_is_not_nothing_can_go(world: World) -> None:
    assert await world.store.prune_events(99) == 0
    with pytest.raises(NotFound):
        await world.store.prune_artifacts(99)
    assert await world.store.sizes() == (0, 0)


async def test_two_at_once_remove_each_event_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.store.retention.PORTION_EVENTS", 5)
    run = await ended(world, *["x"] * 200, artifacts=[1, 2, 3])
    other = await SqlStore.open(world.url)
    try:
        removed = await asyncio.gather(*(store.prune_events(run.id) for store in (world.store, other) * 2))
        assert sum(removed) == 202
        gone = await asyncio.gather(*(store.prune_artifacts(run.id) for store in (world.store, other) * 2))
    finally:
        await other.close()
    assert sorted(map(len, gone)) == [0, 0, 0, 3]
    assert [event.number for event in await world.told(run.id)] == [203]
    assert (await world.store.sizes())[0] == sum(await bytes_of(world, run))


class Pings:
    """Of a run that lives, while something else goes on. `further` waits for another one."""

    def __init__(self, store: SqlStore, fence: Fence) -> None:
        self.count = 0
        self._store = store
        self._fence = fence
        self._come = asyncio.Event()

    async def beside(self, task: asyncio.Task[Any]) -> None:
        while not task.done():
            await self._store.ping(self._fence, NOW)
            self.count += 1
            self._come.set()

    async def further(self) -> None:
        self._come.clear()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._come.wait()


async def test_others_write_while_a_long_run_is_pruned(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two portions, where nothing is removed for as long as one took: here until another has written."""
    run, fence = await world.claimed()
    for _ in range(40):
        await world.store.record(fence, [said("x" * 200)] * 500, NOW)
    await world.store.finish(fence, RunStatus.SUCCESS, None, NOW)
    _, living = await world.claimed()
    other = await SqlStore.open(world.url)  # as another process
    pings, pauses = Pings(other, living), list[float]()

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await pings.further()

    monkeypatch.setattr("treadle.store.retention.asyncio.sleep", pause)
    try:
        pruning = asyncio.create_task(world.store.prune_events(run.id))
        await pings.beside(pruning)
        assert await pruning == 20_002
    finally:
        await other.close()
    assert len(pauses) == -(-20_002 // PORTION_EVENTS)
    assert all(seconds > 0 for seconds in pauses)


MANY, AT_ONCE = 10_000, 500
FAR = 100_000  # beyond the ids that the database gives
_WHOLE = {table: Prepared(select(table)) for table in (runs, events, artifacts)}
_NAMES = {table: [column.name for column in table.columns] for table in _WHOLE}
_PUT = {
    table: Prepared(insert(table).values({name: bindparam(name) for name in names})) for table, names in _NAMES.items()
}


async def multiply(world: World, run: Run) -> None:
    """Ten thousand of it, each ended a second after the one before."""
    found = await world.store._executor.read(
        lambda session: {table: session.all(statement) for table, statement in _WHOLE.items()}
    )

    def work(numbers: Sequence[int], session: Session) -> None:
        copies: dict[Table, list[dict[str, object]]] = {table: [] for table in found}
        for number in numbers:
            for table, rows in found.items():
                for row in rows:
                    copy = dict(zip(_NAMES[table], row, strict=True))
                    if table is runs:
                        ended_at = copy["date_completed"] + number * 1_000_000
                        copy |= {"id": FAR + number, "uuid": str(uuid4()), "date_completed": ended_at}
                        copy |= {"has_diff": True, "generate_diff": False, "holds_branch": False}
                    else:
                        copy["run_id"] = FAR + number
                    copies[table].append(copy)
        for table, rows_of_table in copies.items():
            session.many(_PUT[table], rows_of_table)

    for start in range(1, MANY, AT_ONCE):  # a transaction has an end: a busy machine does not write all of it in time
        await world.store._executor.write(partial(work, range(start, min(start + AT_ONCE, MANY))))


async def test_ten_thousand_ended_runs(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By size and by age, while others go on: every now and then it waits for them."""
    run = await ended(world, "x", artifacts=[10], seconds=0)
    await multiply(world, run)
    _, living = await world.claimed()
    each = sum((await bytes_of(world, run))[:-1])
    clock = StillClock(NOW + timedelta(seconds=MANY))
    retention = Retention(world.store, DirectoryBlobs(tmp_path / "blobs"), clock)

    dry = await retention.prune_events(Keep(size=each * 9_000), is_dry_run=True)
    assert dry == Pruned(1_000, 0, each * 1_000)
    pings, prune = Pings(world.store, living), world.store.prune_events

    async def prune_and_wait(run_id: int) -> int:
        if run_id % 20 == 0:
            await pings.further()
        return await prune(run_id)

    monkeypatch.setattr(world.store, "prune_events", prune_and_wait)
    pruning = asyncio.create_task(retention.prune_events(Keep(size=each * 9_000)))
    await pings.beside(pruning)
    assert await pruning == Pruned(1_000, 3_000, each * 1_000)
    assert pings.count >= 1_000 // 20 - 1
    assert len(await world.told(run.id)) == 1
    assert len(await world.told(FAR + 999)) == 1
    assert len(await world.told(FAR + 1_000)) == 4

    found = await retention.prune_artifacts(Keep(days=500 / 86_400))
    assert found == Pruned(9_500, 9_500, 95_000)
    assert (await world.store.sizes())[1] == 5_000
    assert await retention.prune_artifacts(Keep(days=500 / 86_400)) == Pruned()
