"""Those of this process who follow a run."""

import asyncio
from contextlib import AbstractAsyncContextManager, suppress
from types import TracebackType
from typing import Self


class FlagSubscription:
    """The Subscription port: a flag that a notification raises and a wait lowers, so that any number of them is one."""

    def __init__(self, subscriptions: "Subscriptions", run_id: int) -> None:
        self._subscriptions = subscriptions
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
        self._subscriptions.add(self._run_id, self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._subscriptions.remove(self._run_id, self)


class Subscriptions:
    """By run. Belongs to one event loop."""

    def __init__(self) -> None:
        self._by_run: dict[int, set[FlagSubscription]] = {}

    def __len__(self) -> int:
        """Runs that somebody follows."""
        return len(self._by_run)

    def subscribe(self, run_id: int) -> AbstractAsyncContextManager[FlagSubscription]:
        return FlagSubscription(self, run_id)

    def raise_flags(self, run_id: int) -> None:
        for subscription in self._by_run.get(run_id, ()):
            subscription.raise_flag()

    def raise_all(self) -> None:
        """For when notifications may have been missed."""
        for run_id in self._by_run:
            self.raise_flags(run_id)

    def add(self, run_id: int, subscription: FlagSubscription) -> None:
        self._by_run.setdefault(run_id, set()).add(subscription)

    def remove(self, run_id: int, subscription: FlagSubscription) -> None:
        remaining = self._by_run.get(run_id, set())
        remaining.discard(subscription)
        if not remaining:
            self._by_run.pop(run_id, None)
