"""A run's door: where it is, who gets in, and that nothing of it is left."""

import asyncio
import os
import stat

import httpx2
import psutil
import pytest
from tests.support.gateway_runs import PATIENCE_SECONDS, Ledger, Opened, client, connect, opened
from tests.support.model_script import Hang, say
from tests.support.model_server import ModelServer

from treadle.gateway import door, line
from treadle.gateway.gateway import Gateway

pytestmark = pytest.mark.anyio


async def test_its_socket_is_its_owners_alone_and_goes_with_it(gateway: Gateway) -> None:
    async with opened(gateway) as run:
        path = run.door.door.socket
        assert path is not None
        assert run.door.door.port == 8418
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.stat().st_uid == os.geteuid()
        assert len(bytes(path)) < 108
        assert run.door.token not in repr(run.door)
    assert not path.parent.exists()


async def test_on_loopback(gateway: Gateway) -> None:
    async with opened(gateway, on_loopback=True) as run:
        assert run.door.door.socket is None
        assert (await run.ask()).is_success
        async with client(run.door, "x") as stranger:
            assert (await stranger.get("/v1/models")).status_code == 401
    listening = {
        each.laddr.port for each in psutil.Process().net_connections("tcp") if each.status == psutil.CONN_LISTEN
    }
    assert run.door.door.port not in listening, "and by now the system may have given it to somebody else"


async def test_closed_it_answers_nobody(gateway: Gateway, model: ModelServer) -> None:
    """Not even a connection that was open before."""
    async with opened(gateway) as run:
        reader, writer = await connect(run.door)
        writer.write(run.head("GET /v1/models HTTP/1.1"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        head = run.head("GET /v1/models HTTP/1.1")
    asked = len(model.requests)
    writer.write(head)
    try:
        rest = await reader.read()
    except ConnectionError:
        rest = b""
    assert b"HTTP/1.1" not in rest
    assert len(model.requests) == asked
    async with opened(gateway) as later, client(later.door, run.door.token) as http:
        assert (await http.get("/v1/models")).status_code == 401
    writer.transport.abort()


async def test_closing_ends_what_is_in_flight(gateway: Gateway, model: ModelServer) -> None:
    model.play(lambda _: Hang())
    async with opened(gateway) as run:
        asked = [asyncio.create_task(run.ask()) for _ in range(10)]
        await asyncio.to_thread(model.wait_for_turns, 10)
        account = run.account
    assert len(account.charged) == 10
    for answer in await asyncio.gather(*asked, return_exceptions=True):
        assert isinstance(answer, httpx2.HTTPError)


async def test_a_connection_is_used_again(run: Opened, model: ModelServer) -> None:
    body = b'{"model": "m"}'
    reader, writer = await connect(run.door)
    for _ in range(3):
        writer.write(run.head("POST /v1/messages HTTP/1.1", f"Content-Length: {len(body)}") + body)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        writer.write(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 401")
        await reader.readuntil(b"}}")
    writer.write(run.head("GET /v1/models HTTP/1.1", "Connection: close"))
    assert (await reader.read()).endswith(b'{"object": "list", "data": []}')
    writer.close()
    assert len(model.requests) == 4


async def test_to_head_there_is_no_body(run: Opened) -> None:
    """And so what comes after it is the next answer."""
    many = run.head("HEAD / HTTP/1.1") + run.head("GET /v1/models HTTP/1.1", "Connection: close")
    first, second, body = (await run.raw(many)).split(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 404")
    assert second.startswith(b"HTTP/1.1 200")
    assert body == b'{"object": "list", "data": []}'


async def test_many_at_once(run: Opened, model: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "MAX_REQUESTS", 4)
    model.play(lambda _: Hang())
    asked = [asyncio.create_task(run.ask()) for _ in range(4)]
    await asyncio.to_thread(model.wait_for_turns, 4)
    answer = await run.ask()
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert answer.json()["error"]["type"] == "rate_limit_error"
    for task in asked:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    await run.account.until_charged(4)
    model.play(lambda _: say("ok"))
    assert (await run.ask()).is_success


async def test_connections_have_an_end(run: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "MAX_CONNECTIONS", 2)
    lines = [await connect(run.door) for _ in range(2)]
    for _, writer in lines:
        writer.write(b"G")
        await writer.drain()
    reader, writer = await connect(run.door)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1), PATIENCE_SECONDS / 2)
    for _, other in [*lines, (reader, writer)]:
        other.transport.abort()


async def test_a_connection_at_rest_is_closed(run: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "REST_SECONDS", 0.05)
    reader, writer = await connect(run.door)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1), PATIENCE_SECONDS / 2)
    writer.transport.abort()


async def test_runs_do_not_disturb_each_other(gateway: Gateway, model: ModelServer) -> None:
    model.play(lambda request: Hang() if request.model == "hang" else say("ok"))
    async with opened(gateway, Ledger()) as one:
        async with opened(gateway, Ledger()) as other:
            asked = asyncio.create_task(other.ask(model="hang"))
            await asyncio.to_thread(model.wait_for_turns, 1)
            assert (await one.ask()).is_success
        assert (await one.ask()).is_success
        assert (len(one.account.charged), len(other.account.charged)) == (2, 1)
        await asyncio.gather(asked, return_exceptions=True)
