"""PostgreSQL: a few threads, each with a connection of its own. The server groups commits by itself."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar, cast

import psycopg
from psycopg.conninfo import make_conninfo
from sqlalchemy.engine import URL

from treadle.store.address import shown
from treadle.store.lanes import Job, Lane
from treadle.store.postgres_errors import CommitUnknownError, is_broken
from treadle.store.postgres_line import Connection, Line, Watch
from treadle.store.prepared import Prepared, Row
from treadle.store.session import Session

T = TypeVar("T")

#: Nothing waits for ever, neither for a lock nor for a server or a network that is gone: on either side. A server that
#: does not hear from us any more rolls back what we had begun, so that others can go on. Libpq's words.
DEADLINES = {
    "connect_timeout": "5",
    "tcp_user_timeout": "10000",
    "keepalives_idle": "10",
    "keepalives_interval": "3",
    "keepalives_count": "3",
    "options": "-c statement_timeout=12s -c lock_timeout=8s -c idle_in_transaction_session_timeout=15s"
    " -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=3 -c tcp_keepalives_count=3 -c tcp_user_timeout=10s",
    "application_name": "treadle",
}

_WAIT = b"SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
_TIME = b"SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
_TRY = b"SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))"


class PostgresSession:
    def __init__(self, connection: Connection) -> None:
        self._cursor = connection.cursor()

    def all(self, statement: Prepared, /, **values: object) -> list[Row]:
        text, constants = statement.postgres
        return self._cursor.execute(text, {**constants, **values}).fetchall()

    def one(self, statement: Prepared, /, **values: object) -> Row | None:
        text, constants = statement.postgres
        return self._cursor.execute(text, {**constants, **values}).fetchone()

    def run(self, statement: Prepared, /, **values: object) -> int:
        text, constants = statement.postgres
        return self._cursor.execute(text, {**constants, **values}).rowcount

    def many(self, statement: Prepared, rows: Iterable[Mapping[str, object]], /) -> None:
        text, constants = statement.postgres
        self._cursor.executemany(text, [{**constants, **row} for row in rows])

    def time(self) -> int | None:
        row = self._cursor.execute(_TIME).fetchone()
        return None if row is None else int(row[0])

    def lock(self, name: str, /, *, wait: bool) -> bool:
        row = self._cursor.execute(_WAIT if wait else _TRY, (name,)).fetchone()
        return wait or (row is not None and bool(row[0]))


class PostgresExecutor:
    """Executor on one server. Writes run at READ COMMITTED: each locks the run's row, or compares and sets, first.

    Of its connections two fifths read and the others write: a writer may wait for a lock, and nobody should wait for it
    to look something up. They are made as they are needed and then kept.
    """

    def __init__(self, url: URL, *, connections: int = 10) -> None:
        conninfo = make_conninfo(**arguments(url))
        name = shown(url)
        self._closing = threading.Event()
        self._lines = [Line(conninfo, name, self._closing) for _ in range(max(2, connections))]
        readers = max(1, len(self._lines) * 2 // 5)
        self._watch = Watch(self._lines, self._closing)
        self._reads: Lane[Line] = Lane("store-read", [_server(line) for line in self._lines[:readers]], batch=1)
        self._writes: Lane[Line] = Lane("store-write", [_server(line) for line in self._lines[readers:]], batch=1)

    async def write(self, work: Callable[[Session], T], *, again: Callable[[Session], T] | None = None) -> T:
        return await self._submit(
            self._writes,
            lambda connection: _write(work, connection),
            None if again is None else lambda connection: _write(again, connection),
        )

    async def read(self, work: Callable[[Session], T]) -> T:
        return await self._submit(self._reads, lambda connection: _read(work, connection))

    async def glance(self, work: Callable[[Session], T]) -> T:
        return await self._submit(self._reads, lambda connection: work(PostgresSession(connection)))

    async def _submit(
        self, lane: Lane[Line], work: Callable[[Connection], T], again: Callable[[Connection], T] | None = None
    ) -> T:
        since = time.monotonic()
        return cast("T", await lane.submit(lambda line: line.run(work, since, again=again)))

    async def close(self) -> None:
        for lane in (self._writes, self._reads):
            lane.flush(asyncio.get_running_loop())
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._closing.set()
        self._writes.close()
        self._reads.close()
        for line in self._lines:
            line.hang_up()


def _server(line: Line) -> Callable[[Sequence[Job[Line]]], None]:
    def serve(jobs: Sequence[Job[Line]]) -> None:
        for job in jobs:
            try:
                job.result = job.work(line)
            except Exception as error:  # noqa: BLE001 - it goes to whoever waits for it
                job.error = error

    return serve


def _write(work: Callable[[Session], T], connection: Connection) -> T:
    connection.execute("BEGIN")
    try:
        result = work(PostgresSession(connection))
    except BaseException:
        _roll_back(connection)
        raise
    try:
        connection.execute("COMMIT")
    except psycopg.Error as error:
        if connection.broken or is_broken(error):
            raise CommitUnknownError from error
        raise
    return result


def _read(work: Callable[[Session], T], connection: Connection) -> T:
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        return work(PostgresSession(connection))
    finally:
        _roll_back(connection)


def _roll_back(connection: Connection) -> None:
    """Never raises: a connection that breaks in here has rolled back, and the next use finds it broken."""
    if not connection.broken:
        with suppress(psycopg.OperationalError):
            connection.execute("ROLLBACK")


def arguments(url: URL) -> dict[str, str]:
    """Libpq's words for the parts of a URL, and our deadlines where it sets none."""
    named = {"host": url.host, "port": url.port, "user": url.username, "password": url.password, "dbname": url.database}
    given = {name: str(value) for name, value in named.items() if value is not None}
    query = {name: value if isinstance(value, str) else ",".join(value) for name, value in url.query.items()}
    if "options" in query:  # beside ours, and before them in nothing
        query["options"] = f"{DEADLINES['options']} {query['options']}"
    return {**DEADLINES, **given, **query}
