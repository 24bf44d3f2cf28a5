"""Following a process: server-sent events over a real server, resumed, shared, and never held up by a slow reader."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx2
import pytest
from tests.support.deployment import PROCESSES, Deployment, Json
from tests.unit.api.golden import check_json, check_text

from treadle.api import streams as streams_module
from treadle.api.streams import HEARTBEAT, OPENING, Reader, Streams
from treadle.domain.events import Draft, Event, EventType
from treadle.domain.run import Run
from treadle.domain.states import Phase
from treadle.ports import Fence
from treadle.server import listening

PATIENCE = 60.0


@dataclass
class Stream:
    """A client's end: frames as they come."""

    blocks: AsyncIterator[str]

    async def next(self) -> dict[str, str]:
        """The next event's fields."""
        async with asyncio.timeout(PATIENCE):
            while True:
                block = await anext(self.blocks)
                fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
                if "id" in fields:
                    return fields

    async def numbers(self) -> list[int]:
        """Those of all events to the end of the stream."""
        found = []
        try:
            while True:
                found.append(int((await self.next())["id"]))
        except StopAsyncIteration:
            return found


@asynccontextmanager
async def followed(url: str, here: Deployment, process: Json, **headers: str) -> AsyncIterator[Stream]:
    path = f"{url}{PROCESSES}/by-id/{process['id']}/events"
    async with (
        httpx2.AsyncClient(timeout=PATIENCE) as client,
        client.stream("GET", path, headers={**here.admin.headers, **headers}) as answer,
    ):
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        yield Stream(blocks_of(answer))


async def blocks_of(answer: httpx2.Response) -> AsyncIterator[str]:
    text = ""
    async for chunk in answer.aiter_text():
        text += chunk
        *whole, text = text.split("\n\n")
        for block in whole:
            yield block


async def write(here: Deployment, fence: Fence, *texts: str, notify: bool = True) -> None:
    drafts = [Draft(EventType.ENGINE_TEXT, {"text": text}, 1, Phase.ANALYSIS) for text in texts]
    await here.store.record(fence, drafts, here.clock.now())
    if notify:
        here.signals.notify(fence.run_id)


async def begin(here: Deployment) -> tuple[Json, Run, Fence]:
    process = await here.start()
    run, fence = await here.claim()
    return process, run, fence


@pytest.mark.anyio
async def test_events_come_as_they_happen_and_end_with_the_run(here: Deployment) -> None:
    process, _, fence = await begin(here)
    async with listening(here.app, "127.0.0.1", 0) as url, followed(url, here, process) as stream:
        assert [(await stream.next())["event"] for _ in range(2)] == ["run.created", "run.started"]
        await write(here, fence, "first line\nsecond\r\u2028line “ü”")
        fields = await stream.next()
        assert fields["id"] == "3"
        assert fields["data"].startswith('{"number":3,"type":"engine.text","date":"2026-10-01T09:30:00.125Z","step":1,')
        await write(here, fence, "a", "b")
        await here.finish(fence)
        assert await stream.numbers() == [4, 5, 6]


@pytest.mark.anyio
async def test_the_bytes_of_a_stream(here: Deployment) -> None:
    process, run, fence = await begin(here)
    await write(here, fence, "Grüße", "\U0001f9f5")
    await here.finish(fence)
    answer = await here.http.get(f"{PROCESSES}/by-id/{process['id']}/events", headers=here.admin.headers)
    check_text("events.txt", answer.text)
    page = await here.http.get(
        f"{PROCESSES}/by-id/{process['id']}/events", headers={**here.admin.headers, "Accept": "application/json"}
    )
    check_json("events", page.content)
    assert here.app.state.streams.open_runs == 0
    assert run.id == 1


@pytest.mark.anyio
async def test_a_stream_goes_on_where_another_broke_off(here: Deployment) -> None:
    process, _, fence = await begin(here)
    await write(here, fence, *"abcdef")
    async with listening(here.app, "127.0.0.1", 0) as url:
        async with followed(url, here, process) as stream:
            last = [await stream.next() for _ in range(5)][-1]["id"]
        async with followed(url, here, process, **{"Last-Event-ID": last}) as stream:
            assert (await stream.next())["id"] == "6"
            await write(here, fence, "g")
            await here.finish(fence)
            assert await stream.numbers() == [7, 8, 9, 10]


