"""How long the database takes, with the wait for its threads."""

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import TypeVar

from treadle import telemetry
from treadle.domain.errors import ConfigurationError
from treadle.store.session import Executor, Session

T = TypeVar("T")


def measured(executor: Executor) -> Executor:
    """`executor`, measured; itself where nothing is."""
    return MeasuredExecutor(executor) if telemetry.is_measuring() else executor


class MeasuredExecutor:
    """Executor around another one. An error is one of the database's: what a query refuses is an answer."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def write(self, work: Callable[[Session], T], *, again: Callable[[Session], T] | None = None) -> T:
        return await _measure("write", self._executor.write(work, again=again))

    async def read(self, work: Callable[[Session], T]) -> T:
        return await _measure("read", self._executor.read(work))

    async def glance(self, work: Callable[[Session], T]) -> T:
        return await _measure("glance", self._executor.glance(work))

    async def close(self) -> None:
        await self._executor.close()


async def _measure(kind: str, call: Awaitable[T]) -> T:
    started, outcome = perf_counter(), "ok"
    try:
        return await call
    except ConfigurationError:
        outcome = "error"
        raise
    finally:
        telemetry.observe(telemetry.STORE_SECONDS, perf_counter() - started, kind=kind, outcome=outcome)
