"""HTTP/1.1 as uvicorn speaks it, with the head and the body of an answer in one packet.

uvicorn sends them one after the other. Each sending costs a call to the kernel, and in a process with busy threads a
wait for the interpreter's lock: joined, a fifth to a third more requests were answered in a second.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

#: What waits is sent at once when it is more than this; bytes.
MAX_WAITING = 1 << 16

#: A request's head must have come this long after the connection was made, or after the answer before it, in seconds.
#: After as long again a look is taken at what has not been read of an answer: the same this often, and nobody reads.
HEAD_SECONDS = 20.0
STALLED_LOOKS = 4

Data = bytes | bytearray | memoryview


class JoinedWrites(asyncio.Transport):
    """A transport that sends what one turn of the event loop writes together. Only what uvicorn asks of one."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._waiting: list[Data] = []
        self._size = 0

    def write(self, data: Data) -> None:
        if not data:
            return
        if not self._waiting:
            self._loop.call_soon(self._send)
        self._waiting.append(data)
        self._size += len(data)
        if self._size > MAX_WAITING:  # so that the transport can say that it has enough
            self._send()

    def close(self) -> None:
        self._send()
        self._transport.close()

    def abort(self) -> None:
        self._waiting.clear()
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def _send(self) -> None:
        if self._waiting:
            data = b"".join(self._waiting)
            self._waiting.clear()
            self._size = 0
            self._transport.write(data)


class JoiningHttp(H11Protocol):
    """To be given to `uvicorn.Config(http=…)`. It ends the connections of clients that only hold them: those whose next
    request does not come, and those that read nothing of their answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(JoinedWrites(transport, self.loop))
        self._line = transport
        self._idle_since = self.loop.time()
        self._unread, self._looks = 0, 0
        self._watch = self.loop.call_later(HEAD_SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._idle_since = self.loop.time()
        super().on_response_complete()

    def _look(self) -> None:
        """One timer for a connection, and not one for each request: these come by the thousand."""
        is_idle: bool = getattr(self.cycle, "response_complete", True)  # there is none before the first request
        left = self._idle_since + HEAD_SECONDS - self.loop.time()
        unread = self._line.get_write_buffer_size()
        self._looks = self._looks + 1 if unread and unread == self._unread else 0
        self._unread = unread
        if (is_idle and left <= 0) or self._looks >= STALLED_LOOKS:
            self._line.abort()
        else:
            self._watch = self.loop.call_later(left if is_idle else HEAD_SECONDS, self._look)
