"""One packet an answer."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from treadle.joined_writes import HEAD_SECONDS, MAX_WAITING, JoinedWrites
from treadle.server import listening


class Wire(asyncio.Transport):
    """Records what is sent, and when it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []

    def write(self, data: object) -> None:
        assert isinstance(data, bytes)
        self.sent.append(data)

    def close(self) -> None:
        self.sent.append(b"<closed>")

    def abort(self) -> None:
        self.sent.append(b"<aborted>")


def joined() -> tuple[Wire, JoinedWrites]:
    wire = Wire()
    return wire, JoinedWrites(wire, asyncio.get_running_loop())


@pytest.mark.anyio
async def test_what_one_turn_writes_goes_together() -> None:
    wire, writes = joined()
    for data in (b"head", b"", bytearray(b"body")):
        writes.write(data)
    assert wire.sent == []
    await asyncio.sleep(0)
    assert wire.sent == [b"headbody"]
    writes.write(b"next")
    await asyncio.sleep(0)
    assert wire.sent == [b"headbody", b"next"]


@pytest.mark.anyio
async def test_much_goes_at_once() -> None:
    wire, writes = joined()
    writes.write(b"head")
    writes.write(b"x" * MAX_WAITING)
    assert wire.sent == [b"head" + b"x" * MAX_WAITING]
    await asyncio.sleep(0)
    assert len(wire.sent) == 1


@pytest.mark.anyio
async def test_nothing_is_lost_when_it_is_closed() -> None:
    wire, writes = joined()
    writes.write(b"last")
    writes.close()
    await asyncio.sleep(0)
    assert wire.sent == [b"last", b"<closed>"]
    wire, writes = joined()
    writes.write(b"last")
    writes.abort()
    await asyncio.sleep(0)
    assert wire.sent == [b"<aborted>"]


@pytest.mark.anyio
async def test_the_server_speaks_so() -> None:
    large = b"x" * 3_000_000

    async def stream(_request: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            for at in range(0, len(large), 100_000):
                yield large[at : at + 100_000]

        return StreamingResponse(chunks())

    async def small(request: Request) -> Response:
        return Response(await request.body(), headers={"Connection": "close"})

    app = Starlette(routes=[Route("/stream", stream), Route("/small", small, methods=["POST"])])
    async with listening(app, "127.0.0.1", 0) as url, httpx2.AsyncClient(timeout=120) as client:
        assert (await client.get(f"{url}/stream")).content == large
        assert (await client.post(f"{url}/small", content=b"last")).content == b"last"
        head = b"POST /small HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"
        host, port = url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(head)
        first = await reader.read(1 << 16)
        assert first.startswith(b"HTTP/1.1 200")
        assert first.endswith(b"\r\n\r\nbody")
        writer.close()
        await writer.wait_closed()


@pytest.mark.anyio
async def test_a_line_is_kept_for_longer_than_clients_keep_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the two let go of it in the same moment, and the request that is on its way then is lost."""
    loop, passed = asyncio.get_running_loop(), 0.0
    clock = loop.time
    monkeypatch.setattr(loop, "time", lambda: clock() + passed)

    async def answer(_: Request) -> Response:
        return Response(b"x")

    async with listening(Starlette(routes=[Route("/", answer)]), "127.0.0.1", 0) as address:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
        for idle in (0.0, httpx2.Limits().keepalive_expiry or 0.0, HEAD_SECONDS / 2):
            passed += idle
            await asyncio.sleep(0.01)  # a turn of the loop, for what is due then
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\nx")).startswith(b"HTTP/1.1 200")
        passed += HEAD_SECONDS + 1
        assert await reader.read() == b"", "nobody may hold one for good"
        writer.close()
        await writer.wait_closed()
