"""What automation leaves and what may go of it, on each database."""

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Table, func, select
from tests.support.deployment import StillClock
from tests.support.directory import a_repository
from tests.support.stores import NOW, World, a_draft, later

from treadle.blobs.directory import DirectoryBlobs
from treadle.domain.batch import BatchDraft, BatchStatus, ItemDraft, ItemStatus
from treadle.domain.deliveries import Subject
from treadle.domain.run import FollowUp, Run
from treadle.domain.schedule import Firing, Missed, Outcome, Overlap
from treadle.domain.script_runs import ScriptRunDraft, ScriptRunStatus
from treadle.domain.states import RunStatus
from treadle.domain.trigger_settings import TriggerSettings
from treadle.domain.triggers import DeliveryStatus, Hook, HookKind, Trigger, TriggerKind
from treadle.ports.batches import ItemEnd
from treadle.ports.chores import ChoreKind
from treadle.ports.schedules import ScheduleDraft
from treadle.ports.triggers import Arrival, CheckWanted
from treadle.services.retention import Keep, Pruned, Retention
from treadle.services.trigger_work import DELIVERY_DAYS
from treadle.store import automation_tables as tables
from treadle.store.automation_retention import PORTION
from treadle.store.prepared import Prepared
from treadle.store.tables import share_links

pytestmark = pytest.mark.anyio

#: When all that a test has left is over, and when it is looked at.
OVER, LATER = 100, 200

_LEFT: dict[str, Table] = {
    "batches": tables.batches,
    "items": tables.batch_items,
    "scripts": tables.script_runs,
    "firings": tables.firings,
    "threads": tables.threads,
    "checks": tables.check_tries,
    "deliveries": tables.deliveries,
    "links": share_links,
}
COUNTS = {name: Prepared(select(func.count()).select_from(table)) for name, table in _LEFT.items()}
EVERYTHING = dict.fromkeys(_LEFT, 1) | {"firings": 3}


async def counts(world: World) -> dict[str, int]:
    async def count(statement: Prepared) -> int:
        [(number,)] = await world.store._executor.read(lambda session: session.all(statement))
        return int(number)

    return {name: await count(statement) for name, statement in COUNTS.items()}


async def prune(world: World, seconds: float, *, received: float | None = None) -> int:
    before = later(seconds)
    return await world.store.prune_automation(before, received_before=before if received is None else later(received))


async def end_chores(world: World) -> None:
    while chore := await world.store.claim_chore("w", later(1e6), lease_seconds=9, kinds=frozenset(ChoreKind)):
        await world.store.end_chore(chore, again=None)


async def a_trigger(world: World) -> tuple[Trigger, int]:
    """And the id of its repository."""
    who, store = world.principal, world.store
    repository = await store.add_repository(a_repository(who.organization_id, f"group/{uuid4()}"), {})
    kind = HookKind.GITHUB
    hook = Hook(0, uuid4(), who.organization_id, who.organization_uuid, repository.id, kind, NOW, sealed="v1:one")
    hook = await store.add_hook(hook)
    settings = TriggerSettings(labels=("bug",))
    given = (who.organization_id, who.user_id, hook.id, "it", TriggerKind.ISSUE, settings, None, True, NOW, NOW)
    return await store.add_trigger(Trigger(0, uuid4(), *given)), repository.id


async def leave(world: World) -> tuple[Run, int, int, int, int]:
    """One of everything, over by OVER: the run, and the ids of the batch, the run of a script, the thread and the
    delivery."""
    store, who = world.store, world.principal
    trigger, repository = await a_trigger(world)
    run, fence = await world.claimed(replace(a_draft("one", branch="b"), repository_id=repository))
    await store.put_thread(repository, Subject.ISSUE, 5, trigger.id, run_id=run.id, step=1, detail={}, now=NOW)
    [thread] = await store.threads_of_run(run.id)
    delivery, _ = await store.add_delivery(trigger.hook_id, Arrival("one", "d", "issues", {}, b"{}"), NOW)
    await store.take_checks(
        who.organization_id,
        run.git_url,
        "b",
        "a" * 40,
        [CheckWanted("test", 3)],
        most_wakes=9,
        delivery=delivery,
        run_id=run.id,
        now=NOW,
    )
    await store.end_delivery(delivery, DeliveryStatus.DONE, "", run.id, NOW)
    draft = BatchDraft("Everywhere", {"steps": ["Do it"]}, {}, [ItemDraft("acme/r", "https://git.example/acme/r.git")])
    batch, _ = await store.add_batch(draft, who, uuid=uuid4(), now=NOW)
    [item] = await store.take_items(batch.id, 1, NOW)
    await store.item_started(batch.id, item, run.id)
    await store.end_items(batch.id, [ItemEnd(1, ItemStatus.SUCCESS, None)], NOW)
    await store.end_batch(batch.id, BatchStatus.SUCCESS, None, NOW)
    script, _ = await store.add_script_run(
        ScriptRunDraft("night", "x = 1", {}), who, uuid=uuid4(), now=NOW, keep=9, most_alive=9
    )
    await store.end_script_run(script.id, ScriptRunStatus.SUCCESS, later(OVER))
    wish = ScheduleDraft("s", "@daily", "UTC", Missed.ONCE, Overlap.SKIP, {"kind": "plan"}, False, None)
    schedule = await store.add_schedule(wish, who.organization_id, who.user_id, uuid=uuid4(), now=NOW, most=9)
    of_run = Firing(schedule.id, NOW, NOW, Outcome.STARTED, run_id=run.id)
    await store.add_firing(of_run)
    await store.add_firing(replace(of_run, date_due=later(1), run_id=None, batch_id=batch.id))
    await store.add_firing(replace(of_run, date_due=later(2), run_id=None, script_run_id=script.id))
    await store.add_share_link("digest", run.id, who.user_id, NOW, later(OVER))
    await store.finish(fence, RunStatus.SUCCESS, None, later(OVER))
    await end_chores(world)
    return run, batch.id, script.id, thread.id, delivery


