"""A worker: slots, claims, and an orderly way out."""

import asyncio

import structlog

from treadle.domain.errors import TreadleError
from treadle.domain.run import Run
from treadle.ports import Queue
from treadle.runner.execute import Execution, Ports
from treadle.runner.limits import Limits

log = structlog.get_logger(__name__)

#: After an unexpected failure of the store or the queue, in seconds.
FAULT_PAUSE_SECONDS = 1.0

#: A run that could not be handed over in `limits.drain` gets this much longer, in seconds; then its lease runs out.
LATE_SECONDS = 5.0


class Worker:
    """Runs at most `limits.slots` runs at once, until `drain` is called."""

    def __init__(self, name: str, queue: Queue, ports: Ports, limits: Limits) -> None:
        self.name = name
        self._queue = queue
        self._ports = ports
        self._limits = limits
        self._draining = asyncio.Event()
        self._running: dict[asyncio.Task[None], int] = {}

    @property
    def running(self) -> frozenset[int]:
        """The ids of the runs that it holds."""
        return frozenset(self._running.values())

    def drain(self) -> None:
        """Takes no further run and hands back those it holds; `run` returns when that is done."""
        self._draining.set()

    async def run(self) -> None:
        """Takes and executes runs until drained; leaves no run of its own behind, however it ends."""
        await self._ports.workspaces.sweep(frozenset())
        try:
            while not self._draining.is_set():
                await self._fill_slots()
        finally:
            self._draining.set()
            await self._wait_for_the_end()

    async def _fill_slots(self) -> None:
        if len(self._running) >= self._limits.slots:
            await self._first_of(*self._running)
            return
        try:
            run = await self._ports.store.claim(self.name, self._ports.clock.now())
            if run is not None:
                self._start(run)
                return
            taking = asyncio.create_task(self._queue.take(self._limits.poll))
            try:
                await self._first_of(taking)
                if taking.done() and (hint := taking.result()) is not None:
                    await hint.settle()
            finally:
                taking.cancel()
                await asyncio.gather(taking, return_exceptions=True)
        except Exception as error:
            log.warning("no run could be claimed", error=str(error), exc_info=not isinstance(error, TreadleError))
            await asyncio.sleep(FAULT_PAUSE_SECONDS)

    def _start(self, run: Run) -> None:
        task = asyncio.create_task(Execution(run, self._ports, self._limits, self._draining).run())
        self._running[task] = run.id
        task.add_done_callback(self._forget)

    def _forget(self, task: "asyncio.Task[None]") -> None:
        run_id = self._running.pop(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Its lease runs out and another worker goes on: nothing is lost, but somebody should look.
            log.error("the execution of a run broke off", run=run_id, exc_info=error)

    async def _first_of(self, *tasks: "asyncio.Task[object] | asyncio.Task[None]") -> None:
        """Until one of them is done or the worker drains."""
        draining = asyncio.create_task(self._draining.wait())
        try:
            await asyncio.wait({*tasks, draining}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            draining.cancel()

    async def _wait_for_the_end(self) -> None:
        if not self._running:
            return
        log.info("handing runs over", runs=sorted(self.running))
        _, late = await asyncio.wait(self._running, timeout=self._limits.drain)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=LATE_SECONDS)
