"""PostgreSQL: a few threads, a connection each from psycopg's pool. The server groups commits by itself."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar, cast

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg_pool import ConnectionPool
from sqlalchemy.engine import URL

from treadle.domain.errors import ConfigurationError
from treadle.store.lanes import Job, Lane
from treadle.store.prepared import Prepared, Row
from treadle.store.session import Dangling, Session, Taken

T = TypeVar("T")

Connection = psycopg.Connection[Row]

#: Threads, and so connections at most, that a process uses.
WRITERS = 6
READERS = 4
#: How often a transaction is run that the server gave up for another's sake, or whose connection broke before its end.
TRIES = 5

#: Nothing waits for ever: neither for a lock, nor for a server that is gone.
_DEADLINES = {
    "connect_timeout": "10",
    "tcp_user_timeout": "30000",
    "options": "-c statement_timeout=60000 -c lock_timeout=20000 -c idle_in_transaction_session_timeout=60000",
    "application_name": "treadle",
}


class _CommitUnknownError(Exception):
    """The connection broke at the commit."""


#: What errors mean to an operator, and what to do.
_SENTENCES = {
    _CommitUnknownError: ("The connection broke while a change was saved.", "It may be there or not: look again."),
    psycopg.errors.UndefinedTable: ("It has no schema.", "`treadle db upgrade` makes it."),
    psycopg.errors.DiskFull: ("Its disk is full.", "Free some space; nothing that was answered is lost."),
    psycopg.errors.ReadOnlySqlTransaction: ("It is read-only.", "Name the primary server."),
}


_WAIT = b"SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
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

    def lock(self, name: str, /, *, wait: bool) -> bool:
        row = self._cursor.execute(_WAIT if wait else _TRY, (name,)).fetchone()
        return wait or (row is not None and bool(row[0]))


class PostgresExecutor:
    """Executor on one server. Writes run at READ COMMITTED: each locks the run's row, or compares and sets, first."""

    def __init__(self, url: URL, *, connections: int = 10) -> None:
        self._name = url.render_as_string(hide_password=True)
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            make_conninfo(**_arguments(url)),
            min_size=1,
            max_size=WRITERS + READERS,
            timeout=20,
            kwargs={"autocommit": True},
            open=True,
        )
        self._writes: Lane[Connection] = Lane("store-write", [self._serve] * WRITERS, batch=1)
        self._reads: Lane[Connection] = Lane("store-read", [self._serve] * READERS, batch=1)

    async def write(self, work: Callable[[Session], T], *, again: Callable[[Session], T] | None = None) -> T:
        return cast("T", await self._writes.submit(partial(_write, work)))

    async def read(self, work: Callable[[Session], T]) -> T:
        return cast("T", await self._reads.submit(partial(_read, work)))

    async def glance(self, work: Callable[[Session], T]) -> T:
        return cast("T", await self._reads.submit(lambda connection: work(PostgresSession(connection))))

    async def close(self) -> None:
        for lane in (self._writes, self._reads):
            lane.flush(asyncio.get_running_loop())
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._writes.close()
        self._reads.close()
        self._pool.close()

    def _serve(self, jobs: Sequence[Job[Connection]]) -> None:
        for job in jobs:
            for left in reversed(range(TRIES)):
                try:
                    with self._pool.connection() as connection:
                        job.result = job.work(connection)
                except Exception as error:  # noqa: BLE001 - it goes to whoever waits for it
                    if left and _may_be_repeated(error):
                        continue
                    job.error = _reason(error, self._name)
                break


def _write(work: Callable[[Session], T], connection: Connection) -> T:
    connection.execute("BEGIN")
    try:
        result = work(PostgresSession(connection))
    except BaseException:
        if not connection.broken:
            connection.execute("ROLLBACK")
        raise
    try:
        connection.execute("COMMIT")
    except psycopg.OperationalError as error:
        if connection.broken:
            raise _CommitUnknownError from error
        raise
    return result


def _read(work: Callable[[Session], T], connection: Connection) -> T:
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        return work(PostgresSession(connection))
    finally:
        if not connection.broken:
            connection.execute("ROLLBACK")


def _arguments(url: URL) -> dict[str, str]:
    """Libpq's words for the parts of a URL."""
    named = {"host": url.host, "port": url.port, "user": url.username, "password": url.password, "dbname": url.database}
    given = {name: str(value) for name, value in named.items() if value is not None}
    query = {name: value if isinstance(value, str) else ",".join(value) for name, value in url.query.items()}
    return {**_DEADLINES, **given, **query}


def _may_be_repeated(error: Exception) -> bool:
    """Nothing was committed, and the next try may find it otherwise."""
    if isinstance(error, psycopg.errors.SerializationFailure | psycopg.errors.DeadlockDetected):
        return True
    # Without a SQLSTATE the connection broke; class 57P is a server that shuts down.
    return type(error) is psycopg.OperationalError or isinstance(error, psycopg.errors.AdminShutdown)


def _reason(error: Exception, name: str) -> Exception:
    """What whoever waits is told."""
    if isinstance(error, psycopg.errors.UniqueViolation):
        return Taken(str(error))
    if isinstance(error, psycopg.errors.ForeignKeyViolation):
        return Dangling(str(error))
    for kind, (sentence, hint) in _SENTENCES.items():
        if isinstance(error, kind):
            return ConfigurationError(f"The database {name} cannot be used. {sentence}", hint=hint)
    if isinstance(error, psycopg.OperationalError):  # a lock or a statement that took too long, too many connections
        return ConfigurationError(f"The database {name} cannot be used: {str(error).strip()}.")
    return error
