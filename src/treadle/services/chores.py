"""Background work as services ask for it. `runner/chores.py` does it, in this process or another."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import TypeAlias

from treadle.ports.chores import Chore, ChoreKind, ChoreStore

#: Does what is due; when the chore is due again, or None when it is over. It may be called any number of times for the
#: same, on any machine, and may be broken off anywhere: what it has done by then must not be done twice by the next. An
#: exception has it called again after a while.
Handler: TypeAlias = Callable[[Chore], Awaitable[datetime | None]]


class Bell:
    """Has the chores of this process looked at now, and not just when they are polled."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        self._rung.set()

    async def wait(self, seconds: float) -> None:
        """Until it rings, or for so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        except TimeoutError:
            return
        finally:
            self._rung.clear()


class Chores:
    """Plans chores, and knows who does them."""

    def __init__(self, store: ChoreStore) -> None:
        self.bell = Bell()
        self._store = store
        self._handlers: dict[ChoreKind, Handler] = {}

    @property
    def handlers(self) -> Mapping[ChoreKind, Handler]:
        return self._handlers

    def handle(self, kind: ChoreKind, handler: Handler) -> None:
        """From now on `handler` does them."""
        self._handlers[kind] = handler

    async def plan(self, kind: ChoreKind, subject: int, due: datetime) -> None:
        """Due then, or earlier if it was."""
        await self._store.plan_chore(kind, subject, due)
        self.bell.ring()

    async def watch_run(self, run_id: int, kind: ChoreKind, subject: int, now: datetime) -> None:
        """Due when the run has ended."""
        await self._store.watch_run(run_id, kind, subject, now)
