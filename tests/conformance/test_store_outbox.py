"""The outbox on each database: what happens is put in line in its own transaction, and never left there."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest
from tests.support.directory import a_repository
from tests.support.stores import NOW, World, a_draft, later, said, started
from tests.support.webhooks import a_webhook

from treadle.domain.errors import Conflict, LeaseLost, NotFound
from treadle.domain.events import Draft, EventType, JsonObject
from treadle.domain.messages import Filter, Message, MessageStatus, MessageType
from treadle.domain.states import RunStatus
from treadle.ports import Fence
from treadle.ports.chores import Chore, ChoreKind
from treadle.ports.webhooks import Trouble
from treadle.store import outbox
from treadle.store.session import Session

pytestmark = pytest.mark.anyio

MESSAGES = frozenset({ChoreKind.MESSAGES})
PUSHED = Draft(EventType.GIT_PUSHED, {"sha": "5eed", "branch": "work", "secret": "of nobody's business"}, 1)


async def claim(world: World, seconds: float = 0) -> Chore | None:
    return await world.store.claim_chore("worker", later(seconds), lease_seconds=30, kinds=MESSAGES)


async def waiting(world: World, webhook_id: int) -> list[Message]:
    found = await world.store.messages(webhook_id, MessageStatus.WAITING, before=None, limit=1000)
    return list(reversed(found))


async def due(world: World, webhook_id: int, seconds: float = 0, *busy: str, limit: int = 100) -> Sequence[Message]:
    return await world.store.messages_due(webhook_id, later(seconds), busy=busy, limit=limit)


async def test_what_happens_in_a_run_is_put_in_line_in_order(world: World) -> None:
    webhook = await a_webhook(world)
    run, fence = await world.claimed()
    await world.store.record(fence, [started(1), said("no"), PUSHED], later(1))
    await world.store.finish(fence, RunStatus.FAILED, "It broke.", later(2))
    found = await waiting(world, webhook.id)
    assert [each.type for each in found] == [
        "run.created", "run.started", "step.started", "git.pushed", "run.finished",
    ]  # fmt: skip
    assert {each.lane for each in found} == {f"run {run.id}"}
    assert [each.number for each in found] == sorted(each.number or 0 for each in found)
    assert found[3].data["event"] == {"number": found[3].number, "step": 1, "sha": "5eed", "branch": "work"}
    last = found[-1].data["run"]
    assert isinstance(last, dict)
    assert (last["id"], last["status"], last["failureDetails"]) == (run.id, "Failed", "It broke.")
    assert last["dateCompleted"] == later(2).isoformat()
    assert await claim(world, 3) == Chore(ChoreKind.MESSAGES, webhook.id, 1)


async def test_a_resumed_run_and_a_killed_one_are_told_of(world: World) -> None:
    webhook = await a_webhook(world, Filter(types=("run.*",), statuses=("Killed",)))
    run = await world.run()
    await world.store.request_kill(run.id, later(1))
    assert [each.type for each in await waiting(world, webhook.id)] == ["run.created", "run.finished"]


async def test_others_are_told_nothing(world: World) -> None:
    stranger = await world.stranger()
    elsewhere = await a_webhook(world, principal=stranger)
    off = await a_webhook(world)
    await world.store.put_webhook(replace(off, is_enabled=False), later(1), seen=off.date_updated)
    while (chore := await claim(world, 5)) is not None:
        await world.store.end_chore(chore, again=None)
    await world.claimed()
    assert not await waiting(world, elsewhere.id)
    assert not await waiting(world, off.id)
    assert await claim(world, 9) is None


async def test_filters_decide_what_is_put_in_line(world: World) -> None:
    repository = await world.store.add_repository(a_repository(world.principal.organization_id), {})
    mine = await a_webhook(world, Filter(repositories=(repository.id,)))
    failed = await a_webhook(world, Filter(types=("run.finished",), statuses=("Failed",)))
    elsewhere = await a_webhook(world, Filter(sources=("SLACK",)))
    for repository_id, status in ((repository.id, RunStatus.SUCCESS), (None, RunStatus.FAILED)):
        run, fence = await world.claimed(a_draft(repository_id=repository_id))
        await world.store.finish(fence, status, None, later(1))
    assert len(await waiting(world, mine.id)) == 3
    data = (await waiting(world, mine.id))[0].data["run"]
    assert isinstance(data, dict)
    assert data["repository"] == {"id": repository.id, "name": repository.name}
    assert [each.run_id for each in await waiting(world, failed.id)] == [run.id]
    assert not await waiting(world, elsewhere.id)


async def test_what_is_not_written_is_not_told(world: World) -> None:
    run, fence = await world.claimed()
    webhook = await a_webhook(world)
    with pytest.raises(LeaseLost):
        await world.store.record(Fence(run.id, fence.lease + 1), [PUSHED], later(1))
    assert not await waiting(world, webhook.id)
    # A write that is repeated because its answer was lost tells once.
    for _ in range(2):
        await world.store.record(fence, [PUSHED], later(1), write=1)
    assert len(await waiting(world, webhook.id)) == 1


async def test_batches_are_told_of(world: World) -> None:
    webhook = await a_webhook(world, Filter(statuses=("Failed",), repositories=(7,)))

    def tell(session: Session, number: int, status: str) -> None:
        data: JsonObject = {"batch": {"id": 3, "name": "all", "status": status}}
        outbox.tell_batch(session, world.principal.organization_id, 3, number, MessageType.BATCH_FINISHED, data, NOW)

    await world.store._executor.write(partial(tell, number=1, status="Failed"))
    await world.store._executor.write(partial(tell, number=2, status="Success"))
    [found] = await waiting(world, webhook.id)
    assert (found.lane, found.number, found.run_id) == ("batch 3", 1, None)
    assert await claim(world) is not None


async def test_lanes_go_side_by_side_and_each_in_order(world: World) -> None:
    webhook = await a_webhook(world)
    one, fence = await world.claimed()
    other = await world.run()
    first, second = await due(world, webhook.id)
    assert [first.run_id, second.run_id] == [one.id, other.id]
    assert [each.run_id for each in await due(world, webhook.id, 0, f"run {one.id}")] == [other.id]
    assert len(await due(world, webhook.id, limit=1)) == 1
    # One that failed holds up its own lane alone.
    assert await world.store.end_try(first, later(1), Trouble("down", later(6)))
    assert [each.id for each in await due(world, webhook.id, 2)] == [second.id]
    assert await world.store.end_try(second, later(2), None)
    assert not await due(world, webhook.id, 5)
    assert await world.store.next_due(webhook.id) == later(6)
    [again] = await due(world, webhook.id, 6)
    assert (again.id, again.tries, again.last_error) == (first.id, 1, "down")
    assert await world.store.end_try(again, later(6), Trouble("down", None))
    [following] = await due(world, webhook.id, 6)
    assert following.type == "run.started"
    assert await world.store.end_try(following, later(6), None)
    assert await world.store.next_due(webhook.id) is None
    assert fence.run_id == one.id


async def test_of_two_who_try_the_same_one_counts(world: World) -> None:
    webhook = await a_webhook(world)
    await world.run()
    [found] = await due(world, webhook.id)
    assert await world.store.end_try(found, later(1), Trouble("slow", later(9)))
    assert not await world.store.end_try(found, later(2), Trouble("late", None))
    [now] = await waiting(world, webhook.id)
    assert (now.tries, now.last_error, now.status) == (1, "slow", MessageStatus.WAITING)


async def test_dead_ones_are_sent_again_in_their_order(world: World) -> None:
    webhook = await a_webhook(world)
    await world.claimed()
    for _ in range(2):
        [head] = await due(world, webhook.id)
        await world.store.end_try(head, later(1), Trouble("gone", None))
    dead = await world.store.messages(webhook.id, MessageStatus.DEAD, before=None, limit=10)
    assert [each.type for each in dead] == ["run.started", "run.created"]
    while (chore := await claim(world, 5)) is not None:
        await world.store.end_chore(chore, again=None)
    assert await world.store.resend_dead(webhook.id, later(10)) == 2
    assert await claim(world, 10) is not None
    [head] = await due(world, webhook.id, 10)
    assert (head.type, head.tries, head.date_queued) == ("run.created", 0, later(10))
    await world.store.end_try(head, later(11), None)
    assert (await world.store.resend_message(webhook.id, head.id, later(12))).status is MessageStatus.WAITING
    with pytest.raises(Conflict):
        await world.store.resend_message(webhook.id, head.id, later(13))
    with pytest.raises(NotFound):
        await world.store.resend_message(webhook.id + 1, head.id, later(13))


async def test_the_past_is_forgotten_and_what_waits_is_not(world: World) -> None:
    webhook = await a_webhook(world)
    await world.claimed()
    await world.claimed()
    first, second = await due(world, webhook.id)
    await world.store.end_try(first, NOW, None)
    await world.store.end_try(second, NOW, Trouble("gone", None))
    assert await world.store.prune_messages(NOW, NOW, limit=10) == 0
    assert await world.store.prune_messages(later(1), NOW, limit=10) == 1
    assert await world.store.prune_messages(later(1), later(1), limit=10) == 1
    assert len(await waiting(world, webhook.id)) == 2


async def test_webhooks_are_an_organization_s_own(world: World) -> None:
    webhook = await a_webhook(world, Filter(types=("run.*",)))
    stranger = await world.stranger()
    assert await world.store.webhooks(stranger.organization_id) == ()
    with pytest.raises(NotFound):
        await world.store.webhook(webhook.id, organization_id=stranger.organization_id)
    with pytest.raises(NotFound):
        await world.store.remove_webhook(stranger.organization_id, webhook.id)
    assert await world.store.webhook(webhook.id) == webhook
    assert webhook.filter == Filter(types=("run.*",))
    with pytest.raises(Conflict, match="1 webhooks"):
        await a_webhook(world, most=1)
    changed = await world.store.put_webhook(replace(webhook, name="less"), later(1), seen=webhook.date_updated)
    with pytest.raises(Conflict, match="just changed"):
        await world.store.put_webhook(replace(webhook, name="more"), later(2), seen=webhook.date_updated)
    assert (await world.store.webhook(webhook.id)).name == changed.name == "less"
    assert await world.store.disable_webhook(webhook.id, later(3))
    assert not await world.store.disable_webhook(webhook.id, later(4))


async def test_nothing_is_left_in_line_while_many_runs_tell_and_somebody_works_it_off(world: World) -> None:
    webhook = await a_webhook(world)
    fences = [(await world.claimed())[1] for _ in range(6)]
    told, over = set[int](), asyncio.Event()

    async def tell(fence: Fence) -> None:
        for _ in range(10):
            await world.store.record(fence, [PUSHED], NOW)

    async def work_off() -> None:
        while True:
            is_last = over.is_set()
            chore = await claim(world)
            if chore is None:
                if is_last:
                    return
                continue
            for message in await due(world, webhook.id):
                told.add(message.id)
                await world.store.end_try(message, NOW, None)
            # What came meanwhile is seen by who comes next, as the chore was planned with it.
            await world.store.end_chore(chore, again=await world.store.next_due(webhook.id))

    workers = [asyncio.create_task(work_off()) for _ in range(2)]
    await asyncio.gather(*map(tell, fences))
    over.set()
    await asyncio.gather(*workers)
    assert not await waiting(world, webhook.id)
    assert len(told) == 6 * 12


async def test_a_webhook_goes_while_it_is_told(world: World) -> None:
    fences = [(await world.claimed())[1] for _ in range(4)]
    for _ in range(5):
        webhook = await a_webhook(world)
        tell = [world.store.record(fence, [PUSHED], NOW) for fence in fences]
        await asyncio.gather(world.store.remove_webhook(world.principal.organization_id, webhook.id), *tell)
    assert await world.store.webhooks(world.principal.organization_id) == ()


async def test_runs_that_tell_do_not_wait_for_each_other_and_nobody_comes_too_early(world: World) -> None:
    if world.url.startswith("sqlite"):
        pytest.skip("its one writer makes all of them wait")
    webhook = await a_webhook(world)
    [one, other] = [(await world.claimed())[1] for _ in range(2)]
    holds, may_end = threading.Event(), threading.Event()

    def slow(session: Session) -> None:
        outbox.rouse(session, webhook.id, later(1))
        holds.set()
        assert may_end.wait(120)

    task = asyncio.create_task(world.store._executor.write(slow))
    try:
        await asyncio.to_thread(holds.wait, 60)
        async with asyncio.timeout(60):
            for fence in (one, other):
                await world.store.record(fence, [PUSHED], later(1))
        assert await claim(world, 5) is None
    finally:
        may_end.set()
        await task
    assert await claim(world, 5) is not None
