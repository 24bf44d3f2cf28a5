"""Does chores: claims what is due, keeps its lease while a handler is at it, and says when it is due again."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Final

import structlog

from treadle.domain.errors import TreadleError
from treadle.ports import Clock
from treadle.ports.chores import Chore, ChoreKind, ChoreStore
from treadle.runner.limits import Limits
from treadle.services.chores import Chores, Handler

log = structlog.get_logger(__name__)

#: How many of a kind one process does at once.
SLOTS: Final[Mapping[ChoreKind, int]] = {
    ChoreKind.ANSWER: 2,
    ChoreKind.BATCH: 2,
    ChoreKind.DELIVERY: 4,
    ChoreKind.MESSAGES: 64,  # most of it is waiting for receivers, of whom many may be down
    ChoreKind.SCHEDULE: 8,  # one may wait for a Git host that does not answer, and the others are not to be late
    ChoreKind.SCRIPT: 2,
}

#: A chore that failed is tried again after so many seconds, twice as many after the next failure, and so on up to the
#: longest.
RETRY_SECONDS = 2.0
LONGEST_RETRY_SECONDS = 600.0

#: What was being done when the process ends is handed over within so many seconds; else its lease runs out.
HAND_OVER_SECONDS = 1.0


class ChoreRunner:
    """Until it is cancelled. Any number of processes may run one."""

    def __init__(self, name: str, store: ChoreStore, chores: Chores, clock: Clock, limits: Limits) -> None:
        self._name = name
        self._store = store
        self._chores = chores
        self._clock = clock
        self._limits = limits
        self._busy: Counter[ChoreKind] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Forever: cancel it to end it. What was begun is handed over then."""
        try:
            while True:
                try:
                    found = await self._claim()
                except Exception as error:
                    log.warning("no chores", error=str(error), exc_info=not isinstance(error, TreadleError))
                    await self._clock.sleep(self._limits.lease / 6)
                    continue
                if found is None:
                    await self._chores.bell.wait(self._limits.poll)
                else:
                    self._begin(found)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _claim(self) -> Chore | None:
        free = frozenset(kind for kind in self._chores.handlers if self._busy[kind] < SLOTS[kind])
        if not free:
            return None
        return await self._store.claim_chore(
            self._name, self._clock.now(), lease_seconds=self._limits.lease, kinds=free
        )

    def _begin(self, chore: Chore) -> None:
        self._busy[chore.kind] += 1
        task = asyncio.create_task(self._do(chore), name=f"{chore.kind} {chore.subject}")
        self._tasks.add(task)
        task.add_done_callback(self._done)
        task.add_done_callback(lambda _task: self._busy.subtract([chore.kind]))

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._chores.bell.ring()  # there is room for another
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("a chore was left to its lease", chore=task.get_name(), error=str(error))

    async def _do(self, chore: Chore) -> None:
        work = asyncio.create_task(self._handle(self._chores.handlers[chore.kind], chore))
        keeper = asyncio.create_task(self._keep(chore))
        try:
            await asyncio.wait({work, keeper}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                log.warning("a chore is another's by now", chore=chore.kind, subject=chore.subject)
                return
            await work
        except asyncio.CancelledError:
            await _ended(work)
            with suppress(TreadleError, TimeoutError):
                async with asyncio.timeout(HAND_OVER_SECONDS):
                    await self._store.end_chore(chore, again=self._clock.now())
            raise
        finally:
            await _ended(work)
            await _ended(keeper)

    async def _handle(self, handler: Handler, chore: Chore) -> None:
        try:
            again = await handler(chore)
        except Exception as error:
            pause = min(RETRY_SECONDS * 2 ** min(chore.tries, 20), LONGEST_RETRY_SECONDS)
            log.warning(
                "a chore failed",
                chore=chore.kind,
                subject=chore.subject,
                tries=chore.tries + 1,
                seconds=pause,
                error=str(error),
                exc_info=not isinstance(error, TreadleError),
            )
            again = self._clock.now() + timedelta(seconds=pause)
            await self._store.end_chore(chore, again=again, failed=True)
        else:
            await self._store.end_chore(chore, again=again)

    async def _keep(self, chore: Chore) -> None:
        """Returns when it is another's by now, or nobody can say for too long."""
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        while True:
            await asyncio.sleep(self._limits.lease / 3)
            asked = loop.time()
            try:
                if not await self._store.keep_chore(chore, self._clock.now(), lease_seconds=self._limits.lease):
                    return
                renewed = asked
            except TreadleError as error:
                log.warning("a chore's lease could not be renewed", chore=chore.kind, error=error.message)
                if loop.time() - renewed > self._limits.lease:
                    return


async def _ended(task: "asyncio.Task[None]") -> None:
    """Cancelled and awaited; what it raises is its own task's to say."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
