"""What the queries see of a database: a session inside a transaction, and the executor that provides it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar

from treadle.store.prepared import Prepared, Row

T = TypeVar("T")


class Taken(Exception):
    """A unique key is taken. The transaction's own business: each use turns it into an error of the domain."""


class Dangling(Exception):
    """A row that is referred to does not exist, or is still referred to."""


class Session(Protocol):
    """One transaction, on the thread that owns it. Raises Taken, Dangling, or the driver's own errors."""

    def all(self, statement: Prepared, /, **values: object) -> list[Row]: ...
    def one(self, statement: Prepared, /, **values: object) -> Row | None:
        """The first row."""

    def run(self, statement: Prepared, /, **values: object) -> int:
        """How many rows it changed."""

    def many(self, statement: Prepared, rows: Iterable[Mapping[str, object]], /) -> None:
        """Once for each of `rows`."""

    def time(self) -> int | None:
        """The server's clock, in microseconds since 1970; None where it is this machine's."""

    def lock(self, name: str, /, *, wait: bool) -> bool:
        """Whether this transaction has the lock of that name now, until it ends. SQLite's writer is alone anyway."""


class Executor(Protocol):
    """Runs functions of a session on threads of its own and hands their results to asyncio.

    A function may be run again when its transaction could not be had, so it changes nothing but the database. An
    executor's own troubles are Unavailable when they may pass (a server that is away, a lock held too long, a full
    disk), else ConfigurationErrors. Cancelling whoever waits leaves the transaction whole: what was submitted is done.
    """

    async def write(self, work: Callable[[Session], T], *, again: Callable[[Session], T] | None = None) -> T:
        """In one transaction: all of it is durable when this returns, none of it when it raises.

        But for a connection that broke at the commit: it may have happened or not. Then `again` is run, which finds
        out and does what is left to do (it may be `work` itself, where that changes nothing the second time). Without
        it, Unavailable.
        """

    async def read(self, work: Callable[[Session], T]) -> T:
        """On one snapshot, changing nothing. For what may take milliseconds."""

    async def glance(self, work: Callable[[Session], T]) -> T:
        """One short query, without a transaction around it."""

    async def close(self) -> None:
        """After what was submitted is done."""