@pytest.mark.anyio
async def test_after_the_last_event_there_is_nothing_to_come_back_for(here: Deployment) -> None:
    process, _, fence = await begin(here)
    path = f"{PROCESSES}/by-id/{process['id']}/events"
    await here.finish(fence)
    for last, expected in (("3", 204), ("99", 204), ("2", 200)):
        answer = await here.http.get(path, headers={**here.admin.headers, "Last-Event-ID": last})
        assert answer.status_code == expected
    answer = await here.http.get(f"{path}?after=3", headers=here.admin.headers)
    assert (answer.status_code, answer.content) == (200, OPENING)


@pytest.mark.anyio
async def test_pages(here: Deployment) -> None:
    process, _, fence = await begin(here)
    await write(here, fence, *(str(number) for number in range(300)))
    path = f"{PROCESSES}/by-id/{process['id']}/events"

    async def page(query: str, accept: str = "application/json") -> list[int]:
        answer = await here.http.get(f"{path}{query}", headers={**here.admin.headers, "Accept": accept})
        assert answer.headers["content-type"] == "application/json"
        return [event["number"] for event in answer.json()]

    assert await page("") == list(range(1, 201))
    assert await page("?after=200") == list(range(201, 303))
    assert await page("?after=10&limit=2") == [11, 12]
    assert await page("?after=302") == []
    assert await page("?limit=1", "text/event-stream;q=0.5, application/json") == [1]
    for query, headers, named in (
        ("?after=-1&limit=0", {}, {"after", "limit"}),
        ("", {"Last-Event-ID": "x"}, {"Last-Event-ID"}),
    ):
        answer = await here.http.get(f"{path}{query}", headers={**here.admin.headers, **headers})
        assert set(answer.json()["errors"]) == named


@pytest.mark.anyio
async def test_what_another_process_writes_is_found_without_a_signal(here: Deployment) -> None:
    process, _, fence = await begin(here)
    async with listening(here.app, "127.0.0.1", 0) as url, followed(url, here, process) as stream:
        await stream.next()
        await stream.next()
        await write(here, fence, "quiet", notify=False)
        assert (await stream.next())["id"] == "3"


@pytest.mark.anyio
async def test_a_quiet_stream_beats(here: Deployment) -> None:
    process, run, _ = await begin(here)
    beating = Streams(here.services.runs, lambda event: b"%d" % event.number, here.clock, heartbeat_seconds=0.01)
    frames = beating.frames(run, 0, Reader())
    while (first := await anext(frames)) == HEARTBEAT:
        pass  # the store took longer than that
    assert first == b"12"
    assert await anext(frames) == HEARTBEAT
    assert await anext(frames) == HEARTBEAT
    await frames.aclose()
    assert beating.open_runs == 0
    assert process["status"] == "New"


@pytest.mark.anyio
async def test_a_client_that_leaves_is_noticed_at_once(here: Deployment) -> None:
    process, _, _ = await begin(here)
    streams: Streams = here.app.state.streams
    async with listening(here.app, "127.0.0.1", 0) as url:
        async with followed(url, here, process) as stream:
            await stream.next()
            assert streams.open_runs == 1
            assert len(here.signals._subscriptions) == 1
            pump = pump_of(streams)
        await asyncio.wait_for(asyncio.wait({pump}), PATIENCE)
        assert streams.open_runs == 0
        assert len(here.signals._subscriptions) == 0


@pytest.mark.anyio
async def test_closing_ends_every_stream_well(here: Deployment) -> None:
    process, _, _ = await begin(here)
    streams: Streams = here.app.state.streams
    async with (
        listening(here.app, "127.0.0.1", 0) as url,
        followed(url, here, process) as one,
        followed(url, here, process) as two,
    ):
        await one.next()
        await two.next()
        streams.close()
        assert await one.numbers() == [2]
        assert await two.numbers() == [2]


# ---- shared


def counting(here: Deployment, encoded: list[int]) -> Streams:
    def frame(event: Event) -> bytes:
        encoded.append(event.number)
        return b"%d;" % event.number

    return Streams(here.services.runs, frame, here.clock)


def channel_of(streams: Streams) -> Any:
    (channel,) = streams._channels.values()
    return channel


def pump_of(streams: Streams) -> "asyncio.Task[None]":
    pump: asyncio.Task[None] = channel_of(streams).pump
    return pump


async def read_all(streams: Streams, run: Run, after: int = 0) -> list[int]:
    text = b"".join([chunk async for chunk in streams.frames(run, after, Reader())])
    return [int(number) for number in text.split(b";") if number]


