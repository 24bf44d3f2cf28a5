"""Runs, made and read: what `ports.RunStore` promises, on each database."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from tests.support.stores import NOW, World, a_draft, later, started

from treadle.domain.errors import IdempotencyMismatch, NotFound
from treadle.domain.events import EventType
from treadle.domain.repository import Repository
from treadle.domain.run import EngineName, RunDraft, StepDraft, StoredFile, StructuredOutput, Usage
from treadle.domain.states import Phase, RunStatus, StepStatus
from treadle.domain.validation import CommandResult, ValidationRules
from treadle.ports import Idempotency, RunFilter, StepUpdate

pytestmark = pytest.mark.anyio


def key(name: str, digest: str = "digest", *, not_before: float = -86_400) -> Idempotency:
    return Idempotency(name, digest, later(not_before))


async def test_a_new_run_is_read_as_it_was_answered(world: World) -> None:
    repository = await world.store.add_repository(
        Repository(0, uuid4(), world.principal.organization_id, "group/project", "https://x", "main", NOW), {}
    )
    file = StoredFile(
        uuid4(), world.principal.organization_id, world.principal.user_id, "a.txt", "text/plain", 3, "00", NOW
    )
    await world.store.add_file(file)
    draft = RunDraft(
        git_url="git@git.example.org:group/project.git",
        branch_source="main",
        branch_work="wörk/☃",
        steps=(StepDraft("Look around", is_commitable=False, is_structured=True), StepDraft("Do it 🧵")),
        code_guidelines="Tabs.\nNo, spaces.",
        file_ids=(file.id,),
        generate_diff=True,
        engine=EngineName.KIMI,
        model="some-model",
        repository_id=repository.id,
    )
    uuid, step_ids = uuid4(), [uuid4(), uuid4()]

    run, is_new = await world.store.create_run(
        draft, world.principal, uuid=uuid, step_ids=step_ids, secrets={"claude": "sealed"}, now=NOW
    )

    assert is_new
    assert run == await world.store.get_run(uuid, world.mine)
    assert run == await world.store.get_run_by_id(run.id)
    assert (run.uuid, run.status, run.lease, run.last_event) == (uuid, RunStatus.NEW, 0, 1)
    assert [run.git_url, run.branch_source, run.branch_work, run.code_guidelines] == [
        draft.git_url,
        draft.branch_source,
        draft.branch_work,
        draft.code_guidelines,
    ]
    assert (run.file_ids, run.generate_diff, run.engine, run.model, run.repository_id) == (
        (file.id,),
        True,
        EngineName.KIMI,
        "some-model",
        repository.id,
    )
    assert (run.organization_uuid, run.user_uuid) == (world.principal.organization_uuid, world.principal.user_uuid)
    assert (run.date_created, run.date_updated) == (NOW, NOW)
    assert [(step.id, step.position, step.text, step.status) for step in run.steps] == [
        (step_ids[0], 1, "Look around", StepStatus.NOT_STARTED),
        (step_ids[1], 2, "Do it 🧵", StepStatus.NOT_STARTED),
    ]
    assert [(step.is_commitable, step.is_structured) for step in run.steps] == [(False, True), (True, False)]
    assert await world.store.run_secrets(run.id) == {"claude": "sealed"}
    (event,) = await world.told(run.id)
    assert (event.number, event.type, event.date) == (1, EventType.RUN_CREATED, NOW)
    assert event.data == {"steps": 2, "engine": "Kimi"}


async def test_text_that_a_database_refuses_is_stored_all_the_same(world: World) -> None:
    run = await world.run(a_draft("nul \0 and half a pair \ud83e end"))
    assert run.steps[0].text == "nul \ufffd and half a pair \ufffd end"
    assert run == await world.store.get_run_by_id(run.id)


async def test_a_step_is_read_with_everything_that_was_recorded(world: World) -> None:
    run, fence = await world.claimed()
    answer = StructuredOutput("done", "hm", True, False, True)
    await world.store.record(fence, [started(2)], later(1), step=StepUpdate(2, StepStatus.RUNNING, Phase.ANALYSIS))
    await world.store.record(
        fence,
        [],
        later(2),
        step=StepUpdate(
            2,
            StepStatus.SUCCESS,
            Phase.VALIDATION,
            output="all good",
            structured_output=answer,
            commit_sha="f" * 40,
            usage=Usage(10, 20, 0.25, 3000),
        ),
    )
    first, second = (await world.store.get_run(run.uuid, world.mine)).steps
    assert first == run.steps[0]
    assert second == replace(
        run.steps[1],
        status=StepStatus.SUCCESS,
        phase=Phase.VALIDATION,
        output="all good",
        structured_output=answer,
        commit_sha="f" * 40,
        date_started=later(1),
        date_completed=later(2),
        usage=Usage(10, 20, 0.25, 3000),
    )


async def test_a_run_is_hidden_from_those_who_may_not_see_it(world: World) -> None:
    run = await world.run()
    stranger, colleague = await world.stranger(), await world.somebody()
    seen = await world.store.get_run(run.uuid, world.organization)
    assert seen == run
    for filter_ in (
        RunFilter(stranger.organization_id),
        RunFilter(run.organization_id, colleague.user_id),
        RunFilter(run.organization_id, statuses=frozenset({RunStatus.FAILED})),
    ):
        with pytest.raises(NotFound):
            await world.store.get_run(run.uuid, filter_)
    with pytest.raises(NotFound):
        await world.store.get_run(uuid4(), world.organization)
    with pytest.raises(NotFound):
        await world.store.get_run_by_id(run.id + 1)


async def test_a_run_with_an_unknown_file_is_not_made_at_all(world: World) -> None:
    with pytest.raises(NotFound):
        await world.run(a_draft(file_ids=(uuid4(),)))
    assert await world.store.list_runs(world.organization, limit=10) == ()
    assert await world.store.queue_depth() == 0


async def test_a_repeated_key_answers_the_same_run(world: World) -> None:
    first = await world.run(idempotency=key("one"))
    again, is_new = await world.store.create_run(
        a_draft(),
        world.principal,
        uuid=uuid4(),
        step_ids=[uuid4(), uuid4()],
        secrets={},
        now=later(5),
        idempotency=key("one"),
    )
    assert (again, is_new) == (first, False)
    assert len(await world.store.list_runs(world.mine, limit=10)) == 1


async def test_a_repeated_key_answers_the_run_as_it_stands(world: World) -> None:
    made, _ = await world.claimed(idempotency=key("one"))
    assert await world.run(idempotency=key("one")) == await world.store.get_run_by_id(made.id)


async def test_a_key_with_another_request_is_refused(world: World) -> None:
    await world.run(idempotency=key("one"))
    with pytest.raises(IdempotencyMismatch):
        await world.run(idempotency=key("one", "another"))
    assert await world.store.queue_depth() == 1


async def test_a_key_belongs_to_its_user(world: World) -> None:
    colleague = await world.somebody()
    mine = await world.run(idempotency=key("one"))
    theirs = await world.run(principal=colleague, idempotency=key("one", "another"))
    assert mine.id != theirs.id


async def test_an_old_key_is_forgotten_and_taken_anew(world: World) -> None:
    first = await world.run(idempotency=key("one"))
    second = await world.run(now=later(100), idempotency=key("one", "another", not_before=1))
    assert first.id != second.id
    assert await world.run(now=later(101), idempotency=key("one", "another")) == second


async def test_a_key_is_looked_at_and_not_taken(world: World) -> None:
    assert await world.store.key_use(world.principal, key("one")) is None
    made = await world.run(idempotency=key("one"))
    assert await world.store.key_use(world.principal, key("one")) == made.uuid
    assert await world.store.key_use(await world.somebody(), key("one")) is None
    assert await world.store.key_use(world.principal, key("one", "another", not_before=1)) is None, "forgotten"
    with pytest.raises(IdempotencyMismatch):
        await world.store.key_use(world.principal, key("one", "another"))


async def test_a_key_whose_run_failed_to_be_made_is_free(world: World) -> None:
    with pytest.raises(NotFound):
        await world.run(a_draft(file_ids=(uuid4(),)), idempotency=key("one"))
    await world.run(idempotency=key("one", "another"))


async def test_of_many_at_once_with_one_key_one_makes_the_run(world: World) -> None:
    answers = await asyncio.gather(*(world.run(idempotency=key("one")) for _ in range(30)))
    assert len({run.id for run in answers}) == 1
    assert await world.store.queue_depth() == 1


async def test_lists_are_newest_first_without_outputs(world: World) -> None:
    old, fence = await world.started()
    answer = StructuredOutput("a", "b", True, True, False)
    update = StepUpdate(1, StepStatus.SUCCESS, output="long", structured_output=answer)
    await world.store.record(fence, [], later(1), step=update)
    new = await world.run()
    listed_new, listed_old = await world.store.list_runs(world.mine, limit=10)
    assert listed_new == new
    whole = await world.store.get_run_by_id(old.id)
    assert whole.steps[0].output == "long"
    bare = replace(whole.steps[0], output=None, structured_output=None)
    assert listed_old == replace(whole, steps=(bare, whole.steps[1]))


async def test_lists_are_paged_by_key_and_by_skipping(world: World) -> None:
    made = [(await world.run()).id for _ in range(7)]
    newest = made[::-1]

    async def page(*, limit: int, before: int | None = None, skip: int = 0) -> list[int]:
        return [run.id for run in await world.store.list_runs(world.mine, limit=limit, before=before, skip=skip)]

    assert await page(limit=3) == newest[:3]
    assert await page(limit=3, before=newest[2]) == newest[3:6]
    assert await page(limit=3, before=newest[5]) == newest[6:]
    assert await page(limit=3, skip=2) == newest[2:5]
    assert await page(limit=3, before=newest[1], skip=3) == newest[5:]
    assert await page(limit=10, skip=7) == []
    assert await page(limit=0) == []
    assert await page(limit=1000) == newest


async def test_lists_hold_what_the_filter_names(world: World) -> None:
    colleague, stranger = await world.somebody(), await world.stranger()
    theirs, foreign = await world.run(principal=colleague), await world.run(principal=stranger)
    new = await world.run()
    running, _ = await world.claimed()
    ended = []
    for status in (RunStatus.SUCCESS, RunStatus.FAILED, RunStatus.KILLED):
        run, fence = await world.claimed()
        await world.store.finish(fence, status, None, NOW)
        ended.append(run.id)

    async def ids(which: RunFilter) -> list[int]:
        return [run.id for run in await world.store.list_runs(which, limit=100)]

    mine = sorted([new.id, running.id, *ended], reverse=True)
    assert await ids(world.mine) == mine
    assert await ids(world.organization) == sorted([*mine, theirs.id], reverse=True)
    assert await ids(RunFilter(stranger.organization_id)) == [foreign.id]
    of_mine = replace(world.mine, statuses=frozenset({RunStatus.NEW, RunStatus.RUNNING}))
    assert await ids(of_mine) == [running.id, new.id]
    assert await ids(replace(world.organization, statuses=frozenset({RunStatus.NEW}))) == [new.id, theirs.id]
    assert await ids(replace(world.mine, statuses=frozenset({RunStatus.FAILED}))) == [ended[1]]
    assert await ids(replace(world.mine, statuses=frozenset())) == []
    assert await ids(RunFilter(world.principal.organization_id, stranger.user_id)) == []


async def test_a_page_has_the_steps_of_each_of_its_runs(world: World) -> None:
    made = [await world.run(a_draft(*(f"step {number}" for number in range(count)))) for count in (1, 5, 2, 20, 3)]
    assert await world.store.list_runs(world.mine, limit=10) == tuple(reversed(made))


async def test_the_queue_is_as_deep_as_there_are_new_runs(world: World) -> None:
    assert await world.store.queue_depth() == 0
    for _ in range(3):
        await world.run()
    await world.claimed()
    assert await world.store.queue_depth() == 3


async def test_an_idempotency_key_is_swept_away_in_the_end(world: World) -> None:
    await world.run(idempotency=key("one"))
    await world.store.sweep(NOW + timedelta(days=8), lease_seconds=30, kill_seconds=4, max_lost_workers=3)
    first = await world.store.list_runs(world.mine, limit=10)
    second = await world.run(idempotency=key("one", "another"))
    assert second.id != first[0].id


async def test_validation_rules_and_results_are_kept(world: World) -> None:
    rules = ValidationRules(("make lint", "make test ☃"), 2)
    run, fence = await world.claimed(replace(a_draft("one"), validation=rules))
    assert run.validation == rules
    results = (
        CommandResult("make lint", 0, None, "", 3, 1),
        CommandResult("make test ☃", None, "it took too long", "…☃\n", 9, 1),
    )
    update = StepUpdate(1, StepStatus.RUNNING, validation=results)
    await world.store.record(fence, [], NOW, step=update)
    await world.store.record(fence, [], NOW, step=StepUpdate(1, phase=Phase.VALIDATION))
    found = await world.store.get_run_by_id(run.id)
    assert found.validation == rules
    assert found.steps[0].validation == results, "what is not said stays"
    [listed] = await world.store.list_runs(world.mine, limit=10)
    assert listed.steps[0].validation == ()


async def test_a_repositorys_validation_rules_are_kept(world: World) -> None:
    rules = ValidationRules(("make test",), 0)
    made = await world.store.add_repository(
        Repository(0, uuid4(), world.principal.organization_id, "a/b", "https://x", "main", NOW, validation=rules), {}
    )
    assert (await world.store.repository(made.organization_id, made.id)).validation == rules
    await world.store.update_repository(replace(made, validation=None), None, NOW)
    assert (await world.store.repository(made.organization_id, made.id)).validation is None
