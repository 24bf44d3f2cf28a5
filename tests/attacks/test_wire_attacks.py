"""Attacks on the line itself: what reaches the real server is bytes of somebody's choice.

Whether a request was smuggled is seen by what it would leave: an entry of the audit log.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.support.deployment import Deployment, deployed

from treadle import joined_writes, server
from treadle.api import front

pytestmark = pytest.mark.anyio

#: How long an answer that never comes is waited for, in seconds.
PATIENCE = 120.0

#: And how long a second one, that must not come, in seconds.
MOMENT = 0.2


class Line:
    """A deployment behind the real server, and connections to it."""

    def __init__(self, here: Deployment, port: int) -> None:
        self.here = here
        self.port = port

    @property
    def smuggled(self) -> bytes:
        """A request that leaves an entry when it is done."""
        return b"POST /auth/token HTTP/1.1\r\nHost: x\r\nX-Api-Key: %b\r\nContent-Length: 0\r\n\r\n" % (
            self.here.admin.key.encode()
        )

    async def was_done(self) -> bool:
        return bool(await self.here.store.audit(None, limit=1, action="token.issued"))

    async def send(self, *parts: bytes, pause: float = 0.0, answers: int | None = None) -> bytes:
        """Everything that comes back until the server ends the connection; or until there are so many answers, and a
        moment later still no more."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        got, arrived = bytearray(), asyncio.Event()
        reading = asyncio.create_task(_gather(reader, got, arrived))
        try:
            with suppress(ConnectionError):  # it ended the connection before it had heard all
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(pause)
            async with asyncio.timeout(PATIENCE):
                if answers is None:
                    await reading
                while not reading.done() and len(statuses(bytes(got))) < (answers or 0):
                    arrived.clear()
                    await arrived.wait()
            await asyncio.sleep(MOMENT if answers is not None else 0)
        finally:
            reading.cancel()
            writer.transport.abort()
        return bytes(got)


async def _gather(reader: asyncio.StreamReader, got: bytearray, arrived: asyncio.Event) -> None:
    with suppress(ConnectionError):
        while chunk := await reader.read(1 << 16):
            got += chunk
            arrived.set()
    arrived.set()


@asynccontextmanager
async def line_to(folder: Path, **settings: Any) -> AsyncIterator[Line]:
    async with deployed(folder, **settings) as here, server.listening(here.app, "127.0.0.1", 0) as address:
        yield Line(here, int(address.rpartition(":")[2]))


@pytest.fixture
async def line(tmp_path: Path) -> AsyncIterator[Line]:
    async with line_to(tmp_path) as found:
        yield found


def statuses(answer: bytes) -> list[int]:
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


# ---- a second request within the first -------------------------------------------------------------------------------