@pytest.mark.anyio
async def test_an_event_is_encoded_once_for_all_who_follow(here: Deployment) -> None:
    _, run, fence = await begin(here)
    encoded: list[int] = []
    streams = counting(here, encoded)
    reading = [asyncio.create_task(read_all(streams, run)) for _ in range(50)]
    for text in "abc":
        await write(here, fence, text)
        await asyncio.sleep(0)
    await here.finish(fence)
    async with asyncio.timeout(PATIENCE):
        assert await asyncio.gather(*reading) == [[1, 2, 3, 4, 5, 6]] * 50
    assert encoded == [1, 2, 3, 4, 5, 6]
    assert streams.open_runs == 0


@pytest.mark.anyio
async def test_who_comes_late_reads_the_past_alone_and_then_joins(
    here: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams_module, "SHARED_EVENTS", 5)
    monkeypatch.setattr(streams_module, "CATCH_UP_PAGE", 3)
    _, _, fence = await begin(here)
    await write(here, fence, *"abcdefghijklmnopqrst")
    run = await here.store.get_run_by_id(fence.run_id)
    streams = counting(here, [])
    reading = [asyncio.create_task(read_all(streams, run, after)) for after in (0, 20, 7)]
    await asyncio.sleep(0.05)
    await write(here, fence, "u")
    await here.finish(fence)
    async with asyncio.timeout(PATIENCE):
        assert await asyncio.gather(*reading) == [list(range(after + 1, 25)) for after in (0, 20, 7)]


@pytest.mark.anyio
async def test_a_reader_that_falls_behind_what_is_kept_misses_nothing(
    here: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams_module, "KEPT_BYTES", 30)
    monkeypatch.setattr(streams_module, "CHUNK_BYTES", 10)
    _, run, fence = await begin(here)
    streams = counting(here, [])
    slow, quick = streams.frames(run, 0, Reader()), asyncio.create_task(read_all(streams, run))
    first = await anext(slow)
    for number in range(100):
        await write(here, fence, str(number))
    await here.finish(fence)
    async with asyncio.timeout(PATIENCE):
        assert await quick == list(range(1, 104))
        rest = b"".join([first, *[chunk async for chunk in slow]])
    assert [int(number) for number in rest.split(b";") if number] == list(range(1, 104))


@pytest.mark.anyio
async def test_a_client_that_does_not_read_holds_nobody_up(here: Deployment) -> None:
    process, _, fence = await begin(here)
    async with listening(here.app, "127.0.0.1", 0) as url:
        stuck = await stuck_client(url, here, process)
        async with followed(url, here, process) as stream:
            for _ in range(60):
                await write(here, fence, *["x" * 60_000] * 4)  # 14 MB, more than any buffer on the way
            await here.finish(fence)
            numbers = await stream.numbers()
            assert numbers == list(range(1, 244))
        assert len(channel_of(here.app.state.streams).readers) == 1
        stuck.close()
    assert here.app.state.streams.open_runs == 0


async def stuck_client(url: str, here: Deployment, process: Json) -> socket.socket:
    """Asks, and reads no more than the beginning of the answer."""
    host, port = url.removeprefix("http://").split(":")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, (host, int(port)))
    path = f"{PROCESSES}/by-id/{process['id']}/events"
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nX-Api-Key: {here.admin.key}\r\n\r\n"
    await loop.sock_sendall(client, request.encode())
    assert (await loop.sock_recv(client, 15)).startswith(b"HTTP/1.1 200")
    return client


@pytest.mark.anyio
async def test_a_run_that_cannot_be_read_breaks_off_and_says_so_in_the_log(here: Deployment) -> None:
    _, run, _ = await begin(here)

    def frame(event: Event) -> bytes:
        if event.number == 2:
            raise ValueError("a defect")
        return b"%d;" % event.number

    streams = Streams(here.services.runs, frame, here.clock)
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(read_all(streams, run), PATIENCE)
    assert streams.open_runs == 0


@pytest.mark.anyio
async def test_following_an_ended_run_ends(here: Deployment) -> None:
    process, _, fence = await begin(here)
    await here.finish(fence)
    run = await here.services.runs.get(await here.services.identity.authenticate(here.admin.key), UUID(process["id"]))
    pages: Sequence[Sequence[Event]] = [page async for page in here.services.runs.follow(run, after=3)]
    assert pages == []
    pages = [page async for page in here.services.runs.follow(run, after=1)]
    assert [event.number for page in pages for event in page] == [2, 3]
