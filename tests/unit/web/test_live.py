"""Streams of live pages: framing, heartbeats, an end of every kind."""

import asyncio
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import pytest

from treadle.api.streams import OPENING
from treadle.web import live
from treadle.web.live import Change, event_stream

PATIENCE = 60.0


class Reader:
    """A client in this process, as an ASGI server has it."""

    def __init__(self) -> None:
        self.state = SimpleNamespace(streams=SimpleNamespace(closed=asyncio.Event()))
        self.sent = asyncio.Queue[Any]()
        self.left = asyncio.Event()
        self.is_ended = False

    async def take(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            message = await self.sent.get()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = dict(message["headers"])
            return await self.take()
        self.is_ended = not message.get("more_body", False)
        body: bytes = message["body"]
        return body

    async def receive(self) -> Any:
        await self.left.wait()
        return {"type": "http.disconnect"}

    def open(self, response: Any) -> "asyncio.Task[None]":
        scope = {"type": "http", "app": SimpleNamespace(state=self.state)}
        return asyncio.ensure_future(response(scope, self.receive, self.sent.put))


async def some(*changes: Change, ends: bool = True) -> AsyncGenerator[Change, None]:
    for change in changes:
        yield change
    if not ends:
        await asyncio.Event().wait()


def test_a_change_is_one_message_whatever_its_lines_end_with() -> None:
    assert Change("<p>a\rb\r\nc\nd</p>", "7").frame() == b"id: 7\ndata: <p>a\ndata: b\ndata: c\ndata: d</p>\n\n"
    assert Change("\ud800", is_last=True).frame() == b"event: end\ndata: ?\n\n"


@pytest.mark.anyio
async def test_changes_are_sent_and_the_end_is_told() -> None:
    reader = Reader()
    serving = reader.open(event_stream(some(Change("a", "1"), Change("", "2", is_last=True))))
    assert (await reader.take()).startswith(b"retry:")
    assert await reader.take() == b"id: 1\ndata: a\n\n"
    assert await reader.take() == b"event: end\nid: 2\ndata: \n\n"
    assert await reader.take() == b""
    assert reader.is_ended
    await serving
    assert reader.status == 200
    assert reader.headers[b"content-type"] == b"text/event-stream; charset=utf-8"
    assert b"content-security-policy" in reader.headers
    assert b"content-length" not in reader.headers


@pytest.mark.anyio
async def test_silence_is_filled_and_loses_nothing() -> None:
    ready = asyncio.Event()

    async def late() -> AsyncGenerator[Change, None]:
        await ready.wait()
        yield Change("late")

    reader = Reader()
    serving = reader.open(event_stream(late(), heartbeat_seconds=0.01))
    await reader.take()
    assert await reader.take() == b": heartbeat\n\n"
    assert await reader.take() == b": heartbeat\n\n"
    ready.set()
    while (body := await reader.take()).startswith(b":"):
        pass
    assert body == b"data: late\n\n"
    await serving


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["reader leaves", "process ends", "time is up"])
async def test_a_stream_ends_and_closes_what_feeds_it(how: str) -> None:
    closed = asyncio.Event()

    async def forever() -> AsyncGenerator[Change, None]:
        try:
            yield Change("a")
            await asyncio.Event().wait()
        finally:
            closed.set()

    reader = Reader()
    serving = reader.open(event_stream(forever(), seconds=0.5 if how == "time is up" else PATIENCE))
    await reader.take()
    assert await reader.take() == b"data: a\n\n"
    if how == "reader leaves":
        reader.left.set()
    elif how == "process ends":
        reader.state.streams.closed.set()
    async with asyncio.timeout(PATIENCE):
        await serving
    assert closed.is_set()
    assert reader.sent.empty() is (how == "reader leaves")  # nobody is there to hear of the end
    assert vars(reader.state)["open_live_streams"] == 0


@pytest.mark.anyio
async def test_what_breaks_breaks_the_stream_off() -> None:
    async def broken() -> AsyncGenerator[Change, None]:
        yield Change("a")
        raise RuntimeError("no more")

    reader = Reader()
    serving = reader.open(event_stream(broken()))
    await reader.take()
    assert await reader.take() == b"data: a\n\n"
    assert await reader.take() == b""
    await serving


@pytest.mark.anyio
async def test_too_many_are_asked_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MAX_STREAMS", 1)
    first = Reader()
    serving = first.open(event_stream(some(ends=False)))
    await first.take()
    second = Reader()
    second.state = first.state
    await second.open(event_stream(some(Change("a"))))
    assert b"Too many" in await second.take()
    assert second.status == 503
    first.left.set()
    await serving


@pytest.mark.anyio
async def test_who_reads_nothing_any_more_keeps_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_FAREWELL", 0.05)
    reader = Reader()

    async def stuck(message: Any) -> None:
        if message.get("body") != OPENING and message["type"] == "http.response.body":
            await asyncio.Event().wait()

    scope = {"type": "http", "app": SimpleNamespace(state=reader.state)}
    async with asyncio.timeout(PATIENCE):
        await event_stream(some(Change("a"), ends=False), seconds=0.05)(scope, reader.receive, stuck)
    assert vars(reader.state)["open_live_streams"] == 0
