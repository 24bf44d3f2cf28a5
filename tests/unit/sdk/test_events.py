"""Following a process: events, reconnection, waiting."""

import asyncio
import time
from functools import partial
from typing import Any

import httpx2
import pytest
from tests.support.scripted_api import (
    PROCESS_ID,
    Answer,
    AnyClient,
    Pieces,
    ScriptedApi,
    event_frame,
    event_json,
    ok,
    pauses,
    problem,
    process_json,
    stream,
)

from treadle.sdk import (
    AsyncClient,
    Client,
    ConnectionFailedError,
    NotFoundError,
    Phase,
    ServerError,
    UnexpectedAnswerError,
    WaitTimeoutError,
)

pytestmark = pytest.mark.anyio

LAST = "run.finished"
BROKEN = httpx2.ReadError("Connection reset by peer")
EVENTS = f"GET /code-generation/processes/by-id/{PROCESS_ID}/events"
GET = f"GET /code-generation/processes/by-id/{PROCESS_ID}"


def events(sdk: AnyClient, **parameters: Any) -> Any:
    return sdk.client.processes.events(PROCESS_ID, **parameters)


def wait(sdk: AnyClient, *arguments: Any, **parameters: Any) -> Any:
    return sdk.client.processes.wait(PROCESS_ID, *arguments, **parameters)


def resumed_after(api: ScriptedApi) -> list[str]:
    return [request.headers["last-event-id"] for request in api.requests if request.url.path.endswith("/events")]


async def test_events_come_until_the_last(sdk: AnyClient, api: ScriptedApi) -> None:
    text = "retry: 2000\n\n" + event_frame(1, text="hé\n") + ": heartbeat\n\n" + event_frame(2, LAST, status="Success")
    raw = text.encode()
    api.answers.append(stream(raw[:40], raw[40:41], raw[41:90], raw[90:], event_frame(3)))
    found = await sdk.collect(events(sdk))
    assert [(event.number, event.type) for event in found] == [(1, "engine.text"), (2, LAST)]
    assert found[0].data == {"text": "hé\n"}
    assert (found[0].step, found[0].phase) == (1, Phase.ANALYSIS)
    assert found[1].is_terminal
    assert api.paths == [EVENTS]
    assert api.only.headers["accept"] == "text/event-stream"


async def test_a_text_cut_within_a_character_is_read(sdk: AnyClient, api: ScriptedApi) -> None:
    frame = ('id: 1\ndata: {"number": 1, "type": "run.finished", "data": {"text": "é😀"}}\n\n').encode()
    api.answers.append(stream(*(frame[at : at + 1] for at in range(len(frame)))))
    [event] = await sdk.collect(events(sdk))
    assert event.data == {"text": "é😀"}


