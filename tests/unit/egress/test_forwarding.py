"""Requests in absolute form: one at a time, and written anew, so that nothing travels that was not understood."""

import asyncio
import re
from collections.abc import Callable
from itertools import takewhile

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.egress.scene import PATIENCE, answering, connect, door, hang_up, server, status

from treadle.egress.line import Patience
from treadle.egress.speaker import HEAD_BYTES
from treadle.egress.targets import Target, Unreadable, address_in, target_of

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def get(port: int, *headers: str, method: str = "GET", path: str = "/a?b=c", version: str = "1.1") -> bytes:
    lines = [f"{method} http://a.test:{port}{path} HTTP/{version}", "Host: elsewhere.test", *headers]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


@pytest.mark.anyio
async def test_what_the_host_hears() -> None:
    heard = list[bytes]()
    async with server(answering(OK, heard)) as port, door() as here:
        request = get(
            port,
            *("Proxy-Authorization: Basic c2VjcmV0", "Proxy-Connection: keep-alive", "Connection: X-Hop, close"),
            *("X-Hop: 1", "Keep-Alive: 5", "TE: trailers", "Upgrade: websocket", "Accept: */*", "X-End: 2"),
        )
        answer = await here.say(request)
    assert status(answer) == 200
    assert answer.endswith(b"\r\n\r\nok")
    assert b"connection: close" in answer.lower()
    (told,) = heard
    assert told == (
        f"GET /a?b=c HTTP/1.1\r\nhost: a.test:{port}\r\naccept: */*\r\nx-end: 2\r\nconnection: close\r\n\r\n".encode()
    )


@pytest.mark.anyio
@pytest.mark.parametrize("length", ["Content-Length: 5", "Transfer-Encoding: chunked"])
async def test_a_body_travels(length: str) -> None:
    heard = list[bytes]()
    body = b"hello" if "Length" in length else b"3;extension\r\nhel\r\n2\r\nlo\r\n0\r\nTrailer: x\r\n\r\n"
    async with server(answering(OK, heard)) as port, door() as here:
        assert status(await here.say(get(port, length, method="POST") + body)) == 200
    assert heard[0].endswith(b"hello" if "Length" in length else b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n")


@pytest.mark.anyio
async def test_a_client_that_waits_to_be_asked_for_its_body() -> None:
    async def asking(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert await reader.readexactly(5) == b"hello"
        writer.write(OK)
        await writer.drain()
        await reader.read()

    async with server(asking) as port, door() as here:
        reader, writer = await here.dial()
        writer.write(get(port, "Content-Length: 5", "Expect: 100-continue", method="PUT"))
        assert status(await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)) == 100
        writer.write(b"hello")
        assert status(await asyncio.wait_for(reader.read(), PATIENCE)) == 200
        await hang_up(writer)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"2\r\nok\r\n0\r\n\r\n"),
        (b"HTTP/1.0 200 OK\r\n\r\nok", b"2\r\nok\r\n0\r\n\r\n"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b""),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nno", b"no"),
    ],
)
async def test_answers_of_every_shape(answer: bytes, body: bytes) -> None:
    async with server(answering(answer)) as port, door() as here:
        found = await here.say(get(port))
    assert status(found) == status(answer.replace(b"HTTP/1.0", b"HTTP/1.1"))
    assert found.partition(b"\r\n\r\n")[2] == body


@pytest.mark.anyio
async def test_a_head_of_an_answer() -> None:
    async with server(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")) as port, door() as here:
        found = await here.say(get(port, method="HEAD"))
        assert b"content-length: 500" in found.lower()
        assert found.endswith(b"\r\n\r\n")
    async with door("allow:b.test") as here:
        assert (await here.say(get(80, method="HEAD"))).endswith(b"\r\n\r\n")


@pytest.mark.anyio
@pytest.mark.parametrize(
    "answer",
    [
        *(b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"HTTP/1.1 999999 OK\r\n\r\n"),
        *(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000),
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    ],
)
async def test_what_is_no_answer(answer: bytes) -> None:
    async with server(answering(answer)) as port, door() as here:
        assert status(await here.say(get(port))) == 502


@pytest.mark.anyio
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ],
)
async def test_half_an_answer_does_not_look_whole(answer: bytes) -> None:
    async with server(answering(answer)) as port, door() as here:
        found = await here.say(get(port))
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    client.send(h11.EndOfMessage())
    client.receive_data(found)
    client.receive_data(b"")
    events = iter(client.next_event, None)
    with pytest.raises(h11.RemoteProtocolError):
        list(takewhile(lambda event: not isinstance(event, h11.EndOfMessage), events))


