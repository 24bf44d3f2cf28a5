"""Resumes: what `ports.RunStore.resume_run` promises, and what an end makes of a follow-up that waits."""

import asyncio
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from tests.support.stores import NOW, World, a_draft, later, started

from treadle.domain.errors import AllowanceUsedUp, Conflict, IdempotencyMismatch, NotFound
from treadle.domain.events import EventType
from treadle.domain.run import Checkpoint, EngineName, FollowUp, Run, StoredFile
from treadle.domain.states import RUN_TERMINAL, Phase, RunStatus, StepStatus
from treadle.ports import Fence, Idempotency, StepUpdate

pytestmark = pytest.mark.anyio

ENDINGS = pytest.mark.parametrize("status", sorted(RUN_TERMINAL))


async def resume(
    world: World, run: Run, text: str = "And more", *, step_id: UUID | None = None, most_steps: int = 9
) -> Run:
    return await world.store.resume_run(
        run.id,
        FollowUp(text),
        step_id=step_id or uuid4(),
        secrets={"git_http": "sealed again"},
        now=later(60),
        most_steps=most_steps,
    )


async def ended(world: World, status: RunStatus, *, branch: str | None = None) -> Run:
    """A run of one step, over."""
    run, fence = await world.claimed(a_draft("one", branch=branch), secrets={"claude": "sealed"})
    await world.store.record(fence, [started(1)], NOW, step=StepUpdate(1, StepStatus.RUNNING))
    if status is RunStatus.SUCCESS:
        await world.store.record(fence, [], NOW, step=StepUpdate(1, StepStatus.SUCCESS, output="done"))
    kept = Checkpoint(run.id, 1, Phase.VALIDATION, "talk", EngineName.DUMMY, "blob/talk", None, "a" * 40, size=7)
    await world.store.save_checkpoint(fence, kept)
    await world.store.finish(fence, status, None if status is RunStatus.SUCCESS else "because", later(5))
    return await world.store.get_run_by_id(run.id)


async def test_a_repeat_with_its_key_adds_no_step(world: World) -> None:
    run, _ = await world.started()

    async def again(digest: str = "digest", *, not_before: float = 0) -> Run:
        return await world.store.resume_run(
            run.id,
            FollowUp("And more"),
            step_id=uuid4(),
            secrets={},
            now=later(60),
            most_steps=9,
            asked_by=world.principal,
            idempotency=Idempotency("key", digest, later(not_before)),
        )

    at_once = await asyncio.gather(*(again() for _ in range(5)))
    assert [[step.position for step in one.steps] for one in at_once] == [[1, 2, 3]] * 5
    with pytest.raises(IdempotencyMismatch):
        await again("another")
    assert (await world.types(run.id)).count(EventType.RUN_RESUMED) == 1
    assert len((await again("another", not_before=61)).steps) == 4, "an old use is forgotten"


@ENDINGS
async def test_a_run_that_has_ended_begins_anew_with_its_next_step(world: World, status: RunStatus) -> None:
    before = await ended(world, status)
    run = await resume(world, before)
    assert (run.status, run.failure_details, run.date_completed) == (RunStatus.NEW, None, None)
    assert (run.first_step, run.lease, run.lost_workers) == (2, 1, 0)
    assert (run.date_created, run.date_started) == (before.date_created, before.date_started)
    assert run.steps[0] == before.steps[0]
    added = run.steps[1]
    assert (added.position, added.text, added.is_commitable, added.is_follow_up) == (2, "And more", True, True)
    assert run.steps_to_do == (added,)
    assert await world.store.run_secrets(run.id) == {"git_http": "sealed again"}
    kept = await world.store.checkpoint(run.id)
    assert kept is not None
    assert (kept.session, kept.size, kept.is_phase_done) == ("talk", 7, True)
    last = (await world.told(run.id))[-1]
    assert (last.type, last.step, last.data) == (EventType.RUN_RESUMED, 2, {"text": "And more"})
    claimed = await world.store.claim("other", later(61))
    assert claimed is not None
    assert (claimed.id, claimed.lease) == (run.id, 2)


