"""Calls whose answer was lost and that are repeated change nothing the second time."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest
from sqlalchemy import func, select
from tests.support.stores import NOW, World, a_draft, later, said, started

from treadle.domain.errors import Conflict, LeaseLost
from treadle.domain.run import Usage
from treadle.domain.states import RunStatus, StepStatus
from treadle.ports import Fence, Idempotency, StepUpdate
from treadle.store.prepared import Prepared
from treadle.store.tables import events, runs

pytestmark = pytest.mark.anyio


async def event_bytes(world: World, run_id: int) -> int:
    statement = Prepared(select(runs.c.event_bytes).where(runs.c.id == run_id))
    rows = await world.store._executor.read(lambda session: session.all(statement))
    found: int = rows[0][0]
    return found


async def test_a_write_that_is_repeated_counts_once(world: World) -> None:
    run, fence = await world.claimed()
    first = [started(1)], StepUpdate(1, StepStatus.RUNNING, usage=Usage(1, 2, 0.5, 3))
    for _ in range(3):
        assert await world.store.record(fence, first[0], NOW, step=first[1], write=1) == 3
    assert await world.store.record(fence, [said("a"), said("b")], later(1), write=2) == 5
    for _ in range(2):
        assert await world.store.record(fence, [said("a"), said("b")], later(2), has_diff=True, write=2) == 5
    found = await world.store.get_run_by_id(run.id)
    assert (found.last_event, found.has_diff, found.date_updated) == (5, False, later(1))
    assert found.steps[0].usage == Usage(1, 2, 0.5, 3)
    assert [event.number for event in await world.told(run.id)] == [1, 2, 3, 4, 5]


async def test_writes_that_are_not_counted_leave_the_count_alone(world: World) -> None:
    _, fence = await world.claimed()
    await world.store.record(fence, [said("a")], NOW, write=1)
    assert await world.store.record(fence, [said("b")], NOW) == 4
    assert await world.store.record(fence, [said("c")], NOW, write=2) == 5


@pytest.mark.parametrize("write", [1, 4])
async def test_a_write_that_does_not_follow_is_refused(world: World, write: int) -> None:
    run, fence = await world.claimed()
    for number in (1, 2):
        await world.store.record(fence, [said("a")], NOW, write=number)
    with pytest.raises(Conflict, match=f"Write {write} .* write 2"):
        await world.store.record(fence, [said("b")], NOW, write=write)
    assert len(await world.told(run.id)) == 4


async def test_a_write_that_failed_does_not_count(world: World) -> None:
    run, fence = await world.claimed()
    with pytest.raises(Conflict):
        await world.store.record(fence, [said("a")], NOW, step=StepUpdate(1, StepStatus.SUCCESS), write=1)
    assert await world.store.record(fence, [said("a")], NOW, write=1) == 3
    assert len(await world.told(run.id)) == 3


async def test_each_claim_counts_from_one(world: World) -> None:
    run, fence = await world.claimed()
    for number in (1, 2):
        await world.store.record(fence, [said("a")], NOW, write=number)
    await world.store.release(fence, NOW)
    with pytest.raises(LeaseLost):
        await world.store.record(fence, [said("a")], NOW, write=2)  # even a repeat: others go on from here
    await world.store.claim("other", NOW)
    with pytest.raises(LeaseLost):
        await world.store.record(fence, [said("late")], NOW, write=1)
    assert await world.store.record(Fence(run.id, 2), [said("b")], NOW, write=1) == 7


async def test_one_write_sent_many_times_at_once_counts_once(world: World) -> None:
    run, fence = await world.claimed()
    answers = await asyncio.gather(
        *(world.store.record(fence, [said("a"), said("b")], NOW, write=1) for _ in range(20))
    )
    assert answers == [4] * 20
    assert len(await world.told(run.id)) == 4


async def test_a_run_that_is_made_again_is_the_same(world: World) -> None:
    draft, uuid, step_ids = a_draft("one", "two"), uuid4(), [uuid4(), uuid4()]
    given = {"uuid": uuid, "step_ids": step_ids, "secrets": {"claude": "sealed"}, "traceparent": "00-1-2-01"}
    made = [await world.store.create_run(draft, world.principal, **given, now=later(n)) for n in range(2)]  # type: ignore[arg-type]  # as create_run takes them
    assert made[0] == made[1]
    run, is_new = made[0]
    assert (is_new, run.traceparent, run.is_blocked) == (True, "00-1-2-01", False)
    assert await world.store.get_run_by_id(run.id) == run
    assert await world.store.queue_depth() == 1
    assert len(await world.told(run.id)) == 1
    following = await world.run(replace(draft))
    assert following.is_blocked
    claimed = await world.store.claim("worker", NOW)
    assert claimed is not None
    again, is_new = await world.store.create_run(draft, world.principal, **given, now=later(2))  # type: ignore[arg-type]  # as create_run takes them
    assert (again, is_new) == (claimed, True)


async def test_a_run_that_is_made_many_times_at_once_is_one(world: World) -> None:
    draft, uuid, step_id = a_draft("one"), uuid4(), uuid4()
    made = await asyncio.gather(
        *(
            world.store.create_run(draft, world.principal, uuid=uuid, step_ids=[step_id], secrets={}, now=NOW)
            for _ in range(10)
        )
    )
    assert {(run.id, is_new) for run, is_new in made} == {(made[0][0].id, True)}
    assert await world.store.queue_depth() == 1


async def test_a_run_that_is_made_again_under_its_key_is_as_new(world: World) -> None:
    """Else the repeated call would say that there was an earlier one."""
    idempotency = Idempotency("key", "digest", later(-100))
    uuid, step_id = uuid4(), uuid4()
    draft = a_draft("one")
    for _ in range(2):
        run, is_new = await world.store.create_run(
            draft, world.principal, uuid=uuid, step_ids=[step_id], secrets={}, now=NOW, idempotency=idempotency
        )
        assert (run.uuid, is_new) == (uuid, True)
    other, is_new = await world.store.create_run(
        draft, world.principal, uuid=uuid4(), step_ids=[uuid4()], secrets={}, now=NOW, idempotency=idempotency
    )
    assert (other.uuid, is_new) == (uuid, False)


async def test_the_bytes_of_events_are_counted(world: World) -> None:
    run, fence = await world.started()
    await world.store.record(fence, [said("ä" * 100), said("b" * 1000)], NOW)
    await world.store.request_kill(run.id, NOW)
    await world.store.release(fence, NOW)
    # JSON of ASCII: an umlaut takes six
    assert await event_bytes(world, run.id) > 1600
    counted = Prepared(select(func.sum(func.length(events.c.data))).where(events.c.run_id == run.id))
    rows = await world.store._executor.read(lambda session: session.all(counted))
    assert await event_bytes(world, run.id) == rows[0][0]
    assert (await world.store.get_run_by_id(run.id)).status is RunStatus.KILLED
