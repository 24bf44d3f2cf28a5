"""One request in absolute form, and its answer: read, and written anew for the other side.

Nothing is passed on as it came but the method, the path and the headers that are meant for the other end: the framing
is made here, from what was understood here, so that both ends see the same one message.
"""

import asyncio
import socket
from collections.abc import Iterable, Iterator

import h11

from treadle.egress.idle import Idle
from treadle.egress.speaker import Speaker
from treadle.egress.targets import Target

#: They are between two neighbours (RFC 9110, 7.6.1), or made here.
_OURS = frozenset(
    (
        *(b"connection", b"content-length", b"host", b"keep-alive", b"te", b"trailer", b"transfer-encoding"),
        b"upgrade",
    )
)
_CLOSE = (b"connection", b"close")
_SWITCHING = 101

Header = tuple[bytes, bytes]


class BrokenOff(Exception):
    """The host ended, or spoke something else, in the middle: what the client has of the answer is all it gets."""


def is_ambiguous(request: h11.Request) -> bool:
    """Whether its length could be read in two ways."""
    found = dict(request.headers)
    if request.method == b"CONNECT":
        return b"transfer-encoding" in found or int(found.get(b"content-length", 0)) > 0
    return b"transfer-encoding" in found and (b"content-length" in found or request.http_version < b"1.1")


async def exchange(client: Speaker, request: h11.Request, target: Target, origin: socket.socket, idle: Idle) -> None:
    """Raises h11.RemoteProtocolError and OSError as long as nothing was answered, then BrokenOff."""
    host = Speaker(h11.CLIENT, origin)
    await host.send(
        h11.Request(
            method=request.method,
            target=target.path or b"/",
            headers=[(b"host", target.authority), *_passed(request.headers), *_framing(request.headers), _CLOSE],
        )
    )
    async with asyncio.TaskGroup() as directions:
        upload = directions.create_task(_upload(client, host, idle))
        try:
            await _answer(client, host, request, idle)
        finally:
            upload.cancel()  # an answer may come before the request was heard to its end


async def _upload(client: Speaker, host: Speaker, idle: Idle) -> None:
    try:
        while isinstance(event := await client.next(idle), h11.Data):
            await host.send(h11.Data(data=bytes(event.data)))
            idle.moved()
        await host.send(h11.EndOfMessage())
    except OSError:
        return  # the host may have answered all the same
    except h11.RemoteProtocolError:  # from the client: its request has no end, so the host shall not see one
        host.socket.shutdown(socket.SHUT_RDWR)


async def _answer(client: Speaker, host: Speaker, request: h11.Request, idle: Idle) -> None:
    event = await host.head(idle)
    while isinstance(event, h11.InformationalResponse):
        if event.status_code == _SWITCHING:
            raise h11.RemoteProtocolError("another protocol, unasked")
        if request.http_version >= b"1.1":
            passed = list(_passed(event.headers))
            await client.send(h11.InformationalResponse(status_code=event.status_code, headers=passed))
        event = await host.head(idle)
    if not isinstance(event, h11.Response):
        raise h11.RemoteProtocolError("no answer")
    headers = [*_passed(event.headers), *_framing(event.headers), _CLOSE]
    try:
        await client.send(h11.Response(status_code=event.status_code, reason=event.reason, headers=headers))
        while isinstance(piece := await host.next(idle), h11.Data):
            await client.send(h11.Data(data=bytes(piece.data)))
            idle.moved()
        await client.send(h11.EndOfMessage())
    except (OSError, h11.ProtocolError) as error:
        raise BrokenOff from error


def _passed(headers: Iterable[Header]) -> Iterator[Header]:
    """Those for the other end."""
    headers = list(headers)
    named = {word.strip().lower() for name, value in headers if name == b"connection" for word in value.split(b",")}
    for name, value in headers:
        if name not in _OURS and name not in named and not name.startswith(b"proxy-"):
            yield name, value


def _framing(headers: Iterable[Header]) -> Iterator[Header]:
    """h11 has seen to it that there is one of these at most, and that it is right."""
    found = dict(headers)
    if b"transfer-encoding" in found:
        yield b"transfer-encoding", b"chunked"
    elif b"content-length" in found:
        yield b"content-length", found[b"content-length"]
