"""SQLite: one thread writes, many writes to a commit; a few threads read.

A commit waits for the disk, so what arrives meanwhile shares the next one. Each write has a savepoint of its own: one
that fails takes nothing of the others with it. Other processes may write to the same file; `BEGIN IMMEDIATE` makes them
take turns.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar, cast

from treadle.store.lanes import Job, Lane
from treadle.store.prepared import Prepared, Row
from treadle.store.session import Dangling, Session, Taken
from treadle.store.sqlite_file import connect, is_code, trouble

T = TypeVar("T")

#: Writes that share a commit at most: bounds how long the first of them waits.
BATCH = 256
#: Threads for reads that may take a while; short ones have one thread of their own.
READERS = 3
#: How often a write waits for the lock, each time as long as the busy timeout.
TRIES = 3


class SqliteSession:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._cursor = connection.cursor()

    def all(self, statement: Prepared, /, **values: object) -> list[Row]:
        text, arrange = statement.sqlite
        return self._cursor.execute(text, arrange(values)).fetchall()

    def one(self, statement: Prepared, /, **values: object) -> Row | None:
        text, arrange = statement.sqlite
        # All of them: a statement that is not read to its end would still be running at the commit.
        rows = self._cursor.execute(text, arrange(values)).fetchall()
        return rows[0] if rows else None

    def run(self, statement: Prepared, /, **values: object) -> int:
        text, arrange = statement.sqlite
        return self._cursor.execute(text, arrange(values)).rowcount

    def many(self, statement: Prepared, rows: Iterable[Mapping[str, object]], /) -> None:
        text, arrange = statement.sqlite
        self._cursor.executemany(text, map(arrange, rows))

    def time(self) -> int | None:
        return None

    def lock(self, _name: str, /, *, wait: bool) -> bool:  # noqa: ARG002 - the file's one writer waits for nobody
        return True


class SqliteExecutor:
    """Executor on one file."""

    def __init__(self, path: Path, *, busy_seconds: float = 10) -> None:
        self._path = path
        self._connections = [connect(path, busy_seconds=busy_seconds) for _ in range(READERS + 2)]
        self.writer, self._glancer, *self._readers = self._connections
        self._writing = SqliteSession(self.writer)
        for connection in self._connections[1:]:
            connection.execute("PRAGMA query_only=ON")
        self._writes: Lane[Session] = Lane("store-write", [self._commit], batch=BATCH)
        self._glances: Lane[Session] = Lane("store-glance", [self._snapshots(self._glancer)], batch=BATCH)
        self._reads: Lane[Session] = Lane("store-read", [self._snapshots(one) for one in self._readers], batch=1)
        self._lanes = (self._writes, self._glances, self._reads)

    async def write(self, work: Callable[[Session], T], *, again: Callable[[Session], T] | None = None) -> T:  # noqa: ARG002 - a commit's outcome is always known here
        return cast("T", await self._writes.submit(work))

    async def read(self, work: Callable[[Session], T]) -> T:
        return cast("T", await self._reads.submit(work))

    async def glance(self, work: Callable[[Session], T]) -> T:
        return cast("T", await self._glances.submit(work))

    async def close(self) -> None:
        for lane in self._lanes:
            lane.flush(asyncio.get_running_loop())
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        for lane in self._lanes:
            lane.close()
        for connection in reversed(self._connections):  # the writer last: the last one folds the log into the file
            connection.close()

    def _commit(self, jobs: Sequence[Job[Session]]) -> None:
        """All of `jobs` in one transaction. When SQLite gives that up, each in one of its own: what does not fit on the
        disk takes nobody's ping along."""
        error = self._transact(jobs)
        if error is None:
            return
        if len(jobs) == 1 or is_code(error, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            for job in jobs:
                job.error = trouble(error, self._path)
            return
        for job in jobs:
            job.error = None
            self._commit([job])

    def _transact(self, jobs: Sequence[Job[Session]]) -> sqlite3.Error | None:
        """Why nothing was committed."""
        connection = self.writer
        try:
            self._begin()
            for job in jobs:
                self._attempt(job)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                with suppress(sqlite3.Error):  # the first error tells; a closed transaction is what we want
                    connection.execute("ROLLBACK")
            return error
        return None

    def _begin(self) -> None:
        for left in reversed(range(TRIES)):
            try:
                self.writer.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if not left or not is_code(error, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                    raise
            else:
                return

    def _attempt(self, job: Job[Session]) -> None:
        connection = self.writer
        connection.execute("SAVEPOINT one")
        try:
            job.result = job.work(self._writing)
        except Exception as error:
            if not connection.in_transaction:  # SQLite gave the whole transaction up (a full disk): no commit
                raise _whole(error) from error
            connection.execute("ROLLBACK TO one")
            job.error = self._reason(error)
        connection.execute("RELEASE one")

    def _snapshots(self, connection: sqlite3.Connection) -> Callable[[Sequence[Job[Session]]], None]:
        """Serves each batch from one snapshot, which is not older than any of its jobs."""
        session = SqliteSession(connection)

        def serve(jobs: Sequence[Job[Session]]) -> None:
            connection.execute("BEGIN")
            for job in jobs:
                try:
                    job.result = job.work(session)
                except Exception as error:  # noqa: BLE001 - it goes to whoever waits for it
                    job.error = self._reason(error)
            connection.execute("ROLLBACK")

        return serve

    def _reason(self, error: Exception) -> Exception:
        if isinstance(error, sqlite3.IntegrityError):
            if is_code(error, sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY):
                return Taken(str(error))
            if is_code(error, sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY):
                return Dangling(str(error))
            return error  # a CHECK: a mistake of ours, to be seen as it is
        if isinstance(error, sqlite3.OperationalError) or type(error) is sqlite3.DatabaseError:
            return trouble(error, self._path)
        return error


def _whole(error: Exception) -> sqlite3.Error:
    return error if isinstance(error, sqlite3.Error) else sqlite3.OperationalError(str(error))
