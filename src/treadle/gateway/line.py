"""One connection of a client inside: HTTP/1.1 read strictly, one request after another."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from http.client import responses

import h11

from treadle.gateway import heads
from treadle.gateway.refusals import Malformed

#: Longest rest between two requests of a connection, in seconds; a CLI keeps one while its tools work.
REST_SECONDS = 900.0

#: Longest time for a request's head, from its first byte, in seconds.
HEAD_SECONDS = 30.0

#: Longest time for its body, in seconds.
BODY_SECONDS = 120.0

#: Longest time in which a client takes nothing of its answer, in seconds.
CLIENT_SECONDS = 300.0

#: What is read ahead of a connection's later requests, in bytes.
MAX_AHEAD_BYTES = 256 * 1024

#: For a client that is refused to read why, in seconds.
FAREWELL_SECONDS = 1.0

_READ_BYTES = 64 * 1024
_HEAD_END = b"\r\n\r\n"


class Line:
    """Whatever is written here is awaited by the client: a slow one slows its sender down, and to one that has hung up,
    or takes nothing any more, nothing is written. Everything but `left` is to be called by one task at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._ahead = bytearray()
        self._is_head = False
        self._gone = asyncio.Event()
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=heads.MAX_HEAD_BYTES)

    async def next_head(self) -> h11.Request | None:
        """None: the client is done. Raises Malformed, ConnectionError."""
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=heads.MAX_HEAD_BYTES)
        try:
            async with asyncio.timeout(REST_SECONDS):
                if not self._ahead and not await self._fill():
                    return None
        except TimeoutError:
            return None
        try:
            async with asyncio.timeout(HEAD_SECONDS):
                end = await self._head_end()
        except TimeoutError:
            raise Malformed(408, "The request did not come in time.") from None
        head = bytes(self._ahead[: end + len(_HEAD_END)])
        del self._ahead[: len(head)]
        heads.check(head[:end])
        self._http.receive_data(head)
        self._is_head = head.startswith(b"HEAD ")
        event = self._event()
        if not isinstance(event, h11.Request):
            raise Malformed(400, "The request is not of HTTP/1.1.")
        return event

    async def read_body(self, take: Callable[[bytes], None]) -> None:
        """To its end, each piece to `take`. Raises Malformed, ConnectionError, and what `take` raises."""
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while not isinstance(event := self._event(), h11.EndOfMessage):
                    if isinstance(event, h11.Data):
                        take(bytes(event.data))
                        continue
                    if self._http.they_are_waiting_for_100_continue:
                        self._emit(h11.InformationalResponse(status_code=100, headers=[]))
                    if not self._ahead and not await self._fill():
                        raise ConnectionResetError
                    self._http.receive_data(bytes(self._ahead))
                    self._ahead.clear()
        except TimeoutError:
            raise Malformed(408, "The request did not come in time.") from None
        self._ahead += self._http.trailing_data[0]

    async def left(self) -> None:
        """Returns once the client has hung up. Reads ahead meanwhile, so not while a body is read."""
        try:
            while len(self._ahead) < MAX_AHEAD_BYTES:
                if not await self._fill():
                    self._gone.set()
                    break
        except ConnectionError:
            self._gone.set()
        await self._gone.wait()

    @property
    def has_hung_up(self) -> bool:
        return self._gone.is_set()

    @property
    def has_begun(self) -> bool:
        """Whether some of the answer has gone out."""
        return self._http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}

    @property
    def is_reusable(self) -> bool:
        is_done = self._http.our_state is h11.DONE and self._http.their_state is h11.DONE
        return is_done and not self.has_hung_up

    def begin(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """The answer's head. Without a `content-length` it is sent in chunks."""
        reason = responses.get(status, "").encode()
        self._emit(h11.Response(status_code=status, headers=list(headers), reason=reason))

    async def send(self, piece: bytes) -> None:
        self._emit(h11.Data(data=piece))
        await self._taken()

    async def end(self) -> None:
        self._emit(h11.EndOfMessage())
        await self._taken()

    async def whole(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """An answer in one piece."""
        fields = {"content-type": "application/json", **headers, "content-length": str(len(body))}
        self.begin(status, [(name.encode(), value.encode()) for name, value in fields.items()])
        if not self._is_head:
            await self.send(body)
        await self.end()

    async def farewell(self) -> None:
        """Lets the client read the last answer: closing over unread bytes would take it away."""
        try:
            async with asyncio.timeout(FAREWELL_SECONDS):
                if self._writer.can_write_eof():
                    self._writer.write_eof()
                while await self._reader.read(_READ_BYTES):
                    pass
        except (TimeoutError, OSError):
            return

    def abort(self) -> None:
        self._writer.transport.abort()

    async def _head_end(self) -> int:
        while (end := self._ahead.find(_HEAD_END)) < 0:
            heads.check_ends(bytes(self._ahead))
            if len(self._ahead) > heads.MAX_HEAD_BYTES:
                break
            if not await self._fill():
                raise ConnectionResetError
        if not 0 <= end <= heads.MAX_HEAD_BYTES:
            raise Malformed(431, f"The head of the request has more than {heads.MAX_HEAD_BYTES:,} bytes.")
        return end

    def _event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        try:
            return self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise Malformed(error.error_status_hint, "The request is not of HTTP/1.1.") from None

    async def _fill(self) -> bool:
        data = await self._reader.read(_READ_BYTES)
        self._ahead += data
        return bool(data)

    def _emit(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data and not self.has_hung_up:
            self._writer.write(data)

    async def _taken(self) -> None:
        if self.has_hung_up:
            return
        try:
            async with asyncio.timeout(CLIENT_SECONDS):
                await self._writer.drain()
        except (ConnectionError, TimeoutError):
            self._gone.set()