@pytest.mark.anyio
async def test_a_silent_host() -> None:
    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with server(silent) as port, door(patience=Patience(idle=0.3)) as here:
        assert status(await here.say(get(port))) == 504


@pytest.mark.anyio
@pytest.mark.parametrize(
    "request_of",
    [
        lambda port: get(port, "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\nGET /",
        lambda port: get(port, "Content-Length: 5", "Content-Length: 6") + b"hello!",
        lambda port: get(port, "Content-Length: +5") + b"hello",
        lambda port: get(port, "Content-Length: 5, 6") + b"hello!",
        lambda port: get(port, "Transfer-Encoding: chunked, identity") + b"0\r\n\r\n",
        lambda port: get(port, "Transfer-Encoding: xchunked") + b"0\r\n\r\n",
        lambda port: get(port, "Transfer-Encoding : chunked") + b"0\r\n\r\n",
        lambda port: get(port, "Transfer-Encoding: chunked", version="1.0") + b"0\r\n\r\n",
        lambda port: get(port, "Host: a.test"),
        lambda port: get(port, "X: a\rb: c"),
        lambda port: get(port, "X: a\0"),
        lambda port: get(port, path="/ HTTP/1.1\r\nX: y\r\n\r\nGET /"),
        lambda port: get(port).replace(b"HTTP/1.1", b"HTTP/2.0", 1),
        lambda port: get(port).replace(b"http://", b"https://"),
        lambda port: get(port).replace(b"http://", b"http://me:word@"),
        lambda port: get(port).replace(b"http://a.test", b"http://evil.test\\@a.test"),
        lambda port: get(port).replace(b"http://a.test", b"//a.test"),
        lambda port: get(port).replace(b"http://a.test", b"ftp://a.test"),
        lambda port: get(port, path="/#a"),
        lambda port: b"GET / HTTP/1.1\r\nHost: a.test:%d\r\n\r\n" % port,
        lambda port: connect("a.test", port).replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\nhello"),
        lambda port: connect("a.test", port).replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        lambda _: b"\x16\x03\x01\x02\x00\x01\x00" + bytes(500),
        lambda _: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        lambda _: b"\x05\x01\x00",
    ],
)
async def test_nothing_is_smuggled(request_of: Callable[[int], bytes]) -> None:
    """Each is refused with one answer, or heard by the host as the one request that the proxy understood."""
    heard = list[bytes]()
    async with server(answering(OK, heard)) as port, door(patience=Patience(head=1.0)) as here:
        answer = await here.say(request_of(port))
    assert 400 <= status(answer) < 600 or status(answer) == 200, answer
    assert len(re.findall(rb"HTTP/1\.1 \d", answer)) == 1
    if status(answer) != 200:
        assert heard == []
        return
    (told,) = heard
    assert told.count(b"HTTP/1.1\r\n") == 1
    assert b"elsewhere" not in told


@pytest.mark.anyio
async def test_a_second_request_on_the_same_connection_goes_nowhere() -> None:
    heard = list[bytes]()
    async with server(answering(OK, heard)) as port, door() as here:
        answer = await here.say(get(port) + get(port, path="/second"))
    assert len(re.findall(rb"HTTP/1\.1 \d", answer)) == 1
    assert len(heard) == 1


@pytest.mark.anyio
async def test_the_size_of_a_head() -> None:
    async with server(answering(OK)) as port, door() as here:
        room = HEAD_BYTES - len(get(port, "X: "))
        assert status(await here.say(get(port, "X: " + "y" * room))) == 200
        assert status(await here.say(get(port, "X: " + "y" * (room + 1)))) == 431
        assert status(await here.say(b"GET http://a.test/" + b"y" * 1_000_000)) == 431


@given(target=st.binary(max_size=40) | st.from_regex(rb"(?i)(http://)?[a-z0-9.\[\]:%@/?#-]{1,60}", fullmatch=True))
def test_any_target(target: bytes) -> None:
    """Only what h11 lets through comes here: visible ASCII."""
    target = bytes(byte for byte in target if 0x21 <= byte <= 0x7E)
    for method in (b"GET", b"CONNECT"):
        try:
            found = target_of(method, target)
        except Unreadable:
            continue
        assert 0 < found.port < 65_536
        assert found.host == found.host.lower()
        try:
            address_in(found.host)
        except ValueError:
            continue
        again = target_of(b"GET", b"http://" + found.authority + (found.path or b"/"))
        assert again == Target(found.host, found.port, found.path or b"/")
