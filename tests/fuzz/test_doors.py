"""The ways out of a box speak HTTP with what is inside it: the egress proxy and the model gateway."""

import asyncio
import contextlib
from pathlib import Path

import h11
import pytest
from tests.support.fuzzing import fuzz_async
from tests.support.mutations import TOKENS, Mutator
from tests.unit.egress.scene import door, server, status

from treadle.egress.line import Patience

pytestmark = pytest.mark.anyio

HTTP_TOKENS = (
    *TOKENS,
    *(
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Host: a.test\r\n",
        b"HTTP/1.1",
        b"\r\n\r\n",
        b"CONNECT ",
    ),
    *(
        b"http://",
        b"a.test",
        b"b.test",
        b"127.0.0.1",
        b"[::1]",
        b"user@",
        b"X: " + b"y" * 40_000,
        b"0\r\n\r\n",
        b"chunked",
    ),
)
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"


def requests(port: int) -> tuple[bytes, ...]:
    place = f"a.test:{port}"
    return (
        f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\nhello".encode(),
        f"GET http://{place}/a?b=c HTTP/1.1\r\nHost: {place}\r\nProxy-Connection: keep-alive\r\n\r\n".encode(),
        f"POST http://{place}/ HTTP/1.1\r\nHost: {place}\r\nContent-Length: 5\r\n\r\nhello".encode(),
        f"POST http://{place}/ HTTP/1.1\r\nHost: {place}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        + b"5\r\nhello\r\n0\r\n\r\n",
    )


async def say(path: Path, request: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    found = bytearray()
    try:
        with contextlib.suppress(ConnectionError):
            writer.write(request)
            await writer.drain()
            writer.write_eof()
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(1 << 16):
                found += piece
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return bytes(found)


async def test_requests_to_the_egress_proxy() -> None:
    """Whatever comes is refused, or heard by the allowed host as the one request that it was understood to be."""
    heard: list[bytes] = []

    async def host(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got = bytearray()
        heard.append(b"")
        at = len(heard) - 1
        server_side = h11.Connection(h11.SERVER)
        with contextlib.suppress(h11.RemoteProtocolError):
            while piece := await reader.read(1 << 16):
                got += piece
                heard[at] = bytes(got)
                server_side.receive_data(piece)
                while not isinstance(event := server_side.next_event(), type):
                    if isinstance(event, h11.EndOfMessage):
                        writer.write(OK)
                        await writer.drain()
                        writer.write_eof()
                        return
        writer.write(OK)

    async with server(host) as port, door(f"allow:a.test:{port}", patience=Patience(1.0, 5.0, 2.0)) as here:
        valid = requests(port)

        async def check(mutator: Mutator) -> None:
            heard.clear()
            request = mutator.random.choice(valid)
            answer = await say(here.path, mutator.data(request, *valid, tokens=HTTP_TOKENS))
            assert status(answer) != 500
            if heard and status(answer) == 200 and b"Connection established" not in answer:
                assert len(heard) == 1
                lines = heard[0].split(b"\r\n\r\n")[0].lower().split(b"\r\n")
                assert f"host: a.test:{port}".encode() in lines
                assert sum(line.startswith((b"content-length:", b"transfer-encoding:")) for line in lines) <= 1
                assert not any(line.startswith(b"proxy-") for line in lines)
            assert all(each.refusal is not None or each.host == "a.test" for each in here.told.connections)

        await fuzz_async(500, check)
        found = b""
        for _ in range(100):  # one that comes late is refused
            found = found if found.endswith(b"hello") else await say(here.path, valid[1])
        assert found.endswith(b"hello")


async def test_answers_through_the_egress_proxy() -> None:
    """An allowed host need not be a friend."""
    answer = OK

    async def host(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.write_eof()

    async with server(host) as port, door(patience=Patience(1.0, 5.0, 2.0)) as here:

        async def check(mutator: Mutator) -> None:
            nonlocal answer
            answer = mutator.data(mutator.random.choice((OK, CHUNKED)), OK, CHUNKED, tokens=HTTP_TOKENS)
            found = await say(here.path, requests(port)[1])
            client = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
            client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
            client.send(h11.EndOfMessage())
            client.receive_data(found)
            client.receive_data(b"")
            with contextlib.suppress(h11.RemoteProtocolError):  # it broke off, and so does what is passed on
                while not isinstance(event := client.next_event(), h11.EndOfMessage | h11.ConnectionClosed | type):
                    assert not isinstance(event, h11.Request)

        await fuzz_async(400, check)
