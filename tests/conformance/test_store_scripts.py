"""Scripts: each save a version, each run once, each answer in the journal once."""

import asyncio
from uuid import uuid4

import pytest
from tests.support.stores import NOW, World, later

from treadle.domain.errors import Conflict, IdempotencyMismatch, NotFound
from treadle.domain.script_runs import Script, ScriptRun, ScriptRunDraft, ScriptRunStatus
from treadle.ports import Idempotency
from treadle.ports.chores import ChoreKind
from treadle.ports.script_runs import ScriptFilter
from treadle.ports.scripting import Answer, ScriptLine

pytestmark = pytest.mark.anyio

KINDS = frozenset({ChoreKind.SCRIPT})


def mine(world: World) -> ScriptFilter:
    return ScriptFilter(world.principal.organization_id, world.principal.user_id)


async def saved(world: World, source: str = "x = 1", name: str = "night", keep: int = 9, most: int = 9) -> Script:
    return await world.store.save_script(
        world.principal, name, source, description=None, uuid=uuid4(), now=NOW, keep=keep, most=most
    )


async def added(world: World, *, most: int = 9, keep: int = 9, key: Idempotency | None = None) -> ScriptRun:
    draft = ScriptRunDraft("night", "x = 1", {"a": ["b", 1]})
    run, _ = await world.store.add_script_run(
        draft, world.principal, uuid=uuid4(), now=NOW, keep=keep, most_alive=most, idempotency=key
    )
    return run


async def is_due(world: World) -> bool:
    chore = await world.store.claim_chore("worker", later(1), lease_seconds=30, kinds=KINDS)
    if chore is None:
        return False
    await world.store.end_chore(chore, again=None)
    return True


async def test_each_save_is_a_version_of_which_the_last_are_kept(world: World) -> None:
    store = world.store
    first = await saved(world)
    assert (first.version, first.user_id) == (1, world.principal.user_id)
    assert (await saved(world)).version == 1, "the same source is no version"
    for number in range(2, 6):
        assert (await saved(world, f"x = {number}", keep=3)).version == number
    assert [each.version for each in await store.script_versions(first.id)] == [5, 4, 3]
    assert (await store.script_version(first.id, 4)).source == "x = 4"
    with pytest.raises(NotFound):
        await store.script_version(first.id, 2)
    assert (await store.script("night", mine(world))).version == 5
    assert (await store.script(first.id, mine(world))).name == "night"


async def test_saves_at_once_are_versions_one_after_another(world: World) -> None:
    made = await asyncio.gather(*(saved(world, f"x = {at}") for at in range(5)))
    assert sorted(each.version for each in made) == [1, 2, 3, 4, 5]
    assert len({each.id for each in made}) == 1


async def test_of_saves_over_one_version_at_once_one_is_kept_and_the_others_are_told(world: World) -> None:
    async def over(version: int, source: str, description: str | None = None) -> Script:
        return await world.store.save_script(
            world.principal,
            "night",
            source,
            description=description,
            uuid=uuid4(),
            now=NOW,
            keep=9,
            most=9,
            if_version=version,
        )

    for version in (0, 1):
        tries = [over(version, f"x = {version}{at}") for at in range(5)]
        made = await asyncio.gather(*tries, return_exceptions=True)
        (kept,) = [each for each in made if isinstance(each, Script)]
        assert kept.version == version + 1
        assert all(isinstance(each, Conflict) for each in made if each is not kept), made
    newest = (await world.store.script_version(kept.id, 2)).source
    assert (await over(1, newest)).version == 2, "it is as it is to be: the answer got lost"
    with pytest.raises(Conflict, match="has version 2"):
        await over(1, newest, "Another description")
    tries = [over(2, newest, f"Description {at}") for at in range(5)]
    made = await asyncio.gather(*tries, return_exceptions=True)
    (kept,) = [each for each in made if isinstance(each, Script)]
    assert all(isinstance(each, Conflict) for each in made if each is not kept), made
    assert (await over(2, newest, kept.description)) == kept, "the answer got lost"
    assert (kept.version, (await world.store.script_version(kept.id, 3)).source) == (3, newest)
    await world.store.archive_script(kept.id, NOW)
    with pytest.raises(Conflict, match="no script of that name"):
        await over(3, "x = 3")
    with pytest.raises(Conflict, match="no script of that name"):
        await over(3, newest)
    assert (await over(0, "x = 3")).version == 4


async def test_of_many_that_are_saved_at_once_an_organization_keeps_its_most(world: World) -> None:
    first = await saved(world, name="first")
    tries = [saved(world, name=f"script {at}", most=3) for at in range(8)]
    made = await asyncio.gather(*tries, return_exceptions=True)
    kept = [each for each in made if isinstance(each, Script)]
    assert len(kept) == 2
    assert all(isinstance(each, Conflict) for each in made if each not in kept), made
    assert (await saved(world, "x = 2", "first", most=3)).version == 2, "it is none more"
    await world.store.archive_script(first.id, NOW)
    await saved(world, name="another", most=3)
    with pytest.raises(Conflict, match="has 3 scripts already"):
        await saved(world, "x = 2", "first", most=3)


async def test_an_archived_one_is_not_listed_until_it_is_saved_again(world: World) -> None:
    script = await saved(world)
    assert await world.store.archive_script(script.id, NOW)
    assert not await world.store.archive_script(script.id, NOW)
    assert await world.store.scripts(mine(world)) == ()
    assert (await world.store.script("night", mine(world))).is_archived
    again = await saved(world, "x = 2")
    assert (again.id, again.version, again.is_archived) == (script.id, 2, False)
    assert [each.id for each in await world.store.scripts(mine(world))] == [script.id]


