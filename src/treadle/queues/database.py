"""The queue and the signals of a single process. The rows in the database are the queue itself; what is kept here only
saves looking at them. What other processes announce is found when `take` or `wait` runs out of time.

Both belong to one event loop: call them from its thread.
"""

from contextlib import AbstractAsyncContextManager

from treadle.queues.pending import Hint, Pending
from treadle.queues.subscriptions import FlagSubscription, Subscriptions


class DatabaseQueue:
    """The Queue port. Announcing a run that still waits to be taken changes nothing."""

    def __init__(self) -> None:
        self._pending = Pending()

    async def announce(self, run_id: int) -> None:
        self._pending.add(run_id)

    async def take(self, seconds: float) -> Hint | None:
        return await self._pending.take(seconds)

    async def check(self) -> None:
        """There is nothing to reach."""

    async def close(self) -> None:
        self._pending.close()


class ProcessSignals:
    """The Signals port, within this process."""

    def __init__(self) -> None:
        self._subscriptions = Subscriptions()

    def notify(self, run_id: int) -> None:
        self._subscriptions.raise_flags(run_id)

    def subscribe(self, run_id: int) -> AbstractAsyncContextManager[FlagSubscription]:
        return self._subscriptions.subscribe(run_id)
