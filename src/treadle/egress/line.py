"""One client's connection to the proxy, from its request to its end."""

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus

import h11
import structlog

from treadle.egress.exchange import BrokenOff, exchange, is_ambiguous
from treadle.egress.idle import Idle
from treadle.egress.reach import CONNECT_SECONDS, Reach, Refused
from treadle.egress.speaker import Speaker
from treadle.egress.targets import Target, Unreadable, target_of
from treadle.egress.telling import Teller
from treadle.egress.tunnel import tunnel
from treadle.ports.gateway import Connection

log = structlog.get_logger(__name__)

#: For a request's first line and headers to come, in seconds.
HEAD_SECONDS = 30.0

#: A connection over which nothing moves in either direction is ended after these seconds.
IDLE_SECONDS = 600.0

#: For a client to read an answer while it still sends its request, in seconds.
_LINGER_SECONDS = 2.0

#: A connection that is closed with this is reset.
_RESET = struct.pack("ii", 1, 0)

_BAD_REQUEST, _TIMEOUT, _TOO_MANY, _BAD_GATEWAY, _GATEWAY_TIMEOUT = 400, 408, 429, 502, 504


@dataclass(frozen=True, slots=True)
class Patience:
    """In seconds."""

    head: float = HEAD_SECONDS
    connect: float = CONNECT_SECONDS
    idle: float = IDLE_SECONDS


class Line:
    """Serves one connection; what goes wrong on it concerns nobody else."""

    def __init__(self, client: socket.socket, reach: Reach, teller: Teller, patience: Patience) -> None:
        self._client = Speaker(h11.SERVER, client)
        self._reach = reach
        self._teller = teller
        self._patience = patience
        self._method = b""

    async def serve(self) -> None:
        """Until either side has ended it. Raises what telling the run raises."""
        try:
            await self._serve()
        except* (OSError, h11.ProtocolError, BrokenOff) as broken:
            log.debug("a connection of a run broke off", why=[type(each).__name__ for each in broken.exceptions])

    async def _serve(self) -> None:
        try:
            request = await self._request()
            if request is None:
                return
            target = _target(request)
            upstream = await self._led(target)
            with upstream, _reset_if_broken(upstream):
                if target.path is None:
                    await self._tunnel(upstream)
                else:
                    await self._exchange(request, target, upstream)
        except Refused as refused:
            await self._refuse(refused)

    async def _request(self) -> h11.Request | None:
        """None: the client has gone without a word."""
        try:
            async with asyncio.timeout(self._patience.head):
                request = await self._client.head()
        except TimeoutError:
            raise Refused("The request did not come in time.", _TIMEOUT) from None
        except h11.RemoteProtocolError as error:
            raise Refused("This is no HTTP/1.1 request.", error.error_status_hint) from None
        if not isinstance(request, h11.Request):
            return None
        self._method = request.method
        return request

    async def _led(self, target: Target) -> socket.socket:
        """To the target, and the run knows of it."""
        if not self._teller.takes(target.host, target.port):
            raise Refused("This run has asked for too many different hosts.", _TOO_MANY)
        try:
            upstream, address = await self._reach.connect(target, self._patience.connect)
        except Refused as refused:
            await self._teller.tell(Connection(target.host, target.port, None, refused.sentence))
            raise
        try:
            await self._teller.tell(Connection(target.host, target.port, address, None))
        except BaseException:
            upstream.close()
            raise
        return upstream

    async def _tunnel(self, upstream: socket.socket) -> None:
        await self._client.head()  # its end: there is no more to it
        await self._client.send(h11.Response(status_code=200, reason=b"Connection established", headers=[]))
        early, _ = self._client.http.trailing_data
        await tunnel(self._client.socket, upstream, early, self._patience.idle)

    async def _exchange(self, request: h11.Request, target: Target, upstream: socket.socket) -> None:
        refused = None
        try:
            async with Idle(self._patience.idle) as idle:
                await exchange(self._client, request, target, upstream, idle)
            await self._linger()
        except* TimeoutError:
            refused = Refused(f"{target.host}:{target.port} fell silent.", _GATEWAY_TIMEOUT)
        except* (OSError, h11.ProtocolError):
            refused = Refused(f"{target.host}:{target.port} gave no answer that can be read.", _BAD_GATEWAY)
        if refused is not None:
            raise refused

    async def _refuse(self, refused: Refused) -> None:
        """Says it, unless an answer has begun."""
        if self._client.http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return
        body = f"{refused.sentence}\n".encode()
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
        reason = HTTPStatus(refused.status).phrase.encode()
        headers.append(("Connection", "close"))
        response = h11.Response(status_code=refused.status, reason=reason, headers=headers)
        async with asyncio.timeout(_LINGER_SECONDS):
            await self._client.send(response)
            if self._method != b"HEAD":
                await self._client.send(h11.Data(data=body))
            await self._client.send(h11.EndOfMessage())
        await self._linger()

    async def _linger(self) -> None:
        """Lets the client hear the answer: what it still sends would otherwise come back to it as an error."""
        self._client.socket.shutdown(socket.SHUT_WR)
        loop = asyncio.get_running_loop()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                while await loop.sock_recv(self._client.socket, 1 << 14):
                    pass


def _target(request: h11.Request) -> Target:
    try:
        target = target_of(request.method, request.target)
    except Unreadable as error:
        raise Refused(str(error), _BAD_REQUEST) from None
    if is_ambiguous(request):
        raise Refused("The request's length can be read in two ways.", _BAD_REQUEST)
    return target


@contextmanager
def _reset_if_broken(upstream: socket.socket) -> Iterator[None]:
    """What breaks off in here shall not look like an end out there."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            upstream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        raise
