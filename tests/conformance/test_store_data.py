"""Checkpoints, artifacts, secrets and the reading of events, on each database."""

import asyncio
from dataclasses import replace
from functools import partial

import pytest
from tests.support.stores import NOW, World, later, said

from treadle.domain.errors import AlreadyFinished, Conflict, NotFound
from treadle.domain.events import Draft, EventType, JsonValue
from treadle.domain.run import Artifact, Checkpoint, EngineName, StructuredOutput
from treadle.domain.states import Phase, RunStatus
from treadle.store.values import MAX_EVENT

pytestmark = pytest.mark.anyio

UPDATED = Draft(EventType.RUN_CREDENTIALS_UPDATED, {"kind": "git"})


async def test_a_checkpoint_replaces_the_last(world: World) -> None:
    run, fence = await world.claimed()
    assert await world.store.checkpoint(run.id) is None
    first = Checkpoint(
        run.id,
        1,
        Phase.IMPLEMENTATION,
        "session",
        EngineName.KIMI,
        "session/1",
        "patch/1",
        "a" * 40,
        "said",
        StructuredOutput("o", "t", True, True, False),
    )
    bare = Checkpoint(run.id, 2, Phase.ANALYSIS, None, EngineName.CLAUDE, None, None, "b" * 40)
    for checkpoint in (first, bare):
        await world.store.save_checkpoint(fence, checkpoint)
        assert await world.store.checkpoint(run.id) == checkpoint


async def test_a_checkpoint_survives_the_worker(world: World) -> None:
    run, fence = await world.claimed()
    checkpoint = Checkpoint(run.id, 1, Phase.ANALYSIS, None, EngineName.CLAUDE, None, None, "b" * 40)
    await world.store.save_checkpoint(fence, checkpoint)
    await world.store.release(fence, NOW)
    assert await world.store.checkpoint(run.id) == checkpoint


async def test_a_checkpoint_of_a_step_that_there_is_not(world: World) -> None:
    run, fence = await world.claimed()
    with pytest.raises(NotFound):
        await world.store.save_checkpoint(
            fence, Checkpoint(run.id, 9, Phase.ANALYSIS, None, EngineName.CLAUDE, None, None, "b" * 40)
        )


async def test_artifacts_are_named_once(world: World) -> None:
    run, fence = await world.claimed()
    log = Artifact(run.id, "log.txt", "text/plain", 5_000_000_000, "blob/log", NOW)
    patch = Artifact(run.id, "work.patch", "text/x-diff", 12, "blob/1", NOW)
    for artifact in (patch, log, newer := replace(patch, blob="blob/2", size=13, date_created=later(1))):
        await world.store.add_artifact(fence, artifact)
    assert list(await world.store.artifacts(run.id)) == [log, newer]
    await world.store.finish(fence, RunStatus.SUCCESS, None, NOW)
    assert len(await world.store.artifacts(run.id)) == 2


async def test_secrets_are_replaced_by_name(world: World) -> None:
    run = await world.run(secrets={"claude": "sealed 1", "git_http": "sealed 2"})
    await world.store.put_run_secrets(
        run.id, {"git_http": None, "git_ssh": "sealed 3", "claude": "sealed 4"}, UPDATED, later(1)
    )
    assert await world.store.run_secrets(run.id) == {"claude": "sealed 4", "git_ssh": "sealed 3"}
    last = (await world.told(run.id))[-1]
    assert (last.number, last.type, last.data) == (2, UPDATED.type, UPDATED.data)
    assert (await world.store.get_run_by_id(run.id)).date_updated == later(1)
    await world.store.put_run_secrets(run.id, {"claude": "sealed 5"}, None, later(2))
    assert len(await world.told(run.id)) == 2
    assert (await world.store.run_secrets(run.id))["claude"] == "sealed 5"


