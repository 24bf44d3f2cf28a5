"""HTTP/1.1 over a socket, as h11 reads and writes it, with one bounded buffer."""

import asyncio
import socket
from typing import TypeAlias

import h11

from treadle.egress.idle import Idle

#: A request's or an answer's first line and headers, in bytes.
HEAD_BYTES = 32 * 1024

#: What is read at once, and all that a connection holds of what it passes on in one direction, in bytes.
CHUNK_BYTES = 64 * 1024

Event: TypeAlias = h11.Event


class Speaker:
    """One side of it. Raises h11.RemoteProtocolError for what is no HTTP/1.1, OSError for a connection that breaks."""

    def __init__(self, role: type[h11.CLIENT] | type[h11.SERVER], socket: socket.socket) -> None:
        self.socket = socket
        self.http = h11.Connection(role, max_incomplete_event_size=HEAD_BYTES)
        self._loop = asyncio.get_running_loop()

    async def head(self, idle: Idle | None = None) -> Event:
        """The next event, from no more bytes than a head may have."""
        left = HEAD_BYTES
        while (event := self._ready()) is None:
            if not left:
                raise h11.RemoteProtocolError(f"a head of more than {HEAD_BYTES} bytes", error_status_hint=431)
            left -= await self._read(left, idle)
        return event

    async def next(self, idle: Idle) -> Event:
        """The next event."""
        while (event := self._ready()) is None:
            await self._read(CHUNK_BYTES, idle)
        return event

    async def send(self, event: Event) -> None:
        """Returns when the other side has taken all but what the system holds for it."""
        data = self.http.send(event)
        if data:
            await self._loop.sock_sendall(self.socket, data)

    def _ready(self) -> Event | None:
        event = self.http.next_event()
        if event is h11.PAUSED:
            raise h11.RemoteProtocolError("more than one message")
        return event if isinstance(event, h11.Event) else None

    async def _read(self, most: int, idle: Idle | None) -> int:
        data = await self._loop.sock_recv(self.socket, most)
        self.http.receive_data(data)
        if idle is not None:
            idle.moved()
        return len(data)