async def test_a_killed_run_that_is_resumed_is_not_killed_again(world: World) -> None:
    run, fence = await world.started()
    await world.store.request_kill(run.id, NOW)
    with pytest.raises(Conflict, match="being killed"):
        await resume(world, run)
    await world.store.finish(fence, RunStatus.KILLED, None, NOW)
    await resume(world, run)
    claimed = await world.store.claim("other", later(61))
    assert claimed is not None
    pulse = await world.store.ping(Fence(run.id, claimed.lease), later(61))
    assert pulse.is_kill_requested is False


async def test_a_follow_up_waits_behind_the_step_that_is_running(world: World) -> None:
    run, fence = await world.started()
    resumed = await resume(world, run)
    assert (resumed.status, resumed.lease, resumed.first_step) == (RunStatus.RUNNING, 1, 1)
    assert [step.position for step in resumed.steps_to_do] == [1, 2, 3]
    await world.store.ping(fence, later(1))  # its worker has it still
    for position in (1, 2):
        if position > 1:
            await world.store.record(fence, [started(position)], NOW, step=StepUpdate(position, StepStatus.RUNNING))
        await world.store.record(fence, [], NOW, step=StepUpdate(position, StepStatus.SUCCESS))
    assert await world.store.finish(fence, RunStatus.SUCCESS, None, later(70)) is RunStatus.NEW
    waiting = await world.store.get_run_by_id(run.id)
    assert (waiting.status, waiting.date_completed) == (RunStatus.NEW, None)
    assert [step.position for step in waiting.steps_to_do] == [3]
    last = (await world.told(run.id))[-1]
    assert (last.type, last.data) == (EventType.RUN_REQUEUED, {"reason": "follow_up", "lease": 1})
    assert EventType.RUN_FINISHED not in await world.types(run.id)


async def test_a_follow_up_is_done_though_the_step_before_failed(world: World) -> None:
    run, fence = await world.started()
    await resume(world, run)
    assert await world.store.finish(fence, RunStatus.FAILED, "the model is away", later(70)) is RunStatus.NEW
    waiting = await world.store.get_run_by_id(run.id)
    failed, skipped, follow_up = waiting.steps
    assert (failed.status, failed.failure_details) == (StepStatus.FAILED, "the model is away")
    assert skipped.status is StepStatus.NOT_STARTED
    assert waiting.steps_to_do == (follow_up,)
    claimed = await world.store.claim("other", later(71))
    assert claimed is not None
    again = Fence(claimed.id, claimed.lease)
    await world.store.record(again, [started(3)], NOW, step=StepUpdate(3, StepStatus.RUNNING))
    await world.store.record(again, [], NOW, step=StepUpdate(3, StepStatus.SUCCESS))
    assert await world.store.finish(again, RunStatus.SUCCESS, None, later(80)) is RunStatus.SUCCESS


async def test_a_failure_that_is_no_steps_ends_the_run_whatever_waits(world: World) -> None:
    run, fence = await world.claimed()
    await resume(world, run)
    assert await world.store.finish(fence, RunStatus.FAILED, "no such repository", NOW) is RunStatus.FAILED


async def test_a_failure_after_the_steps_is_told_and_gone_on_from(world: World) -> None:
    run, fence = await world.started()
    await world.store.record(fence, [], NOW, step=StepUpdate(1, StepStatus.SUCCESS))
    await resume(world, run)
    became = await world.store.finish(fence, RunStatus.FAILED, "no commands in it", NOW, is_after_steps=True)
    assert became is RunStatus.NEW
    last = (await world.told(run.id))[-1]
    assert last.data == {"reason": "follow_up", "lease": 1, "failureDetails": "no commands in it"}


async def test_a_kill_ends_the_run_whatever_waits(world: World) -> None:
    run, fence = await world.started()
    await resume(world, run)
    await world.store.request_kill(run.id, NOW)
    assert await world.store.finish(fence, RunStatus.SUCCESS, None, NOW) is RunStatus.KILLED
    later_on = await resume(world, run)
    assert [step.position for step in later_on.steps_to_do] == [4]  # what waited when it was killed is not done


async def test_a_repeated_resume_adds_one_step(world: World) -> None:
    run, step_id = await ended(world, RunStatus.FAILED), uuid4()
    first = await resume(world, run, step_id=step_id)
    assert await resume(world, run, step_id=step_id) == first