async def test_what_is_anothers_is_not_found(world: World) -> None:
    script, run = await saved(world), await added(world)
    stranger, colleague = await world.stranger(), await world.somebody()
    for principal in (stranger, colleague):
        seen_by = ScriptFilter(principal.organization_id, principal.user_id)
        with pytest.raises(NotFound):
            await world.store.script(script.id, seen_by)
        with pytest.raises(NotFound):
            await world.store.script_run(run.id, seen_by)
        assert await world.store.scripts(seen_by) == ()
        assert await world.store.script_runs(seen_by, limit=9) == ()
    everybodys = ScriptFilter(world.principal.organization_id)
    assert (await world.store.script_run(run.uuid, everybodys)).id == run.id


async def test_a_run_begins_new_with_its_chore_due_and_ends_once(world: World) -> None:
    store, run = world.store, await added(world)
    assert (run.status, run.inputs, run.source, run.outputs) == (ScriptRunStatus.NEW, {"a": ["b", 1]}, "x = 1", None)
    assert await is_due(world)
    assert await store.begin_script_run(run.id, later(1))
    assert await store.begin_script_run(run.id, later(2)), "once more, by another process"
    await store.wait_script_run(run.id, {"call": 1})
    waiting = await store.script_run(run.id, mine(world))
    assert (waiting.status, waiting.date_started, waiting.waits_for) == (
        ScriptRunStatus.RUNNING,
        later(1),
        {"call": 1},
    )
    assert await store.end_script_run(run.id, ScriptRunStatus.SUCCESS, later(3), outputs={"ok": [True, None]})
    assert not await store.end_script_run(run.id, ScriptRunStatus.KILLED, later(4))
    assert not await store.begin_script_run(run.id, later(5))
    ended = await store.script_run_by_id(run.id)
    assert (ended.status, ended.outputs, ended.waits_for) == (ScriptRunStatus.SUCCESS, {"ok": [True, None]}, None)
    assert ended.date_completed == later(3)


async def test_a_call_is_answered_once(world: World) -> None:
    store, run = world.store, await added(world)
    await store.begin_script_run(run.id, NOW)
    first = Answer(1, "codegeneration.start", "d1", {"id": "one \0 \ud800"})
    assert await store.answer_call(run.id, first, {"steps": ["a"]}, NOW) == first
    other = Answer(1, "codegeneration.start", "d1", {"id": "two"})
    assert await store.answer_call(run.id, other, {}, NOW) == first, "of two executions at once, one's counts"
    await store.answer_call(run.id, Answer(2, "codegeneration.await", "d2", None), {}, NOW)
    assert [each.number for each in await store.journal(run.id)] == [1, 2]
    assert (await store.script_run_by_id(run.id)).calls == 2
    await store.end_script_run(run.id, ScriptRunStatus.KILLED, NOW)
    assert await store.answer_call(run.id, Answer(3, "files.list", "d3", []), {}, NOW) is None
    assert len(await store.journal(run.id)) == 2


async def test_a_line_is_told_once(world: World) -> None:
    store, run = world.store, await added(world)
    for number in (1, 2, 2, 1, 3):
        await store.tell_script_line(run.id, ScriptLine(number, f"line {number}\0"), NOW)
    found = await store.script_log(run.id, after=1, limit=9)
    assert [(each.number, each.text) for each in found] == [(2, "line 2\ufffd"), (3, "line 3\ufffd")]
    assert [each.number for each in await store.script_log(run.id, after=0, limit=1)] == [1]
    assert (await store.script_run_by_id(run.id)).log_lines == 3


async def test_a_key_makes_one_run_and_so_does_a_uuid(world: World) -> None:
    key = Idempotency("key", "digest", later(-60))
    first = await added(world, key=key)
    assert (await added(world, key=key)).id == first.id
    with pytest.raises(IdempotencyMismatch):
        await added(world, key=Idempotency("key", "other", later(-60)))
    uuid, draft = uuid4(), ScriptRunDraft("night", "x = 1")
    made = await asyncio.gather(
        *(
            world.store.add_script_run(draft, world.principal, uuid=uuid, now=NOW, keep=9, most_alive=9)
            for _ in range(3)
        )
    )
    assert len({run.id for run, _ in made}) == 1
    assert sorted(is_new for _, is_new in made) == [False, False, True]


async def test_so_many_run_at_once_and_so_many_that_ended_are_kept(world: World) -> None:
    store, runs = world.store, [await added(world, most=2) for _ in range(2)]
    with pytest.raises(Conflict):
        await added(world, most=2)
    for run in runs:
        await store.answer_call(run.id, Answer(1, "files.list", "d", []), {}, NOW)
        await store.tell_script_line(run.id, ScriptLine(1, "line"), NOW)
        await store.end_script_run(run.id, ScriptRunStatus.SUCCESS, NOW)
    last = await added(world, most=2, keep=1)
    listed = await store.script_runs(mine(world), limit=9)
    assert [run.id for run in listed] == [last.id, runs[1].id]
    assert (listed[0].source, listed[0].inputs) == ("", {}), "a list is without them"
    assert [run.id for run in await store.script_runs(mine(world), limit=9, before=last.id)] == [runs[1].id]
    assert await store.journal(runs[0].id) == ()
    assert await store.script_log(runs[0].id, after=0, limit=9) == ()
