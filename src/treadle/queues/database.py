"""The queue and the signals of a single process. The rows in the database are the queue itself; what is kept here only
saves looking at them. What other processes announce is found when `take` or `wait` runs out of time.

Both belong to one event loop: call them from its thread.
"""

import asyncio
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

#: Hints kept where nobody takes any (a process without a worker); the oldest is dropped for the next.
MAX_PENDING = 10_000


@dataclass(frozen=True, slots=True)
class Hint:
    """The Announcement port. There is nobody to acknowledge to."""

    run_id: int | None

    async def settle(self) -> None:
        return


class DatabaseQueue:
    """The Queue port. Announcing a run that still waits to be taken changes nothing."""

    def __init__(self) -> None:
        self._pending: dict[int, None] = {}  # an ordered set
        self._changed = asyncio.Event()
        self._is_closed = False

    async def announce(self, run_id: int) -> None:
        self._pending[run_id] = None
        if len(self._pending) > MAX_PENDING:
            del self._pending[next(iter(self._pending))]
        self._changed.set()

    async def take(self, seconds: float) -> Hint | None:
        # Nothing is awaited between the look and the wait, nor after the wait: no hint is missed, and none is lost to
        # a taker that is cancelled.
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._pending and not self._is_closed:
                    self._changed.clear()
                    await self._changed.wait()
        if not self._pending:
            return None
        run_id = next(iter(self._pending))
        del self._pending[run_id]
        return Hint(run_id)

    async def check(self) -> None:
        """There is nothing to reach."""

    async def close(self) -> None:
        """Forgets every hint and lets the takers go, empty-handed."""
        self._is_closed = True
        self._pending.clear()
        self._changed.set()


class ProcessSubscription:
    """The Subscription port: a flag that a notification raises and a wait lowers, so that any number of them is one."""

    def __init__(self, signals: "ProcessSignals", run_id: int) -> None:
        self._signals = signals
        self._run_id = run_id
        self._flag = asyncio.Event()

    async def wait(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._flag.wait()
        was_raised = self._flag.is_set()
        self._flag.clear()
        return was_raised

    def raise_flag(self) -> None:
        self._flag.set()

    async def __aenter__(self) -> Self:
        self._signals.add(self._run_id, self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._signals.remove(self._run_id, self)


class ProcessSignals:
    """The Signals port, within this process."""

    def __init__(self) -> None:
        self._subscriptions: dict[int, set[ProcessSubscription]] = {}

    def notify(self, run_id: int) -> None:
        for subscription in self._subscriptions.get(run_id, ()):
            subscription.raise_flag()

    def subscribe(self, run_id: int) -> AbstractAsyncContextManager[ProcessSubscription]:
        return ProcessSubscription(self, run_id)

    def add(self, run_id: int, subscription: ProcessSubscription) -> None:
        self._subscriptions.setdefault(run_id, set()).add(subscription)

    def remove(self, run_id: int, subscription: ProcessSubscription) -> None:
        remaining = self._subscriptions.get(run_id, set())
        remaining.discard(subscription)
        if not remaining:
            self._subscriptions.pop(run_id, None)