async def test_a_broken_stream_is_taken_up_where_it_broke(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers += [
        stream(event_frame(6), event_frame(7), "id: 8\ndata: {", BROKEN),
        httpx2.ConnectError("refused"),
        problem(503),
        stream(event_frame(7), event_frame(8), event_frame(9, LAST)),
    ]
    assert [event.number for event in await sdk.collect(events(sdk, after=5))] == [6, 7, 8, 9]
    assert resumed_after(api) == ["5", "7", "7", "7"]
    assert pauses(api) == [0.5, 1.0, 2.0]


async def test_progress_begins_the_count_of_failures_anew(sdk: AnyClient, api: ScriptedApi) -> None:
    for number in range(1, 10):
        api.answers += [stream(event_frame(number), BROKEN), httpx2.ConnectError("refused")]
    api.answers.append(stream(event_frame(10, LAST)))
    assert len(await sdk.collect(events(sdk))) == 10


async def test_a_server_that_stays_away_is_an_error(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers += [stream(event_frame(1), BROKEN), BROKEN, BROKEN, BROKEN]
    with pytest.raises(ConnectionFailedError):
        await sdk.collect(events(sdk))
    assert len(api.requests) == 4
    api.answers += [problem(503)] * 4
    with pytest.raises(ServerError):
        await sdk.collect(events(sdk))


async def test_an_error_is_not_tried_again(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers.append(problem(404))
    with pytest.raises(NotFoundError):
        await sdk.collect(events(sdk))
    assert api.sleeps == []


async def test_a_server_that_restarts_is_followed_to_its_next_life(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers += [stream(event_frame(1)), stream(), ok(process_json()), stream(event_frame(2, LAST))]
    assert [event.number for event in await sdk.collect(events(sdk))] == [1, 2]
    assert resumed_after(api) == ["0", "1", "1"]


async def test_nothing_after_the_last_event_is_the_end(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers += [stream(), ok(process_json("Success"))]
    assert await sdk.collect(events(sdk, after=99)) == []
    api.answers += [httpx2.Response(204), ok(process_json("Success"))]
    assert await sdk.collect(events(sdk, after=99)) == []


@pytest.mark.parametrize("part", ["data: {\n\n", "data: []\n\n", 'data: {"number": "one", "type": "x"}\n\n'])
async def test_a_stream_of_something_else_is_said_to_be_one(sdk: AnyClient, api: ScriptedApi, part: str) -> None:
    api.answers.append(stream(part))
    with pytest.raises(UnexpectedAnswerError):
        await sdk.collect(events(sdk))
    api.answers.append(ok([]))
    with pytest.raises(UnexpectedAnswerError, match="application/json instead of a stream"):
        await sdk.collect(events(sdk))


async def test_leaving_early_closes_the_connection(sdk: AnyClient, api: ScriptedApi) -> None:
    body = Pieces(event_frame(1), event_frame(2), event_frame(3))
    api.answers.append(httpx2.Response(200, headers={"Content-Type": "text/event-stream"}, stream=body))
    assert [event.number for event in await sdk.first(events(sdk), 2)] == [1, 2]
    assert body.is_closed


async def test_past_events_come_in_pages(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers += [ok([event_json(number) for number in range(4, 1004)]), ok([event_json(1004)])]
    found = await sdk.collect(events(sdk, after=3, follow=False))
    assert [event.number for event in found] == list(range(4, 1005))
    assert [dict(request.url.params) for request in api.requests] == [
        {"after": "3", "limit": "1000"},
        {"after": "1003", "limit": "1000"},
    ]
    assert api.requests[0].headers["accept"] == "application/json"


async def test_wait_returns_a_finished_process_at_once(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers.append(ok(process_json("Success")))
    assert (await sdk.result(wait(sdk))).succeeded
    assert api.paths == [GET]


async def test_wait_listens_to_the_last_event(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers += [ok(process_json()), stream(event_frame(1), event_frame(2, LAST)), ok(process_json("Failed"))]
    assert (await sdk.result(wait(sdk))).status == "Failed"
    assert api.paths == [GET, EVENTS, GET]
    assert api.sleeps == []


async def test_wait_goes_on_where_the_stream_broke(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers += [ok(process_json()), stream(event_frame(1), BROKEN), ok(process_json())]
    api.answers += [stream(event_frame(2), httpx2.ReadTimeout("silent")), ok(process_json())]
    api.answers += [problem(503), ok(process_json()), stream(event_frame(3, LAST)), ok(process_json("Success"))]
    await sdk.result(wait(sdk, poll=7))
    assert resumed_after(api) == ["0", "1", "2", "2"]
    assert pauses(api) == [7, 7]  # the silence was a pause already


@pytest.mark.parametrize(
    "answer", [partial(problem, 404), partial(problem, 406), partial(ok, []), partial(stream, "data: {\n\n")]
)
async def test_wait_polls_where_there_is_no_stream(sdk: AnyClient, api: ScriptedApi, answer: Answer) -> None:
    api.answers += [ok(process_json()), answer, ok(process_json()), ok(process_json("Killed"))]
    assert (await sdk.result(wait(sdk, poll=2))).status == "Killed"
    assert api.paths == [GET, EVENTS, GET, GET]
    assert pauses(api) == [2, 2]


async def test_wait_keeps_its_time(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers += [ok(process_json()), problem(404), *[ok(process_json())] * 4]
    with pytest.raises(WaitTimeoutError, match="still Running after 10 seconds") as caught:
        await sdk.result(wait(sdk, 10, poll=4))
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.process.status == "Running"
    assert pauses(api) == [4, 4, 2]


async def test_heartbeats_do_not_outlast_the_time(sdk: AnyClient, api: ScriptedApi) -> None:
    class Heartbeats(Pieces):
        def __iter__(self) -> Any:
            while True:
                api.now += 3
                yield b": heartbeat\n\n"

    response = httpx2.Response(200, headers={"Content-Type": "text/event-stream"}, stream=Heartbeats())
    api.answers += [ok(process_json()), response, ok(process_json())]
    with pytest.raises(WaitTimeoutError):
        await sdk.result(wait(sdk, 10))
    assert api.now < 15


async def test_wait_does_not_hide_that_the_process_is_unknown(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers.append(problem(404))
    with pytest.raises(NotFoundError):
        await sdk.result(wait(sdk))


async def test_a_cancelled_wait_lets_go_of_its_stream(api: ScriptedApi) -> None:
    listening = asyncio.Event()

    class Silent(Pieces):
        async def __aiter__(self) -> Any:
            listening.set()
            await asyncio.Event().wait()
            yield b""

    body = Silent()
    api.answers += [
        ok(process_json()),
        httpx2.Response(200, headers={"Content-Type": "text/event-stream"}, stream=body),
    ]
    sdk = AnyClient(api, "async", sleep=asyncio.sleep, clock=time.monotonic)
    task = asyncio.ensure_future(wait(sdk))
    await listening.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert body.is_closed
    await sdk.close()


def test_the_clients_wait_for_real_by_default() -> None:
    with Client("http://treadle.test") as client:
        assert client.processes._driver._sleep is time.sleep
    assert AsyncClient("http://treadle.test").processes._driver._sleep is asyncio.sleep
