"""What a worker says of itself, so that people see who works."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import structlog

from treadle.ports import Clock
from treadle.ports.page import WorkerReport, WorkerStore

log = structlog.get_logger(__name__)

#: How often, in seconds.
REPORT_SECONDS = 10.0
#: How long a worker that ends waits for its last report, and then for its goodbye, to be heard, in seconds.
GOODBYE_SECONDS = 2.0


class Reporter:
    """Reports at once and then every few seconds. A database that is away fails no worker for it."""

    def __init__(
        self,
        store: WorkerStore,
        clock: Clock,
        about: Callable[[], WorkerReport],
        *,
        every: float = REPORT_SECONDS,
    ) -> None:
        """`about`: the worker as it is; when it was seen is filled in here."""
        self._store = store
        self._clock = clock
        self._about = about
        self._every = every
        self._changed = asyncio.Event()
        self._is_heard = True
        self._is_ended = False

    def changed(self) -> None:
        """Reports at once."""
        self._changed.set()

    @asynccontextmanager
    async def reporting(self) -> AsyncIterator[None]:
        """Beside the body; leaving says goodbye."""
        task = asyncio.create_task(self._run(), name="worker reports")
        try:
            yield
        finally:
            # Not in the middle of a report, which could be written after the goodbye.
            self._is_ended = True
            self._changed.set()
            await asyncio.wait({task}, timeout=GOODBYE_SECONDS)
            task.cancel()
            await self._goodbye()

    async def _run(self) -> None:
        while not self._is_ended:
            self._changed.clear()
            await self._report()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._changed.wait()

    async def _goodbye(self) -> None:
        try:
            async with asyncio.timeout(GOODBYE_SECONDS):
                await self._store.forget_worker(self._about().name)
        except Exception as error:  # noqa: BLE001 - a worker that is gone is soon seen to be
            log.info("the worker's end was not heard", error=str(error) or type(error).__name__)

    async def _report(self) -> None:
        try:
            await self._store.report_worker(replace(self._about(), date_seen=self._clock.now()))
        except Exception as error:  # noqa: BLE001 - whatever it is: runs matter, this does not
            if self._is_heard:  # said once, not every few seconds
                log.warning("the worker cannot report itself", error=str(error) or type(error).__name__)
            self._is_heard = False
        else:
            self._is_heard = True
