"""Batches: counted as they end, started once, tried again by those that failed alone."""

from uuid import uuid4

import pytest
from tests.support.stores import NOW, World, later

from treadle.domain.batch import Batch, BatchDraft, BatchStatus, ItemDraft, ItemStatus
from treadle.domain.errors import IdempotencyMismatch, NotFound
from treadle.domain.states import RunStatus
from treadle.ports import Fence, Idempotency
from treadle.ports.batches import BatchFilter, ItemEnd
from treadle.ports.chores import ChoreKind

pytestmark = pytest.mark.anyio

KINDS = frozenset({ChoreKind.BATCH})


def draft(count: int = 3) -> BatchDraft:
    items = [ItemDraft(f"acme/r{at}", f"https://git.example/acme/r{at}.git") for at in range(1, count + 1)]
    return BatchDraft("Everywhere", {"steps": ["Do it"]}, {"what": "words"}, items)


async def added(world: World, count: int = 3) -> Batch:
    batch, is_new = await world.store.add_batch(draft(count), world.principal, uuid=uuid4(), now=NOW)
    assert is_new
    return batch


def mine(world: World) -> BatchFilter:
    return BatchFilter(world.principal.organization_id, world.principal.user_id)


async def is_due(world: World) -> bool:
    chore = await world.store.claim_chore("worker", later(1), lease_seconds=30, kinds=KINDS)
    if chore is None:
        return False
    await world.store.end_chore(chore, again=None)
    return True


async def statuses(world: World, batch: Batch) -> list[ItemStatus]:
    return [item.status for item in await world.store.batch_items(batch.id, limit=1000)]


async def test_it_begins_with_all_of_its_items_waiting_and_its_chore_due(world: World) -> None:
    batch = await added(world)
    assert (batch.status, batch.attempt, batch.counts.items, batch.counts.not_started) == (BatchStatus.RUNNING, 1, 3, 3)
    assert (batch.plan, batch.variables) == ({"steps": ["Do it"]}, {"what": "words"})
    assert await is_due(world)
    items = await world.store.batch_items(batch.id, limit=2)
    assert [(item.position, item.name, item.earlier_runs) for item in items] == [(1, "acme/r1", []), (2, "acme/r2", [])]
    rest = await world.store.batch_items(batch.id, limit=9, after=2)
    assert [item.position for item in rest] == [3]
    only = frozenset({ItemStatus.FAILED})
    assert await world.store.batch_items(batch.id, statuses=only, limit=9) == ()


async def test_a_key_makes_one_batch(world: World) -> None:
    key = Idempotency("again", "digest", later(-60))
    first, is_new = await world.store.add_batch(draft(), world.principal, uuid=uuid4(), now=NOW, idempotency=key)
    second, is_second = await world.store.add_batch(draft(), world.principal, uuid=uuid4(), now=NOW, idempotency=key)
    assert (second.id, is_new, is_second) == (first.id, True, False)
    other = Idempotency("again", "another", later(-60))
    with pytest.raises(IdempotencyMismatch):
        await world.store.add_batch(draft(), world.principal, uuid=uuid4(), now=NOW, idempotency=other)


async def test_who_sees_it(world: World) -> None:
    batch, other = await added(world), await world.somebody()
    for which in (batch.id, batch.uuid):
        assert (await world.store.batch(which, mine(world))).id == batch.id
        with pytest.raises(NotFound):
            await world.store.batch(which, BatchFilter(other.organization_id, other.user_id))
        assert (await world.store.batch(which, BatchFilter(other.organization_id))).id == batch.id
        with pytest.raises(NotFound):
            await world.store.batch(which, BatchFilter((await world.stranger()).organization_id))
    newer = await added(world)
    assert [one.id for one in await world.store.batches(mine(world), limit=9)] == [newer.id, batch.id]
    assert [one.id for one in await world.store.batches(mine(world), limit=9, before=newer.id)] == [batch.id]
    assert not await world.store.batches(BatchFilter(other.organization_id, other.user_id), limit=9)


async def test_what_is_taken_is_started_once_and_what_ends_is_counted_once(world: World) -> None:
    batch, store = await added(world), world.store
    first, second = await store.take_items(batch.id, 2, NOW)
    assert (first.position, second.position, second.attempt, second.url) == (
        1, 2, 1, "https://git.example/acme/r2.git",
    )  # fmt: skip
    run = await world.run()
    await store.item_started(batch.id, first, run.id)
    await store.watch_run(run.id, ChoreKind.BATCH, batch.id, NOW)
    one, two = await store.open_items(batch.id)
    assert (one.status, one.run_id, one.run_status, one.is_watched) == (ItemStatus.RUNNING, run.id, RunStatus.NEW, True)
    assert (two.status, two.run_id, two.run_status, two.is_watched) == (ItemStatus.STARTING, None, None, False)
    assert (await store.batch_by_id(batch.id)).counts.running == 2
    ends = [ItemEnd(1, ItemStatus.SUCCESS, None, 0.25), ItemEnd(2, ItemStatus.FAILED, "No such branch.")]
    for _ in range(2):
        await store.end_items(batch.id, ends, later(1))
    found = await store.batch_by_id(batch.id)
    assert (found.counts.succeeded, found.counts.failed, found.counts.not_started) == (1, 1, 1)
    assert (found.cost_usd, found.settled_usd) == (0.25, 0.25)
    items = await store.batch_items(batch.id, limit=9)
    assert [(item.status, item.failure_details, item.run_id) for item in items] == [
        (ItemStatus.SUCCESS, None, run.id),
        (ItemStatus.FAILED, "No such branch.", None),
        (ItemStatus.NOT_STARTED, None, None),
    ]
    await store.item_started(batch.id, second, run.id)  # too late
    assert (await statuses(world, batch))[1] is ItemStatus.FAILED