async def test_two_resumes_at_once_are_two_steps(world: World) -> None:
    run = await ended(world, RunStatus.SUCCESS)
    await asyncio.gather(*(resume(world, run, f"step {number}") for number in range(4)))
    found = await world.store.get_run_by_id(run.id)
    assert [step.position for step in found.steps] == [1, 2, 3, 4, 5]
    assert (found.first_step, found.status) == (2, RunStatus.NEW)
    assert (await world.types(run.id)).count(EventType.RUN_RESUMED) == 4


async def test_a_resume_that_meets_the_end_is_never_lost(world: World) -> None:
    for number in range(8):
        run, fence = await world.started()
        await world.store.record(fence, [], NOW, step=StepUpdate(1, StepStatus.SUCCESS))
        await asyncio.gather(resume(world, run), world.store.finish(fence, RunStatus.SUCCESS, None, NOW))
        found = await world.store.get_run_by_id(run.id)
        assert found.status is RunStatus.NEW, number
        assert found.steps_to_do[-1].text == "And more"


async def test_a_run_takes_so_many_steps_and_no_more(world: World) -> None:
    run = await ended(world, RunStatus.SUCCESS)
    await resume(world, run, most_steps=2)
    with pytest.raises(Conflict, match="2 steps already"):
        await resume(world, run, most_steps=2)
    with pytest.raises(NotFound):
        await resume(world, replace(run, id=run.id + 99))


async def test_a_resumed_run_waits_for_its_branch(world: World) -> None:
    first = await ended(world, RunStatus.SUCCESS, branch="shared")
    second, fence = await world.claimed(a_draft("two", branch="shared"))
    resumed = await resume(world, first)
    assert resumed.is_blocked
    assert await world.store.claim("other", later(61)) is None
    await world.store.finish(fence, RunStatus.SUCCESS, None, later(62))
    claimed = await world.store.claim("other", later(63))
    assert claimed is not None
    assert (claimed.id, second.id) == (first.id, first.id + 1)


async def test_a_resume_brings_its_files(world: World) -> None:
    run = await ended(world, RunStatus.SUCCESS)
    owner = world.principal
    file = StoredFile(uuid4(), owner.organization_id, owner.user_id, "a.png", "image/png", 3, "0" * 64, NOW)
    await world.store.add_file(file)
    follow_up = FollowUp("Like this", file_ids=(file.id,))
    secrets: dict[str, str] = {}
    resumed = await world.store.resume_run(run.id, follow_up, step_id=uuid4(), secrets=secrets, now=NOW, most_steps=9)
    assert resumed.steps[1].file_ids == (file.id,)
    with pytest.raises(Conflict):
        await world.store.delete_file(file.id, owner.organization_id, owner.user_id)
    gone = FollowUp("Like that", file_ids=(uuid4(),))
    with pytest.raises(NotFound, match="does not exist any more"):
        await world.store.resume_run(run.id, gone, step_id=uuid4(), secrets=secrets, now=NOW, most_steps=9)


async def test_a_branch_is_named_by_the_run(world: World) -> None:
    draft = replace(a_draft("one"), branch_work="", branch_words="add-error-handling", metadata={"ticket": ["A", 1]})
    run = await world.run(draft)
    assert run.branch_work == f"treadle/{run.id}-add-error-handling"
    assert await world.store.get_run_by_id(run.id) == run
    assert run.metadata == {"ticket": ["A", 1]}
    other = await world.run(a_draft("two", branch=run.branch_work))
    assert other.is_blocked
    assert [one.id for one in await world.store.list_runs(world.mine, limit=5, with_outputs=True)] == [other.id, run.id]
    assert await world.store.count_runs(world.mine) == 2


async def test_an_organization_makes_so_many_runs_a_month(world: World) -> None:
    async def create(seconds: float) -> Run:
        run, _ = await world.store.create_run(
            a_draft("one"),
            world.principal,
            uuid=uuid4(),
            step_ids=[uuid4()],
            secrets={},
            now=later(seconds),
            monthly_runs=3,
        )
        return run

    done = await asyncio.gather(*(create(number) for number in range(5)), return_exceptions=True)
    assert sorted(type(one).__name__ for one in done) == ["AllowanceUsedUp"] * 2 + ["Run"] * 3
    with pytest.raises(AllowanceUsedUp):
        await create(10)
    await create(31 * 86_400)  # the next month
    assert await world.store.count_runs(world.mine) == 4
