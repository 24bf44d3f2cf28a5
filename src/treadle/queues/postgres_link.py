"""Two connections to PostgreSQL, one that listens and one that notifies, made again whenever they are lost."""

import asyncio
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Protocol

import psycopg
import structlog
from psycopg.conninfo import make_conninfo
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from treadle.domain.errors import ConfigurationError, Unavailable
from treadle.queues.outbox import Outbox
from treadle.queues.patience import LONGEST_PAUSE, Complaints, pauses

log = structlog.get_logger(__name__)

#: For connecting, altogether.
CONNECT_SECONDS = 15.0

#: For one statement.
ANSWER_SECONDS = 5.0

#: After so much silence the server is asked whether it is still there: no other sign comes of a link that is dead.
QUIET_SECONDS = 5.0

#: After a notification, what comes in this time goes together into the next: a busy run writes many events.
GATHER_SECONDS = 0.005

#: Runs in one notification: it may have 8,000 bytes.
MAX_RUNS = 390

_CONNECTING = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "3",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
    "application_name": "treadle notifications",
}

_TROUBLE = (psycopg.Error, OSError)

#: What a server says that waiting does not mend.
_REFUSED = re.compile(
    r"authentication failed|no pg_hba\.conf entry|(?:database|role) \"[^\"]*\" does not exist|permission denied"
    r"|no password supplied"
)
_RUN_IDS = re.compile(r"[1-9][0-9]{0,18}(,[1-9][0-9]{0,18})*")

Connection = psycopg.AsyncConnection[tuple[object, ...]]
Pair = tuple[Connection, Connection]  # one that listens, one that notifies


class Channel(Protocol):
    """What is told and heard under one name."""

    @property
    def channel(self) -> str: ...
    @property
    def outbox(self) -> Outbox: ...
    def hear(self, run_ids: Sequence[int]) -> None: ...
    def catch_up(self) -> None:
        """Something may have been missed."""


class PostgresLink:
    """Keeps both connections open while it can."""

    def __init__(self, database_url: str, jitter: Callable[[], float]) -> None:
        """Raises ConfigurationError for a URL that cannot be used, which it does not repeat."""
        self._conninfo, self._shown = _address(database_url)
        self._jitter = jitter
        self._complaints = Complaints(log)
        self._channels: Sequence[Channel] = ()
        self._connections: Pair | None = None
        self._reason = "it is not connected yet"
        self._keeping: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        return self._connections is not None

    async def open(self, channels: Sequence[Channel]) -> None:
        """Connects for the first time. Raises ConfigurationError, Unavailable."""
        self._channels = channels
        try:
            self._connections = await self._connect()
        except _TROUBLE as error:
            raise self._explain(error) from None
        self._keeping = asyncio.create_task(self._keep(self._connections))

    async def check(self) -> None:
        """Raises Unavailable unless both connections are there and the server answers."""
        if self._connections is None:
            raise self._unavailable(self._reason)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._connections[1].execute("SELECT 1")
        except _TROUBLE as error:
            raise self._unavailable(_describe(error)) from None

    async def close(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        await self._disconnect()

    async def _keep(self, connections: Pair) -> None:
        loop = asyncio.get_running_loop()
        rests = pauses(self._jitter)
        while True:
            began = loop.time()
            error = await self._serve(*connections)
            self._reason = _describe(error)
            log.warning(
                "lost the connection that notifications come by",
                database=self._shown,
                reason=self._reason,
                exc_info=None if isinstance(error, _TROUBLE) else error,
            )
            lost = loop.time()
            if lost - began > LONGEST_PAUSE:
                rests = pauses(self._jitter)  # else it was no success: a server that throws us out is not to be stormed
            await self._disconnect()
            connections = self._connections = await self._reconnect(rests)
            log.info("notifications come again", database=self._shown, seconds_away=round(loop.time() - lost, 1))
            for channel in self._channels:
                channel.catch_up()

    async def _serve(self, listening: Connection, notifying: Connection) -> BaseException:
        """Until something breaks; what."""
        tasks = [asyncio.create_task(self._listen(listening, notifying.info.backend_pid))]
        tasks += [asyncio.create_task(_send(channel, notifying)) for channel in self._channels]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return next(iter(done)).exception() or ConnectionError("it ended")

    async def _listen(self, connection: Connection, own: int) -> None:
        """`own`: the server's process that our own notifications come from."""
        by_name = {channel.channel: channel for channel in self._channels}
        while True:
            async for heard in connection.notifies(timeout=QUIET_SECONDS):
                channel = by_name.get(heard.channel)
                if channel is not None and heard.pid != own and _RUN_IDS.fullmatch(heard.payload):
                    channel.hear([int(run_id) for run_id in heard.payload.split(",")])
            async with asyncio.timeout(ANSWER_SECONDS):
                await connection.execute("SELECT 1")

    async def _connect(self) -> Pair:
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    listening = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
                    stack.push_async_callback(listening.close)
                    for channel in self._channels:
                        await listening.execute(f"LISTEN {channel.channel}".encode())
                    notifying = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
            except _TROUBLE as error:
                self._reason = _describe(error)
                raise
            stack.pop_all()
        return listening, notifying

    async def _disconnect(self) -> None:
        connections, self._connections = self._connections, None
        for connection in connections or ():
            await connection.close()

    async def _reconnect(self, rests: Iterator[float]) -> Pair:
        for rest in rests:
            await asyncio.sleep(rest)
            try:
                return await self._connect()
            except Exception as error:  # noqa: BLE001 - whatever it is, the process goes on and tries again
                self._complaints.warn(
                    "no notifications can come",
                    reason=self._explain(error).sentence(),
                    exc_info=not isinstance(error, _TROUBLE),
                )
        raise AssertionError("the pauses never end")

    def _explain(self, error: Exception) -> ConfigurationError:
        said = _describe(error)
        if _REFUSED.search(said):
            return ConfigurationError(
                f"The database {self._shown} does not let Treadle in: {said}.", hint="Look at TREADLE_DATABASE_URL."
            )
        return self._unavailable(said)

    def _unavailable(self, reason: str) -> Unavailable:
        return Unavailable(f"The database {self._shown} is away: {reason}.", hint="It is tried again by itself.")


async def _send(channel: Channel, connection: Connection) -> None:
    while True:
        await channel.outbox.wait()
        run_ids = channel.outbox.take(MAX_RUNS)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await connection.execute("SELECT pg_notify(%s, %s)", (channel.channel, ",".join(map(str, run_ids))))
        except BaseException:
            channel.outbox.restore(run_ids)
            raise
        channel.outbox.settled(len(run_ids))
        await asyncio.sleep(GATHER_SECONDS)


def _address(database_url: str) -> tuple[str, str]:
    """For libpq; and for people, without the password."""
    try:
        url = make_url(database_url)
    except ArgumentError:
        raise ConfigurationError(
            "The database URL cannot be read.", hint="Use postgresql://user:password@host/database."
        ) from None
    named = {"host": url.host, "port": url.port, "user": url.username, "password": url.password, "dbname": url.database}
    given = {name: str(value) for name, value in named.items() if value is not None}
    query = {name: value if isinstance(value, str) else ",".join(value) for name, value in url.query.items()}
    shown = url.difference_update_query(["password", "sslpassword"]).render_as_string(hide_password=True)
    return make_conninfo(**{**_CONNECTING, **given, **query}), shown


def _describe(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
