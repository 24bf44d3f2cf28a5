"""The Egress port: a Unix socket for each run, and everything that comes in by it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing, suppress
from functools import partial
from pathlib import Path

import structlog

from treadle import hosts
from treadle.domain.network import NetworkPolicy
from treadle.egress.line import Line, Patience
from treadle.egress.reach import LOOK_UPS, Judge, LookUp, Reach, is_elsewhere
from treadle.egress.telling import Teller
from treadle.ports.gateway import TellConnection
from treadle.scratch import scratch_directory

log = structlog.get_logger(__name__)

#: Connections of one run at once; another is answered with 503.
MAX_CONNECTIONS = 256

#: Threads of this process that wait for name servers; they are the egress proxy's own, since runs choose the names.
LOOK_UP_THREADS = 16

_BACKLOG = 128
_PAUSE_SECONDS = 0.5
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class EgressProxy:
    """`is_open` and `look_up` decide what is reached, and are others only in tests."""

    def __init__(
        self,
        *,
        private_hosts: frozenset[str] = frozenset(),
        look_up: LookUp | None = None,
        is_open: Judge = is_elsewhere,
        patience: Patience | None = None,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        threads = ThreadPoolExecutor(LOOK_UP_THREADS, "egress")  # none is started before there is something to do
        self._look_up = look_up or partial(hosts.look_up, threads=threads)
        self._is_open = is_open
        self._private_hosts = private_hosts
        self._patience = patience or Patience()
        self._max_connections = max_connections

    @asynccontextmanager
    async def open(self, policy: NetworkPolicy, tell: TellConnection) -> AsyncIterator[Path]:
        """See the port."""
        reach = Reach(policy, self._look_up, self._is_open, self._private_hosts, asyncio.Semaphore(LOOK_UPS))
        teller = Teller(tell)
        with (
            closing(teller),
            scratch_directory() as directory,
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening,
        ):
            path = directory / "egress"
            listening.bind(str(path))
            lines = _Lines(listening, lambda client: Line(client, reach, teller, self._patience).serve())
            lines.begin(self._max_connections)
            try:
                yield path
            finally:
                await lines.end()


class _Lines:
    """What has come in by one socket."""

    def __init__(self, listening: socket.socket, serve: Callable[[socket.socket], Coroutine[None, None, None]]) -> None:
        self._listening = listening
        self._serve = serve
        self._most = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def begin(self, most: int) -> None:
        self._most = most
        self._listening.listen(_BACKLOG)
        self._listening.setblocking(False)
        self._loop.add_reader(self._listening, self._take)

    async def end(self) -> None:
        """Returns when every connection has ended."""
        self._loop.remove_reader(self._listening)
        if self._pause is not None:
            self._pause.cancel()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # for what is to be done when they have

    def _take(self) -> None:
        """No task waits for a connection: one that came in the moment before it is cancelled would be lost."""
        try:
            client, _ = self._listening.accept()
        except BlockingIOError:
            return
        except OSError as error:  # too many files are open, for one
            log.warning("the egress proxy cannot take a connection", error=str(error))
            self._loop.remove_reader(self._listening)
            self._pause = self._loop.call_later(_PAUSE_SECONDS, self._loop.add_reader, self._listening, self._take)
            return
        client.setblocking(False)
        if len(self._tasks) >= self._most:
            _turn_away(client)
            return
        task = asyncio.create_task(self._one(client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: client.close())  # also when it never began

    async def _one(self, client: socket.socket) -> None:
        try:
            await self._serve(client)
        except Exception as error:  # noqa: BLE001 - the run's own side could not be told, say
            log.warning("a connection through the egress proxy failed", error=type(error).__name__)


def _turn_away(client: socket.socket) -> None:
    with client, suppress(OSError):
        client.send(_FULL)
