"""Claims, leases, endings and sweeps: what `ports.RunStore` promises workers, on each database."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from tests.support.stores import NOW, World, a_draft, later, said, started

from treadle.domain.errors import AlreadyFinished, Conflict, LeaseLost, NotFound
from treadle.domain.events import Draft, EventType
from treadle.domain.run import Artifact, Checkpoint, EngineName, Run, Usage
from treadle.domain.states import RUN_TERMINAL, Phase, RunStatus, StepStatus
from treadle.ports import Fence, StepUpdate, Sweep

pytestmark = pytest.mark.anyio

ENDINGS = pytest.mark.parametrize("status", sorted(RUN_TERMINAL))


def a_checkpoint(run: Run) -> Checkpoint:
    return Checkpoint(run.id, 1, Phase.ANALYSIS, "session", EngineName.DUMMY, "blob/session", "blob/patch", "a" * 40)


def an_artifact(run: Run) -> Artifact:
    return Artifact(run.id, "work.patch", "text/x-diff", 12, "blob/work", NOW)


#: Everything a worker writes under its fence.
WRITES: dict[str, Callable[[World, Run, Fence], Awaitable[object]]] = {
    "ping": lambda world, _, fence: world.store.ping(fence, NOW),
    "record": lambda world, _, fence: world.store.record(fence, [said("late")], NOW),
    "record nothing": lambda world, _, fence: world.store.record(fence, [], NOW),
    "finish": lambda world, _, fence: world.store.finish(fence, RunStatus.SUCCESS, None, NOW),
    "release": lambda world, _, fence: world.store.release(fence, NOW),
    "checkpoint": lambda world, run, fence: world.store.save_checkpoint(fence, a_checkpoint(run)),
    "artifact": lambda world, run, fence: world.store.add_artifact(fence, an_artifact(run)),
}


async def sweep(world: World, seconds: float, *, max_lost_workers: int = 3) -> Sweep:
    return await world.store.sweep(later(seconds), lease_seconds=30, kill_seconds=4, max_lost_workers=max_lost_workers)


async def test_a_claim_takes_the_oldest_new_run(world: World) -> None:
    first, second = await world.run(), await world.run()
    claimed = await world.store.claim("worker", later(1))
    assert claimed is not None
    assert claimed == await world.store.get_run_by_id(first.id)
    assert (claimed.status, claimed.lease, claimed.lost_workers) == (RunStatus.RUNNING, 1, 0)
    assert (claimed.date_started, claimed.date_runner_ping, claimed.date_updated) == (later(1), later(1), later(1))
    assert claimed.steps == first.steps
    last = (await world.told(first.id))[-1]
    assert (last.number, last.type, last.date) == (2, EventType.RUN_STARTED, later(1))
    assert last.data == {"worker": "worker", "lease": 1}
    other = await world.store.claim("worker", later(1))
    assert other is not None
    assert other.id == second.id
    assert await world.store.claim("worker", later(1)) is None


async def test_a_claim_may_name_its_run(world: World) -> None:
    first, second = await world.run(), await world.run()
    claimed = await world.store.claim("worker", NOW, run_id=second.id)
    assert claimed is not None
    assert claimed.id == second.id
    assert await world.store.claim("other", NOW, run_id=second.id) is None
    assert await world.store.claim("other", NOW, run_id=second.id + 100) is None
    assert (await world.store.get_run_by_id(first.id)).status is RunStatus.NEW


@ENDINGS
async def test_a_finished_run_is_not_claimed(world: World, status: RunStatus) -> None:
    run, fence = await world.claimed()
    await world.store.finish(fence, status, None, NOW)
    assert await world.store.claim("worker", NOW, run_id=run.id) is None
    assert await world.store.claim("worker", NOW) is None


async def test_each_claim_has_the_next_lease(world: World) -> None:
    run, fence = await world.claimed()
    await world.store.release(fence, later(1))
    again = await world.store.claim("other", later(2))
    assert again is not None
    assert (again.id, again.lease, again.lost_workers) == (run.id, 2, 0)
    assert (again.date_started, again.date_runner_ping) == (NOW, later(2))


@pytest.mark.parametrize("name", WRITES)
async def test_a_lease_that_is_not_current_writes_nothing(world: World, name: str) -> None:
    run, old = await world.claimed()
    await world.store.release(old, NOW)
    for stage in ("unclaimed", "claimed by another", "ended"):
        if stage == "claimed by another":
            await world.store.claim("other", NOW)
        if stage == "ended":
            await world.store.finish(Fence(run.id, 2), RunStatus.SUCCESS, None, NOW)
        before, events = await world.store.get_run_by_id(run.id), await world.told(run.id)
        for fence in (old, Fence(run.id, 3), Fence(run.id + 1, 1)):
            with pytest.raises(LeaseLost):
                await WRITES[name](world, run, fence)
        assert await world.store.get_run_by_id(run.id) == before
        assert await world.told(run.id) == events
    assert await world.store.checkpoint(run.id) is None
    assert list(await world.store.artifacts(run.id)) == []


async def test_a_ping_renews_the_lease_and_tells_the_worker_the_news(world: World) -> None:
    run, fence = await world.claimed()
    pulse = await world.store.ping(fence, later(10))
    assert not pulse.is_kill_requested
    assert (await world.store.get_run_by_id(run.id)).date_runner_ping == later(10)
    await world.store.put_run_secrets(run.id, {"git_http": "sealed"}, None, NOW)
    newer = await world.store.ping(fence, later(11))
    assert newer.secrets_version == pulse.secrets_version + 1
    await world.store.request_kill(run.id, NOW)
    assert (await world.store.ping(fence, later(12))).is_kill_requested


async def test_what_is_recorded_is_numbered_in_order(world: World) -> None:
    run, fence = await world.claimed()
    assert await world.store.record(fence, [said("a"), said("b")], later(1)) == 4
    assert await world.store.record(fence, [], later(2)) == 4
    assert await world.store.record(fence, [Draft(EventType.GIT_COMPARED, {"ahead": 1, "behind": 0})], later(3)) == 5
    events = (await world.told(run.id))[2:]
    assert [(event.number, event.date, event.step, event.phase) for event in events] == [
        (3, later(1), 1, Phase.ANALYSIS),
        (4, later(1), 1, Phase.ANALYSIS),
        (5, later(3), None, None),
    ]
    assert [event.data for event in events] == [{"text": "a"}, {"text": "b"}, {"ahead": 1, "behind": 0}]
    stored = await world.store.get_run_by_id(run.id)
    assert (stored.last_event, stored.date_updated) == (5, later(3))


async def test_a_diff_that_was_recorded_stays(world: World) -> None:
    run, fence = await world.claimed()
    assert not run.has_diff
    await world.store.record(fence, [], NOW, has_diff=True)
    await world.store.record(fence, [said("a")], NOW)
    assert (await world.store.get_run_by_id(run.id)).has_diff


async def test_a_step_keeps_what_an_update_leaves_out_and_adds_its_usage(world: World) -> None:
    run, fence = await world.started()
    await world.store.record(
        fence, [], later(1), step=StepUpdate(1, output="first", commit_sha="a" * 40, usage=Usage(1, 2, 0.5, 4))
    )
    await world.store.record(
        fence, [], later(2), step=StepUpdate(1, phase=Phase.VALIDATION, usage=Usage(1, 1, 0.25, 1))
    )
    step = (await world.store.get_run_by_id(run.id)).steps[0]
    assert (step.status, step.phase, step.output, step.commit_sha) == (
        StepStatus.RUNNING,
        Phase.VALIDATION,
        "first",
        "a" * 40,
    )
    assert step.usage == Usage(2, 3, 0.75, 5)
    assert (step.date_started, step.date_completed) == (NOW, None)


async def test_the_next_worker_may_say_again_that_a_step_is_running(world: World) -> None:
    run, fence = await world.started()
    await world.store.release(fence, later(1))
    await world.store.claim("other", later(2))
    await world.store.record(Fence(run.id, 2), [], later(3), step=StepUpdate(1, StepStatus.RUNNING))
    step = (await world.store.get_run_by_id(run.id)).steps[0]
    assert (step.status, step.date_started) == (StepStatus.RUNNING, NOW)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (StepStatus.NOT_STARTED, StepStatus.SUCCESS),
        (StepStatus.NOT_STARTED, StepStatus.FAILED),
        (StepStatus.RUNNING, StepStatus.NOT_STARTED),
        (StepStatus.SUCCESS, StepStatus.RUNNING),
        (StepStatus.SUCCESS, StepStatus.FAILED),
        (StepStatus.FAILED, StepStatus.SUCCESS),
    ],
)
async def test_a_step_makes_no_other_transition(world: World, before: StepStatus, after: StepStatus) -> None:
    run, fence = await world.claimed()
    if before is not StepStatus.NOT_STARTED:
        await world.store.record(fence, [], NOW, step=StepUpdate(1, StepStatus.RUNNING))
    if before not in {StepStatus.NOT_STARTED, StepStatus.RUNNING}:
        await world.store.record(fence, [], NOW, step=StepUpdate(1, before))
    stood, events = await world.store.get_run_by_id(run.id), await world.told(run.id)
    with pytest.raises(Conflict):
        await world.store.record(fence, [said("never told")], later(1), step=StepUpdate(1, after, output="never"))
    assert await world.store.get_run_by_id(run.id) == stood
    assert await world.told(run.id) == events


async def test_a_step_that_there_is_not_is_not_found(world: World) -> None:
    run, fence = await world.claimed()
    for update in (StepUpdate(3, output="x"), StepUpdate(3, StepStatus.RUNNING)):
        with pytest.raises(NotFound):
            await world.store.record(fence, [said("never told")], NOW, step=update)
    assert len(await world.told(run.id)) == 2


@ENDINGS
async def test_an_ending_is_the_last_event_and_leaves_no_secret(world: World, status: RunStatus) -> None:
    run, fence = await world.claimed(a_draft("one"), secrets={"claude": "sealed"})
    await world.store.record(fence, [started(1)], NOW, step=StepUpdate(1, StepStatus.RUNNING))
    await world.store.record(fence, [], NOW, step=StepUpdate(1, StepStatus.SUCCESS))
    await world.store.save_checkpoint(fence, a_checkpoint(run))
    await world.store.finish(fence, status, "because", later(5))
    ended = await world.store.get_run_by_id(run.id)
    assert (ended.status, ended.failure_details) == (status, "because")
    assert (ended.date_completed, ended.date_updated, ended.lease) == (later(5), later(5), 1)
    last = (await world.told(run.id))[-1]
    assert (last.number, last.type, last.date) == (ended.last_event, EventType.RUN_FINISHED, later(5))
    assert last.data == {"status": status, "failureDetails": "because"}
    assert await world.store.run_secrets(run.id) == {}
    assert await world.store.checkpoint(run.id) == a_checkpoint(run)  # a resume goes on from there
    assert ended.steps[0].status is StepStatus.SUCCESS
    assert last.step is None  # no step failed with it


@ENDINGS
async def test_an_ending_fails_the_running_step(world: World, status: RunStatus) -> None:
    run, fence = await world.started()
    await world.store.finish(fence, status, "because", later(5), output="half of it")
    running, untouched = (await world.store.get_run_by_id(run.id)).steps
    assert (running.status, running.failure_details, running.output) == (StepStatus.FAILED, "because", "half of it")
    assert (running.phase, running.date_completed) == (Phase.ANALYSIS, later(5))
    assert (untouched.status, untouched.failure_details) == (StepStatus.NOT_STARTED, None)
    step, end = (await world.told(run.id))[-2:]
    assert (step.type, step.step, step.phase) == (EventType.STEP_FINISHED, 1, Phase.ANALYSIS)
    assert step.data == {"status": StepStatus.FAILED, "failureDetails": "because", "output": None}
    assert (end.type, end.step) == (EventType.RUN_FINISHED, 1)


async def test_an_ending_without_output_keeps_the_steps_own(world: World) -> None:
    run, fence = await world.started()
    await world.store.record(fence, [], NOW, step=StepUpdate(1, output="what it said"))
    await world.store.finish(fence, RunStatus.FAILED, None, NOW)
    assert (await world.store.get_run_by_id(run.id)).steps[0].output == "what it said"


@pytest.mark.parametrize("status", sorted(set(RunStatus) - RUN_TERMINAL))
async def test_nothing_ends_in_a_status_that_is_no_end(world: World, status: RunStatus) -> None:
    run, fence = await world.claimed()
    with pytest.raises(ValueError, match=status):
        await world.store.finish(fence, status, None, NOW)
    assert await world.store.get_run_by_id(run.id) == run


async def test_a_released_run_is_new_again(world: World) -> None:
    run, fence = await world.started()
    await world.store.release(fence, later(3))
    released = await world.store.get_run_by_id(run.id)
    assert (released.status, released.lease, released.lost_workers) == (RunStatus.NEW, 1, 0)
    assert (released.date_updated, released.date_completed) == (later(3), None)
    assert released.steps[0].status is StepStatus.RUNNING  # its next worker goes on with it
    last = (await world.told(run.id))[-1]
    assert (last.type, last.data) == (EventType.RUN_REQUEUED, {"reason": "released", "lease": 1})
    assert await world.store.queue_depth() == 1


async def test_a_released_run_that_is_to_be_killed_is_killed(world: World) -> None:
    run, fence = await world.started()
    await world.store.request_kill(run.id, later(1))
    await world.store.release(fence, later(2))
    assert (await world.store.get_run_by_id(run.id)).status is RunStatus.KILLED
    assert (await world.types(run.id))[-2:] == [EventType.STEP_FINISHED, EventType.RUN_FINISHED]


async def test_killing_a_new_run_ends_it(world: World) -> None:
    run = await world.run(secrets={"claude": "sealed"})
    assert await world.store.request_kill(run.id, later(1)) is RunStatus.KILLED
    killed = await world.store.get_run_by_id(run.id)
    assert (killed.status, killed.date_completed) == (RunStatus.KILLED, later(1))
    assert await world.types(run.id) == [EventType.RUN_CREATED, EventType.RUN_FINISHED]
    assert await world.store.run_secrets(run.id) == {}
    with pytest.raises(AlreadyFinished):
        await world.store.request_kill(run.id, later(2))


async def test_killing_a_new_run_fails_the_step_that_a_lost_worker_left(world: World) -> None:
    run, fence = await world.started()
    await world.store.release(fence, NOW)
    await world.store.request_kill(run.id, later(1))
    assert (await world.store.get_run_by_id(run.id)).steps[0].status is StepStatus.FAILED


async def test_killing_a_running_run_tells_its_worker_once(world: World) -> None:
    run, _ = await world.claimed()
    for seconds in (1, 2, 3):
        assert await world.store.request_kill(run.id, later(seconds)) is RunStatus.RUNNING
    marked = await world.store.get_run_by_id(run.id)
    assert (marked.status, marked.date_kill_requested) == (RunStatus.RUNNING, later(1))
    assert (await world.types(run.id)).count(EventType.RUN_KILL_REQUESTED) == 1


@ENDINGS
async def test_a_finished_run_cannot_be_killed(world: World, status: RunStatus) -> None:
    run, fence = await world.claimed()
    await world.store.finish(fence, status, None, NOW)
    with pytest.raises(AlreadyFinished):
        await world.store.request_kill(run.id, NOW)


async def test_a_run_that_there_is_not_cannot_be_killed(world: World) -> None:
    with pytest.raises(NotFound):
        await world.store.request_kill(77, NOW)


async def test_a_sweep_takes_runs_from_silent_workers(world: World) -> None:
    silent, _ = await world.started()
    _, lively = await world.claimed()
    await world.store.ping(lively, later(1))
    assert await sweep(world, 29.9) == Sweep()
    assert await sweep(world, 30) == Sweep(requeued=(silent.id,))
    requeued = await world.store.get_run_by_id(silent.id)
    assert (requeued.status, requeued.lease, requeued.lost_workers) == (RunStatus.NEW, 1, 1)
    assert requeued.date_updated == later(30)
    last = (await world.told(silent.id))[-1]
    assert (last.type, last.data) == (EventType.RUN_REQUEUED, {"reason": "lease_expired", "lease": 1})
    await world.store.ping(lively, later(30))
    assert await sweep(world, 30) == Sweep()  # announced by whoever saw that sweep
    assert await sweep(world, 33) == Sweep(waiting=(silent.id,))


async def test_a_run_that_lost_too_many_workers_fails_and_says_so(world: World) -> None:
    run, fence = await world.started()
    for lost in (1, 2):
        assert await sweep(world, 40 * lost) == Sweep(requeued=(run.id,))
        await world.store.claim("worker", later(40 * lost))
    assert await sweep(world, 120) == Sweep(failed=(run.id,))
    failed = await world.store.get_run_by_id(run.id)
    assert (failed.status, failed.lost_workers, failed.lease) == (RunStatus.FAILED, 3, 3)
    assert "3 workers were lost" in (failed.failure_details or "")
    assert failed.steps[0].failure_details == failed.failure_details
    assert (await world.types(run.id))[-2:] == [EventType.STEP_FINISHED, EventType.RUN_FINISHED]
    with pytest.raises(LeaseLost):
        await world.store.ping(fence, later(121))


async def test_a_step_that_is_done_lets_lost_workers_count_anew_and_nothing_less_does(world: World) -> None:
    run, _ = await world.started()
    assert await sweep(world, 40) == Sweep(requeued=(run.id,))
    again = await world.store.claim("worker", later(40))
    assert again is not None
    fence = Fence(run.id, again.lease)
    await world.store.record(fence, (), later(41), step=StepUpdate(1, status=StepStatus.RUNNING))
    await world.store.record(fence, (), later(41), step=StepUpdate(1, phase=Phase.VALIDATION, commit_sha="a" * 40))
    assert (await world.store.get_run_by_id(run.id)).lost_workers == 1
    await world.store.record(fence, (), later(42), step=StepUpdate(1, status=StepStatus.SUCCESS))
    assert (await world.store.get_run_by_id(run.id)).lost_workers == 0


async def test_a_sweep_kills_what_its_worker_does_not_kill(world: World) -> None:
    run, fence = await world.started()
    await world.store.request_kill(run.id, later(1))
    await world.store.ping(fence, later(4.9))
    assert await sweep(world, 4.9) == Sweep()
    assert await sweep(world, 5) == Sweep(killed=(run.id,))
    killed = await world.store.get_run_by_id(run.id)
    assert (killed.status, killed.lost_workers, killed.steps[0].status) == (RunStatus.KILLED, 0, StepStatus.FAILED)
    with pytest.raises(LeaseLost):
        await world.store.record(fence, [said("late")], later(6))


async def test_a_run_to_be_killed_is_not_given_to_another_worker(world: World) -> None:
    run, _ = await world.claimed()
    await world.store.request_kill(run.id, later(29))
    assert await sweep(world, 30) == Sweep(killed=(run.id,))


async def test_a_sweep_names_what_waits_unclaimed(world: World) -> None:
    waiting = [(await world.run()).id for _ in range(3)]
    await world.claimed()
    assert await sweep(world, 2.9) == Sweep()
    assert await sweep(world, 3) == Sweep(waiting=tuple(waiting))


async def test_many_sweeps_at_once_change_each_run_once(world: World) -> None:
    runs = [(await world.claimed())[0].id for _ in range(10)]
    swept = await asyncio.gather(*(sweep(world, 60) for _ in range(6)))
    assert sorted(run_id for one in swept for run_id in one.requeued) == runs
    for run_id in runs:
        assert (await world.types(run_id)).count(EventType.RUN_REQUEUED) == 1
        assert (await world.store.get_run_by_id(run_id)).lost_workers == 1


async def test_an_unknown_run_has_no_events(world: World) -> None:
    assert list(await world.store.events(uuid4().int % 1000 + 1000)) == []


async def test_the_database_tells_its_time_where_it_has_one_of_its_own(world: World) -> None:
    before = datetime.now(UTC)
    told = await world.store.time()
    assert (told is None) == world.url.startswith("sqlite")
    assert told is None or abs((told - before).total_seconds()) < 60