async def test_secrets_are_replaced_where_nobody_was_first(world: World) -> None:
    run = await world.run(secrets={"claude": "sealed 1", "git_http": "sealed 2"})
    put = partial(world.store.put_run_secrets, run.id, {"claude": "sealed 3"}, UPDATED, later(1))
    for other in ({"claude": "sealed 0"}, {"claude": "sealed 1", "git_ssh": "sealed 2"}):
        with pytest.raises(Conflict):
            await put(instead_of=other)
    assert await world.store.run_secrets(run.id) == {"claude": "sealed 1", "git_http": "sealed 2"}
    assert len(await world.told(run.id)) == 1
    await put(instead_of={"claude": "sealed 1"})
    assert await world.store.run_secrets(run.id) == {"claude": "sealed 3", "git_http": "sealed 2"}


async def test_one_of_many_replaces_a_secret(world: World) -> None:
    run = await world.run(secrets={"claude": "sealed"})
    puts = [
        world.store.put_run_secrets(run.id, {"claude": f"sealed {number}"}, None, NOW, instead_of={"claude": "sealed"})
        for number in range(10)
    ]
    found = await asyncio.gather(*puts, return_exceptions=True)
    assert [type(each) for each in found if each is not None] == [Conflict] * 9
    assert (await world.store.run_secrets(run.id))["claude"] == f"sealed {found.index(None)}"


async def test_one_runs_secrets_are_not_anothers(world: World) -> None:
    one, other = await world.run(secrets={"claude": "a"}), await world.run(secrets={"claude": "b"})
    assert await world.store.run_secrets(one.id) == {"claude": "a"}
    await world.store.request_kill(one.id, NOW)
    assert await world.store.run_secrets(other.id) == {"claude": "b"}


async def test_a_finished_run_takes_no_secrets(world: World) -> None:
    run, fence = await world.claimed()
    await world.store.finish(fence, RunStatus.FAILED, None, NOW)
    with pytest.raises(AlreadyFinished):
        await world.store.put_run_secrets(run.id, {"claude": "sealed"}, UPDATED, NOW)
    assert await world.store.run_secrets(run.id) == {}
    with pytest.raises(NotFound):
        await world.store.put_run_secrets(run.id + 1, {"claude": "sealed"}, UPDATED, NOW)
    with pytest.raises(NotFound):
        await world.store.run_secrets(run.id + 1)


async def test_events_are_read_in_pages(world: World) -> None:
    run, fence = await world.claimed()
    other, others = await world.claimed()
    await world.store.record(others, [said("elsewhere")], NOW)
    await world.store.record(fence, [said(str(number)) for number in range(3, 12)], NOW)
    numbers = [event.number for event in await world.store.events(run.id)]
    assert numbers == list(range(1, 12))
    assert [event.number for event in await world.store.events(run.id, after=4, limit=3)] == [5, 6, 7]
    assert list(await world.store.events(run.id, after=11)) == []
    assert [event.data.get("text") for event in await world.store.events(run.id, after=9)] == ["10", "11"]
    assert len(await world.store.events(other.id)) == 3


async def test_an_events_data_comes_back_as_it_was(world: World) -> None:
    run, fence = await world.claimed()
    data: dict[str, JsonValue] = {
        "text": 'tab\t nul\0 half a pair \ud83e quote" backslash\\ ☃ 🧵',
        "input": {"list": [1, 2.5, True, None, "x"], "nested": {"empty": {}}},
        "big": 2**53,
    }
    await world.store.record(fence, [Draft(EventType.TOOL_STARTED, data)], NOW)
    assert (await world.told(run.id))[-1].data == data


async def test_an_event_too_large_is_cut_and_says_so(world: World) -> None:
    run, fence = await world.claimed()
    long = "x" * (MAX_EVENT + 5)
    await world.store.record(fence, [Draft(EventType.TOOL_STARTED, {"id": "a", "input": {"text": long}})], NOW)
    data = (await world.told(run.id))[-1].data
    assert data["id"] == "a"
    assert data["input"] == {"text": "x" * 65_536}
    assert data["clipped"] == len(long) - 65_536
