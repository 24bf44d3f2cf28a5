"""A thread's own connection to PostgreSQL: made when it is needed, made anew when it broke, and given up when a server
that went away does not come back in time."""

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

import psycopg

from treadle.domain.errors import Unavailable
from treadle.store.postgres_errors import (
    CommitUnknownError,
    NoConnectionError,
    is_broken,
    may_be_repeated,
    reason,
    refusal,
)
from treadle.store.prepared import Row

T = TypeVar("T")

Connection = psycopg.Connection[Row]

#: How long, from the call on, a connection is sought while the server is away. Then it is Unavailable.
AWAY_SECONDS = 10.0
#: One try to connect. Libpq takes whole seconds, and no less than two.
CONNECT_SECONDS = 5
#: One transaction. The server ends a statement earlier (`postgres.DEADLINES`), unless the link is a black hole.
TRANSACTION_SECONDS = 15.0
#: How often a transaction is run that the server gave up for another's sake, or whose connection broke before its end.
TRIES = 5


class Line:
    """Used by one thread; `watch` and `hang_up` by any."""

    def __init__(self, conninfo: str, name: str, closing: threading.Event) -> None:
        """`closing`: set when nobody should wait for the server any longer."""
        self._conninfo = conninfo
        self._name = name
        self._closing = closing
        self._connection: Connection | None = None
        self._socket: socket.socket | None = None  # a second handle: libpq may close its own at any moment
        self._failed: tuple[float, str] | None = None  # when no connection could be made last, and why
        self._gate = threading.Lock()  # of what follows, and of the socket
        self._expires: float | None = None

    def run(self, work: Callable[[Connection], T], since: float, *, again: Callable[[Connection], T] | None) -> T:
        """`work` on the connection; tried again as far as that is harmless. `since`: when it was asked for. `again`:
        what to run instead once nobody knows whether `work` was committed. Raises as `postgres_errors.reason` has
        it."""
        left = TRIES
        while True:
            left -= 1
            try:
                connection = self._connected(since + AWAY_SECONDS)
                self._expire(time.monotonic() + TRANSACTION_SECONDS)
                try:
                    return work(connection)
                finally:
                    self._expire(None)
            except CommitUnknownError as error:
                self.hang_up()
                if again is None or not left:
                    raise reason(error, self._name) from error
                work = again
            except (psycopg.Error, NoConnectionError) as error:
                if is_broken(error) or isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
                    self.hang_up()  # the next connection may find another server
                if not left or not may_be_repeated(error) or time.monotonic() > since + AWAY_SECONDS:
                    raise reason(error, self._name) from error

    def watch(self, now: float) -> None:
        """Breaks the connection if it has been waited for too long: whoever waits then finds it broken."""
        with self._gate:
            if self._expires is not None and now > self._expires and self._socket is not None:
                with suppress(OSError):  # it is gone already
                    self._socket.shutdown(socket.SHUT_RDWR)

    def hang_up(self) -> None:
        with self._gate:
            connection, handle = self._connection, self._socket
            self._connection = self._socket = None
        if handle is not None:
            handle.close()
        if connection is not None:
            connection.close()

    def _expire(self, at: float | None) -> None:
        with self._gate:
            self._expires = at

    def _connected(self, deadline: float) -> Connection:
        """Raises NoConnectionError after the deadline, and ConfigurationError at once if waiting cannot help."""
        if self._connection is not None and not self._connection.closed:
            return self._connection
        self.hang_up()
        pause = 0.05
        while True:
            now = time.monotonic()
            if self._failed is not None and now > deadline and now - self._failed[0] < 1:
                raise NoConnectionError(self._failed[1])  # it waited in line behind one who tried in vain
            try:
                return self._connect(deadline - now)
            except psycopg.Error as error:
                found = refusal(error, self._name)
                if not isinstance(found, Unavailable):
                    raise found from error
                self._failed = (time.monotonic(), str(error))
                if time.monotonic() + pause > deadline or self._closing.wait(pause):
                    raise NoConnectionError(str(error)) from error
            pause = min(2 * pause, 1.0)

    def _connect(self, seconds: float) -> Connection:
        limit = max(2, min(CONNECT_SECONDS, int(seconds)))
        connection = psycopg.connect(self._conninfo, connect_timeout=limit, autocommit=True)
        handle = socket.socket(fileno=os.dup(connection.fileno()))
        with self._gate:
            self._connection, self._socket = connection, handle
        self._failed = None
        return connection


class Watch:
    """Looks after lines, on a thread of its own, for transactions that a black hole swallowed."""

    def __init__(self, lines: Sequence[Line], closing: threading.Event) -> None:
        self._lines = lines
        self._closing = closing
        threading.Thread(target=self._look, name="store-watch", daemon=True).start()

    def _look(self) -> None:
        while not self._closing.wait(1.0):
            now = time.monotonic()
            for line in self._lines:
                line.watch(now)