_POST = b"POST /files HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("head", "before"),
    [
        pytest.param(b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n", id="CL.TE"),
        pytest.param(b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", b"0\r\n\r\n", id="TE.CL"),
        pytest.param(b"Content-Length: 0\r\nContent-Length: 500\r\n", b"", id="two lengths"),
        pytest.param(b"Content-Length: 0, 500\r\n", b"", id="two lengths in one"),
        pytest.param(
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", b"0\r\n\r\n", id="two encodings"
        ),
        pytest.param(b"Transfer-Encoding: identity, chunked\r\n", b"0\r\n\r\n", id="a list of encodings"),
        pytest.param(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n", id="an unknown encoding"),
        pytest.param(b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n", id="a space before the colon"),
        pytest.param(b"Transfer-Encoding:\x0bchunked\r\n", b"0\r\n\r\n", id="a vertical tab"),
        pytest.param(b"Transfer-Encoding: chunked\x00\r\n", b"0\r\n\r\n", id="a NUL"),
        pytest.param(b"Content-Length: +0\r\n", b"", id="a sign"),
        pytest.param(b"Content-Length: 0x0\r\n", b"", id="a hexadecimal length"),
        pytest.param(b"Content-Length: -1\r\n", b"", id="a negative length"),
        pytest.param(b"Content-Length: \r\n", b"", id="an empty length"),
        pytest.param(b"Content-Length: 9e9\r\n", b"", id="an exponent"),
        pytest.param(b"Content-Length: \xd9\xa1\r\n", b"", id="an Arabic digit"),
        pytest.param(b"Transfer-Encoding: chunked\r\n", b"5\r\nhelloXX0\r\n\r\n", id="a chunk that ends oddly"),
        pytest.param(b"Transfer-Encoding: chunked\r\n", b"-1\r\n\r\n", id="a negative chunk"),
        pytest.param(b"Transfer-Encoding: chunked\r\n", b"0x0\r\n\r\n", id="a hexadecimal chunk"),
        pytest.param(b"Transfer-Encoding: chunked\r\n", b"fffffffffffffffffffff\r\n", id="a chunk without end"),
        pytest.param(b"X-A: b\rContent-Length: 0\r\n", b"", id="a bare CR"),
        pytest.param(b"X A: b\r\n", b"", id="a space in a name"),
        pytest.param(b"X-A\r\n", b"", id="no colon"),
        pytest.param(b": b\r\n", b"", id="no name"),
    ],
)
async def test_nobody_reads_two_requests_where_another_reads_one(line: Line, head: bytes, before: bytes) -> None:
    """A proxy may see one request with a body: what stands in the body must never be done. One answer, a refusal, and
    the connection is over."""
    answer = await line.send(_POST + head + b"\r\n" + before + line.smuggled)
    assert len(statuses(answer)) == 1, answer
    assert 400 <= statuses(answer)[0] < 500
    assert b"connection: close" in answer.lower()
    assert not await line.was_done()


@pytest.mark.parametrize("fold", [b"\r\n ", b"\r\n\t"])
async def test_a_folded_header_is_one_header(line: Line, fold: bytes) -> None:
    """As if there stood a space: so a folded `chunked` is chunked, for whoever reads it."""
    head = b"Transfer-Encoding:%bchunked\r\n\r\n" % fold
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(line.smuggled), line.smuggled)
    answer = await line.send(_POST + head + body, answers=1)
    assert len(statuses(answer)) == 1, answer
    assert not await line.was_done()


async def test_a_pipelined_request_is_a_request(line: Line) -> None:
    """So that the tests above see one that is done."""
    answer = await line.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + line.smuggled, answers=2)
    assert statuses(answer) == [200, 200]
    assert await line.was_done()


async def test_a_body_is_no_request_when_it_was_refused_before_it_was_read(line: Line) -> None:
    length = len(line.smuggled)
    answer = await line.send(_POST + b"Content-Length: %d\r\n\r\n" % length + line.smuggled, answers=1)
    assert statuses(answer) == [401]
    assert not await line.was_done()


async def test_a_length_that_is_too_long_leaves_nothing(line: Line) -> None:
    key = b"X-Api-Key: %b\r\n" % line.here.admin.key.encode()
    head = b"POST /code-generation/processes HTTP/1.1\r\nHost: x\r\n%bContent-Length: 999999\r\n\r\n{" % key
    with suppress(TimeoutError):
        async with asyncio.timeout(0.5):  # and then the client goes away
            await line.send(head)
    assert await line.here.services.runs.list(await line.here.services.identity.authenticate(line.here.admin.key)) == ()


async def test_no_upgrade_and_no_tunnel(line: Line) -> None:
    for head in (
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
    ):
        asked = b"GET /healthz HTTP/1.1\r\nHost: x\r\n%b\r\n" % head
        assert statuses(await line.send(asked, answers=1)) == [200]
    answer = await line.send(b"CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: 169.254.169.254:80\r\n\r\n", answers=1)
    assert statuses(answer)[0] in {400, 404, 405}
    answer = await line.send(b"GET http://169.254.169.254/latest/meta-data HTTP/1.1\r\nHost: x\r\n\r\n", answers=1)
    assert statuses(answer) == [404]


# ---- too much --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        b"".join(b"X-%d: a\r\n" % number for number in range(front.MAX_HEADERS + 1)),
        b"X: " + b"a" * (front.MAX_HEAD_BYTES + 1) + b"\r\n",
        b"".join(b"Cookie: a%d=b\r\n" % number for number in range(20_000)),
        b"X: " + b"a" * 5_000_000,
    ],
    ids=["many", "long", "cookies", "endless"],
)
async def test_a_head_has_a_size(line: Line, head: bytes) -> None:
    answer = await line.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n", answers=1)
    assert statuses(answer) in ([431], [400], [])  # the last: told while it was still sending
    assert statuses(await line.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", answers=1)) == [200]


async def test_an_address_has_a_size(line: Line) -> None:
    target = b"/runs/" + b"a" * (front.MAX_HEAD_BYTES + 1)
    assert statuses(await line.send(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % target, answers=1))[:1] in ([431], [400])
    target = b"/readyz?" + b"exclude=a&" * 4000
    assert statuses(await line.send(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % target, answers=1))[:1] in ([431], [400])


# ---- too slow --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [b"", b"GET /healthz HTT", b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-A: "])
async def test_a_head_that_does_not_come_is_not_waited_for(
    line: Line, monkeypatch: pytest.MonkeyPatch, begun: bytes
) -> None:
    monkeypatch.setattr(joined_writes, "HEAD_SECONDS", 0.3)
    answer = await line.send(begun, *[b"a" if begun else b""] * 8, pause=0.1)
    assert statuses(answer) in ([], [400])


async def test_a_connection_is_not_kept_by_a_body_that_nobody_wants(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is given: what drips in afterwards keeps nothing alive."""
    monkeypatch.setattr(joined_writes, "HEAD_SECONDS", 3.0)  # long enough for the head, which comes at once
    answer = await line.send(_POST + b"Content-Length: 100000\r\n\r\n", *[b"a"] * 8, pause=0.1)
    assert statuses(answer) == [401]  # and then it is over, or this had waited for it in vain


@pytest.mark.parametrize("framing", [b"Content-Length: 4000\r\n", b"Transfer-Encoding: chunked\r\n"])
@pytest.mark.parametrize("path", [b"/code-generation/processes", b"/files", b"/v1/organizations/1/agent/run"])
async def test_a_body_that_drips_is_not_waited_for(
    line: Line, monkeypatch: pytest.MonkeyPatch, framing: bytes, path: bytes
) -> None:
    monkeypatch.setattr(front, "BODY_SECONDS", 0.3)
    key = b"X-Api-Key: %b\r\n" % line.here.admin.key.encode()
    kind = b"multipart/form-data; boundary=x" if path == b"/files" else b"application/json"
    head = b"POST %b HTTP/1.1\r\nHost: x\r\n%bContent-Type: %b\r\n%b\r\n" % (path, key, kind, framing)
    first = b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n' if path == b"/files" else b"["
    drops = [first, *[b"["] * 8]
    if b"chunked" in framing:
        drops = [b"%x\r\n%b\r\n" % (len(drop), drop) for drop in drops]
    answer = await line.send(head, *drops, pause=0.1)
    assert statuses(answer) == [408]
    assert b"connection: close" in answer.lower()


async def test_who_reads_nothing_is_let_go(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joined_writes, "HEAD_SECONDS", 0.1)
    with socket.create_connection(("127.0.0.1", line.port)) as mute:
        mute.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        mute.setblocking(False)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(ConnectionError):
                await _ask_without_end(loop, mute)


async def _ask_without_end(loop: asyncio.AbstractEventLoop, mute: socket.socket) -> None:
    """Far more than what fits between the two."""
    while True:
        await loop.sock_sendall(mute, b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