async def test_what_was_over_before_then_goes_and_the_run_stays(world: World) -> None:
    run, *_ = await leave(world)
    assert await counts(world) == EVERYTHING
    assert await prune(world, OVER) == 1, "the batch's firing: of the batch itself the run ended too late"
    assert await counts(world) == EVERYTHING | {"firings": 2}
    assert await prune(world, LATER) == 8
    assert await counts(world) == dict.fromkeys(_LEFT, 0)
    assert (await world.store.get_run_by_id(run.id)).status is RunStatus.SUCCESS
    assert await prune(world, LATER) == 0


async def test_what_has_a_run_that_lives_again_stays(world: World) -> None:
    run, *_ = await leave(world)
    await world.store.resume_run(run.id, FollowUp("More"), step_id=uuid4(), secrets={}, now=later(OVER), most_steps=9)
    await prune(world, LATER)
    assert await counts(world) == EVERYTHING | {"scripts": 0, "links": 0, "firings": 1}


async def test_what_still_has_something_to_do_stays(world: World) -> None:
    _, batch, script, thread, delivery = await leave(world)
    subjects = {
        ChoreKind.BATCH: batch, ChoreKind.SCRIPT: script, ChoreKind.ANSWER: thread, ChoreKind.DELIVERY: delivery,
    }  # fmt: skip
    for kind, subject in subjects.items():
        await world.store.plan_chore(kind, subject, later(LATER))
    await prune(world, LATER)
    assert await counts(world) == EVERYTHING | {"firings": 0, "checks": 0, "links": 0}


async def test_a_delivery_is_remembered_for_longer(world: World) -> None:
    await leave(world)
    await prune(world, LATER, received=0)
    assert await counts(world) == dict.fromkeys(_LEFT, 0) | {"deliveries": 1}


async def test_what_is_under_way_stays(world: World) -> None:
    store, who = world.store, world.principal
    draft = BatchDraft("Everywhere", {"steps": ["Do it"]}, {}, [ItemDraft("acme/r", "https://git.example/acme/r.git")])
    await store.add_batch(draft, who, uuid=uuid4(), now=NOW)
    await store.add_script_run(ScriptRunDraft("night", "x = 1", {}), who, uuid=uuid4(), now=NOW, keep=9, most_alive=9)
    trigger, _ = await a_trigger(world)
    await store.add_delivery(trigger.hook_id, Arrival("one", "d", "issues", {}, b"{}"), NOW)
    await end_chores(world)
    wish = ScheduleDraft("s", "@daily", "UTC", Missed.ONCE, Overlap.SKIP, {"kind": "plan"}, False, None)
    schedule = await store.add_schedule(wish, who.organization_id, who.user_id, uuid=uuid4(), now=NOW, most=9)
    for at, outcome in enumerate((Outcome.STARTING, Outcome.WAITING)):
        await store.add_firing(Firing(schedule.id, later(at), NOW, outcome))
    run = await world.run()
    await store.add_share_link("digest", run.id, who.user_id, NOW, later(2 * LATER))
    assert await prune(world, LATER) == 0


async def test_more_than_a_portion_goes(world: World) -> None:
    run = await world.run()
    for number in range(2 * PORTION + 1):
        await world.store.add_share_link(f"{number}", run.id, world.principal.user_id, NOW, later(1))
    assert await prune(world, LATER) == 2 * PORTION + 1


async def test_it_goes_by_the_age_of_events_and_by_no_size(world: World, tmp_path: Path) -> None:
    await leave(world)
    clock = StillClock(later(OVER + 86_400))
    retention = Retention(world.store, DirectoryBlobs(tmp_path / "blobs"), clock)
    assert await retention.prune_automation(Keep(size=0)) == Pruned()
    assert await retention.prune_automation(Keep(days=0), is_dry_run=True) == Pruned()
    assert await retention.prune_automation(Keep(days=2)) == Pruned()
    assert await counts(world) == EVERYTHING
    assert await retention.prune_automation(Keep(days=0.9)) == Pruned(items=8)
    assert await counts(world) == dict.fromkeys(_LEFT, 0) | {"deliveries": 1}, "it might come again"
    clock.advance(DELIVERY_DAYS * 86_400)
    assert await retention.prune_automation(Keep(days=0.9)) == Pruned(items=1)
