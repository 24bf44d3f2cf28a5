"""A process of which things were pruned: what is asked for is answered, ends, and says so."""

import asyncio

import httpx2
import pytest
from tests.support.deployment import PROCESSES, Deployment, Json
from tests.unit.api.test_diff import SMALL, ask, keep
from tests.unit.api.test_events import followed

from treadle.domain.events import Draft, EventType
from treadle.domain.states import StepStatus
from treadle.ports import StepUpdate
from treadle.server import listening
from treadle.services.retention import Keep, Retention

pytestmark = pytest.mark.anyio


async def pruned(here: Deployment, *, events: int = 5, has_commit: bool = True, wants_diff: bool = False) -> Json:
    """A process that ended and lost all that can go."""
    process = await here.start(generateDiffOnCompletion=wants_diff)
    _, fence = await here.claim()
    now = here.clock.now()
    said = [Draft(EventType.ENGINE_TEXT, {"text": str(number)}) for number in range(events)]
    await here.store.record(fence, said, now, step=StepUpdate(1, StepStatus.RUNNING))
    if has_commit:
        await here.store.record(fence, [], now, step=StepUpdate(1, StepStatus.SUCCESS, commit_sha="0" * 40))
        await keep(here, fence, "diff.json", SMALL)
        await keep(here, fence, "diff.patch", b"")
    await here.finish(fence)
    here.clock.advance(1)
    retention = Retention(here.store, here.blobs, here.clock)
    await retention.prune_events(Keep(days=0))
    await retention.prune_artifacts(Keep(days=0))
    return process


async def get(here: Deployment, process: Json, path: str, **headers: str) -> httpx2.Response:
    address = f"{PROCESSES}/by-id/{process['id']}{path}"
    return await here.http.get(address, headers={**here.admin.headers, **headers})


@pytest.mark.parametrize("events", [0, 5, 1500])
async def test_a_stream_tells_the_end_and_ends(here: Deployment, events: int) -> None:
    process = await pruned(here, events=events)
    last = events + 3
    async with listening(here.app, "127.0.0.1", 0) as url:
        for after in ("", "1", str(last - 1)):
            headers = {"Last-Event-ID": after} if after else {}
            async with asyncio.timeout(60), followed(url, here, process, **headers) as stream:
                assert await stream.numbers() == [last]
        # Several at once share what one of them reads.
        async with followed(url, here, process) as one, followed(url, here, process) as other:
            async with asyncio.timeout(60):
                assert await one.numbers() == await other.numbers() == [last]
    assert (
        await get(here, process, "/events", **{"Last-Event-ID": str(last), "Accept": "text/event-stream"})
    ).status_code == 204


async def test_whoever_follows_while_it_is_pruned_hears_of_the_end(here: Deployment) -> None:
    process = await here.start()
    run, fence = await here.claim()
    async with asyncio.timeout(60), listening(here.app, "127.0.0.1", 0) as url, followed(url, here, process) as stream:
        assert (await stream.next())["id"] == "1"
        assert (await stream.next())["id"] == "2"
        # Not told to the stream: what comes now is pruned before it looks.
        await here.store.record(fence, [Draft(EventType.ENGINE_TEXT, {"text": "x"})] * 300, here.clock.now())
        await here.finish(fence)
        await here.store.prune_events(run.id)
        numbers = await stream.numbers()
    assert numbers[-1] == 303
    assert numbers == sorted(set(numbers))


async def test_a_page_of_events_begins_with_what_there_is(here: Deployment) -> None:
    process = await pruned(here)
    for query in ("", "?after=3", "?limit=1"):
        answer = await get(here, process, f"/events{query}", Accept="application/json")
        assert [(event["number"], event["type"]) for event in answer.json()] == [(8, "run.finished")]
    assert (await get(here, process, "/events?after=8", Accept="application/json")).json() == []


async def test_the_diff_is_said_to_be_gone(here: Deployment) -> None:
    process = await pruned(here)
    for accept in ("application/json", "text/x-diff"):
        status, kind, said = await ask(here, process, accept)
        assert (status, kind) == (404, "application/problem+json")
        assert b"The diff of this process is not kept any more." in said
        assert b"on the branch 'feature/work'" in said


async def test_without_a_commit_there_was_none(here: Deployment) -> None:
    process = await pruned(here, has_commit=False)
    assert await ask(here, process, "application/json") == (200, "application/json", SMALL)


async def test_the_process_itself_is_as_it_was_but_for_its_diff(here: Deployment) -> None:
    process = await here.get(await pruned(here, wants_diff=True))
    assert (process["status"], process["steps"][0]["commitSha"]) == ("Success", "0" * 40)
    assert process["diff"] is None


async def test_a_diff_that_goes_at_the_moment_it_is_asked_for_leaves_the_process(
    here: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = await here.start(generateDiffOnCompletion=True)
    run, fence = await here.claim()
    await keep(here, fence, "diff.json", SMALL)
    await here.finish(fence)
    read = here.blobs.get

    async def gone(key: str) -> bytes:
        for artifact in await here.store.prune_artifacts(run.id):
            await here.blobs.delete(artifact.blob)
        return await read(key)

    monkeypatch.setattr(here.blobs, "get", gone)
    assert (await here.get(process))["diff"] is None


async def test_artifacts_are_said_to_go_after_a_while(here: Deployment) -> None:
    process = await pruned(here)
    assert (await get(here, process, "/artifacts")).json() == []
    answer = await get(here, process, "/artifacts/diff.json/content")
    assert answer.status_code == 404
    assert "may be removed after a while" in answer.text
    living = await here.start()
    assert "after a while" not in (await get(here, living, "/artifacts/diff.json/content")).text
