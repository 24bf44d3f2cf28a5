"""A worker: slots, claims, and an orderly way out."""

import asyncio
from collections.abc import Callable

import structlog

from treadle import telemetry
from treadle.domain.errors import TreadleError
from treadle.domain.run import Run
from treadle.ports import Announcement
from treadle.ports.page import WorkerReport
from treadle.runner.agreement import Agreement
from treadle.runner.execute import Execution, Ports
from treadle.runner.leaving import End
from treadle.runner.limits import Limits
from treadle.runner.patience import Hold, now_on_this_machine
from treadle.runner.reports import Reporter
from treadle.version import __version__

log = structlog.get_logger(__name__)

#: After an unexpected failure of the store or the queue, in seconds.
FAULT_PAUSE_SECONDS = 1.0

#: A run that could not be handed over in `limits.drain` gets this much longer, in seconds; then its lease runs out.
LATE_SECONDS = 5.0

#: After a run that could not go on here, because something that it needs is away, a worker leaves runs to others for so
#: many seconds; for twice as many after the next, and so on up to the longest.
REST_SECONDS = 2.0
LONGEST_REST_SECONDS = 60.0


class Worker:
    """Runs at most `limits.slots` runs at once, until `drain` is called. `free_bytes`: what is left on the disk that
    workspaces and mirrors are on."""

    def __init__(self, name: str, ports: Ports, limits: Limits, *, free_bytes: Callable[[], int]) -> None:
        self.name = name
        self.is_paused = False  # for want of space
        self._ports = ports
        self._agreement = Agreement(ports.store, ports.clock, limits.lease)
        self._limits = limits
        self._free_bytes = free_bytes
        self._draining = asyncio.Event()
        self._ended = asyncio.Event()  # a run has: another may wait for its branch
        self._looks_at_once = True
        self._setbacks = 0  # one after another: runs that could not go on here
        self._rests_until = 0.0
        self._running: dict[asyncio.Task[End], int] = {}
        self._began = ports.clock.now()
        self._reporter = Reporter(ports.store, ports.clock, self._about)

    @property
    def slots(self) -> int:
        return self._limits.slots

    @property
    def running(self) -> frozenset[int]:
        """The ids of the runs that it holds."""
        return frozenset(self._running.values())

    def drain(self) -> None:
        """Takes no further run and hands back those it holds; `run` returns when that is done."""
        self._draining.set()
        self._reporter.changed()

    async def run(self) -> None:
        """Takes and executes runs until drained; leaves no run of its own behind, however it ends."""
        await self._ports.workspaces.sweep(frozenset())
        async with self._reporter.reporting():
            try:
                while not self._draining.is_set():
                    await self._fill_slots()
            finally:
                self.drain()
                await self._wait_for_the_end()
                await self._ports.gateway.aclose()

    def _about(self) -> WorkerReport:
        """One that drains takes no runs any more, as one that is paused."""
        return WorkerReport(
            name=self.name,
            version=__version__,
            sandbox=self._ports.sandbox.name,
            slots=self.slots,
            is_paused=self.is_paused or self._draining.is_set(),
            date_started=self._began,
            date_seen=self._began,
        )

    async def _fill_slots(self) -> None:
        if len(self._running) >= self._limits.slots:
            await self._first_of(*self._running)
            return
        try:
            if self._rest > 0 or not (self._has_space() and await self._agreement.holds()):
                pause = self._rest if self._rest > 0 else self._limits.poll
                await self._first_of(asyncio.create_task(asyncio.sleep(pause)))
                return
            hint = await self._next_hint(0 if self._looks_at_once else self._limits.poll)
            try:
                await self._claim()
            finally:
                if hint is not None:
                    await hint.settle()
        except Exception as error:
            log.warning(
                "no run could be claimed",
                error=str(error) or type(error).__name__,
                exc_info=not isinstance(error, TreadleError),
            )
            await asyncio.sleep(FAULT_PAUSE_SECONDS)

    @property
    def _rest(self) -> float:
        """Seconds until it takes runs again."""
        return self._rests_until - now_on_this_machine()

    def _has_space(self) -> bool:
        """A run that begins on a full disk only fails: better that it waits for this worker's disk, or another's."""
        free = self._free_bytes()
        is_paused = free < self._limits.min_free_bytes
        if is_paused != self.is_paused:
            self.is_paused = is_paused
            self._reporter.changed()
            told = {"free_bytes": free, "min_free_bytes": self._limits.min_free_bytes}
            if is_paused:
                log.warning("the disk is nearly full; no new run is taken", **told)
            else:
                log.info("there is space on the disk again", **told)
        return not is_paused

    async def _next_hint(self, seconds: float) -> Announcement | None:
        """None when the time is over, a run of this worker's has ended, or it drains."""
        self._ended.clear()
        taking = asyncio.create_task(self._ports.queue.take(seconds))
        ended = asyncio.create_task(self._ended.wait())
        try:
            await self._first_of(taking, ended)
        finally:
            for task in (taking, ended):
                task.cancel()
            await asyncio.gather(taking, ended, return_exceptions=True)
        return None if taking.cancelled() else taking.result()

    async def _claim(self) -> None:
        """Whatever the hint was for: the store knows whose turn it is."""
        if self._draining.is_set():
            return
        asked = now_on_this_machine()
        now, slots = self._ports.clock.now(), self._limits.organization_slots
        run = await self._ports.store.claim(self.name, now, organization_slots=slots)
        self._looks_at_once = run is not None or self._ended.is_set()
        if run is not None:
            self._note_claim(run)
            self._start(run, asked)

    def _note_claim(self, run: Run) -> None:
        telemetry.count(telemetry.CLAIMS)
        if run.lease == 1:  # later ones waited for their worker's end, too
            waited = self._ports.clock.now() - run.date_created
            telemetry.observe(telemetry.CLAIM_WAIT_SECONDS, max(0.0, waited.total_seconds()))

    def _start(self, run: Run, claimed: float) -> None:
        hold = Hold(self._limits.lease, claimed)
        task = asyncio.create_task(Execution(run, self._ports, self._limits, hold, self._draining).run())
        self._running[task] = run.id
        task.add_done_callback(lambda ended: self._forget(ended, claimed))

    def _forget(self, task: "asyncio.Task[End]", claimed: float) -> None:
        run_id = self._running.pop(task)
        self._looks_at_once = True
        self._ended.set()
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            # Its lease runs out and another worker goes on: nothing is lost, but somebody should look.
            log.error("the execution of a run broke off", run_id=run_id, exc_info=error)
        elif task.result() is not End.AWAY:
            self._setbacks = 0
        elif claimed >= self._rests_until:  # else it began before the rest that it would be a reason for
            self._setbacks += 1
            rest = min(REST_SECONDS * 2 ** (self._setbacks - 1), LONGEST_REST_SECONDS)
            self._rests_until = now_on_this_machine() + rest
            log.warning("runs cannot go on here; none is taken for a while", seconds=rest)

    async def _first_of(
        self, *tasks: "asyncio.Task[None] | asyncio.Task[End] | asyncio.Task[bool] | asyncio.Task[Announcement | None]"
    ) -> None:
        """Until one of them is done or the worker drains."""
        draining = asyncio.create_task(self._draining.wait())
        try:
            await asyncio.wait({*tasks, draining}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            draining.cancel()

    async def _wait_for_the_end(self) -> None:
        if not self._running:
            return
        log.info("handing runs over", run_ids=sorted(self.running))
        _, late = await asyncio.wait(self._running, timeout=self._limits.drain)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=LATE_SECONDS)
