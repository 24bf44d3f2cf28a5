"""A loopback proxy between a process and a service that it needs: the link, to be broken at will.

    with TcpProxy(("127.0.0.1", 5432)) as link:
        ...  # connect to 127.0.0.1:link.port
        link.cut()   # connections are reset, new ones refused
        link.hang()  # nothing passes, and nobody is told: a link into a black hole
        link.heal()  # what hung goes on, as TCP does when the network is back

The service is at a host and port, or at a socket's path.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from asyncio.trsock import TransportSocket
from collections.abc import Callable, Coroutine
from enum import Enum, auto
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")

#: How long a test may wait for the proxy itself, in seconds: it only ever does what takes no time.
PATIENCE_SECONDS = 120.0

_CHUNK = 1 << 16
#: Closed with this, a connection is reset: neither side gets a polite end.
_RESET = struct.pack("ii", 1, 0)


class Link(Enum):
    WHOLE = auto()
    CUT = auto()
    HANGING = auto()


class TcpProxy:
    """Runs on a thread of its own; its methods are for any other thread, and return when it is so."""

    def __init__(self, upstream: tuple[str, int] | Path) -> None:
        self.upstream = upstream
        self.port = 0
        self.state = Link.WHOLE
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tcp proxy")
        self._flowing = asyncio.Event()
        self._reserved: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._sockets: set[TransportSocket] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._flowing.set()
        self._reserve()
        self._call(self._listen)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._call(self._end)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
            if self._reserved is not None:
                self._reserved.close()

    def cut(self) -> None:
        """Resets every connection, and refuses new ones."""
        self._call(self._cut)

    def hang(self) -> None:
        """Takes connections and passes nothing on, without a word to either side."""
        self._call(self._hang)

    def heal(self) -> None:
        """All passes again, also what waited."""
        self._call(self._heal)

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._tasks)

    # ---- on the proxy's thread

    def _call(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(PATIENCE_SECONDS)

    def _reserve(self) -> None:
        """The port is ours, and refuses everybody until it is listened on."""
        reserved = socket.socket()
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", self.port))
        self.port = reserved.getsockname()[1]
        self._reserved = reserved

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._take, sock=self._reserved, backlog=256)
            self._reserved = None

    async def _cut(self) -> None:
        self.state = Link.CUT
        if self._server is not None:
            await self._accept_no_more(self._server)
            for listening in self._server.sockets:
                # A child that was forked just now has it open, too, until it becomes its program: to close it here is
                # not enough.
                with contextlib.suppress(OSError):
                    listening.shutdown(socket.SHUT_RDWR)
            self._reserve()  # while it is ours still
            self._server.close()
            self._server = None
        for each in list(self._sockets):
            with contextlib.suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        await self._drop_all()

    async def _hang(self) -> None:
        self.state = Link.HANGING
        self._flowing.clear()
        await self._listen()

    async def _heal(self) -> None:
        self.state = Link.WHOLE
        await self._listen()
        self._flowing.set()

    async def _end(self) -> None:
        self.state = Link.CUT
        if self._server is not None:
            await self._accept_no_more(self._server)
            self._server.close()
        while left := asyncio.all_tasks() - {asyncio.current_task()}:  # also of a connection that came just now
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        for _ in range(2):  # one that has just come is told to `_take`; what was aborted closes a round later
            await asyncio.sleep(0)

    async def _accept_no_more(self, server: asyncio.Server) -> None:
        """To be done before it is closed: a connection that was accepted just now first adds itself to the server. To a
        closed one it cannot, and stays open until somebody complains, in whichever test comes next."""
        for listening in server.sockets:
            self._loop.remove_reader(listening.fileno())
        await asyncio.sleep(0)

    async def _drop_all(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection, which may have been made before the link was cut."""
        if self.state is Link.CUT:
            writer.transport.abort()
            return
        task = self._loop.create_task(self._serve(reader, writer))
        self._tasks.add(task)

        def close(task: asyncio.Task[None]) -> None:
            """Also one that was cancelled before it began, and so came to no end of its own."""
            writer.transport.abort()
            self._tasks.discard(task)

        task.add_done_callback(close)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The one who cancels is the proxy, which wants the connection closed and nothing else.
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await self._pass_on(reader, writer)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._flowing.wait()
        if isinstance(self.upstream, Path):
            there, back = await asyncio.open_unix_connection(self.upstream)
        else:
            there, back = await asyncio.open_connection(*self.upstream)
        ends = {writer.get_extra_info("socket"), back.get_extra_info("socket")}
        self._sockets |= ends
        pumps = [asyncio.create_task(self._pump(reader, back)), asyncio.create_task(self._pump(there, writer))]
        try:
            await asyncio.wait(pumps)
        finally:
            self._sockets -= ends
            back.transport.abort()
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(_CHUNK):
                await self._flowing.wait()
                sink.write(data)
                await sink.drain()
            await self._flowing.wait()  # an end is news, too
            sink.write_eof()
        except OSError:  # the other direction has nothing to wait for either
            sink.transport.abort()