async def test_a_runs_end_wakes_it(world: World) -> None:
    batch, store = await added(world), world.store
    assert await is_due(world)
    (item,) = await store.take_items(batch.id, 1, NOW)
    run = await world.run()
    await store.item_started(batch.id, item, run.id)
    await store.watch_run(run.id, ChoreKind.BATCH, batch.id, NOW)
    assert not await is_due(world)
    claimed = await store.claim("worker", NOW)
    assert claimed is not None
    await store.finish(Fence(claimed.id, claimed.lease), RunStatus.FAILED, "It broke.", NOW)
    assert await is_due(world)
    (open_item,) = await store.open_items(batch.id)
    assert (open_item.run_status, open_item.run_failure, open_item.is_watched) == (RunStatus.FAILED, "It broke.", False)


async def test_a_retry_touches_what_did_not_succeed_and_remembers_the_runs(world: World) -> None:
    batch, store = await added(world, 4), world.store
    runs = list[int]()
    for attempt in (1, 2, 3):
        taken = await store.take_items(batch.id, 2, NOW)
        run = await world.run()
        runs.append(run.id)
        failing = taken[-1]
        assert failing.attempt == attempt
        await store.item_started(batch.id, failing, run.id)
        ends = [ItemEnd(one.position, ItemStatus.SUCCESS, None, 1.0) for one in taken[:-1]]
        await store.end_items(batch.id, [*ends, ItemEnd(failing.position, ItemStatus.FAILED, "No.", 0.5)], NOW)
        await store.end_waiting(batch.id, ItemStatus.SKIPPED, "Stopped.", NOW)
        assert not await store.retry_batch(batch.id, NOW)
        await store.end_batch(batch.id, BatchStatus.FAILED, f"Attempt {attempt}.", later(1))
        assert await is_due(world)
        if attempt < 3:
            assert await store.retry_batch(batch.id, NOW)
            found = await store.batch_by_id(batch.id)
            assert (found.status, found.attempt, found.failure_details) == (BatchStatus.RUNNING, attempt + 1, None)
            assert found.date_completed is None
            counts = found.counts
            assert (counts.succeeded, counts.failed, counts.skipped, counts.not_started) == (attempt, 0, 0, 4 - attempt)
    items = await store.batch_items(batch.id, limit=9)
    assert [item.attempt for item in items] == [1, 2, 3, 3]
    assert [(item.run_id, list(item.earlier_runs), item.cost_usd) for item in items] == [
        (None, [], 1.0),
        (None, [runs[0]], 1.5),
        (None, [runs[1]], 1.5),
        (runs[2], [], 0.5),
    ]


async def test_the_runs_of_all_attempts_are_remembered(world: World) -> None:
    batch, store = await added(world, 1), world.store
    runs = list[int]()
    for _ in range(3):
        (item,) = await store.take_items(batch.id, 1, NOW)
        run = await world.run()
        runs.append(run.id)
        await store.item_started(batch.id, item, run.id)
        await store.end_items(batch.id, [ItemEnd(1, ItemStatus.KILLED)], NOW)
        await store.end_batch(batch.id, BatchStatus.KILLED, None, NOW)
        assert await store.retry_batch(batch.id, NOW)
    (found,) = await store.batch_items(batch.id, limit=9)
    assert list(found.earlier_runs) == runs


async def test_one_that_succeeded_is_not_tried_again_and_one_that_ended_is_not_killed(world: World) -> None:
    batch, store = await added(world, 1), world.store
    assert await store.kill_batch(batch.id, NOW)
    assert (await store.batch_by_id(batch.id)).date_kill_requested == NOW
    await store.take_items(batch.id, 1, NOW)
    await store.end_items(batch.id, [ItemEnd(1, ItemStatus.SUCCESS)], NOW)
    await store.end_batch(batch.id, BatchStatus.SUCCESS, None, NOW)
    assert not await store.kill_batch(batch.id, NOW)
    assert not await store.retry_batch(batch.id, NOW)
    await store.end_batch(batch.id, BatchStatus.FAILED, "Late.", NOW)
    assert (await store.batch_by_id(batch.id)).status is BatchStatus.SUCCESS


async def test_another_concurrency_has_it_looked_at(world: World) -> None:
    batch = await added(world)
    assert await is_due(world)
    await world.store.set_batch_concurrency(batch.id, 7, NOW)
    assert (await world.store.batch_by_id(batch.id)).concurrency == 7
    assert await is_due(world)
