"""The sweeper: finds runs whose worker fell silent, and announces what lies unclaimed. Any process may run one."""

import time
from collections.abc import Sequence
from datetime import timedelta
from math import inf

import structlog

from treadle import telemetry
from treadle.domain.errors import TreadleError
from treadle.ports import Clock, Queue, Signals, Store, Sweep
from treadle.runner.agreement import Agreement
from treadle.runner.limits import Limits
from treadle.services.renewals import KEPT_DAYS

log = structlog.get_logger(__name__)

#: A kill that its worker has not carried out after this many seconds is carried out by the sweeper.
KILL_SECONDS = 4.5

#: A run that lies unclaimed is announced again after so many seconds: for workers that are idle and missed it. Busy
#: ones look by themselves when a slot is free.
ANNOUNCE_SECONDS = 30.0

#: How often the rates of callers who ask no more are forgotten.
FORGET_SECONDS = 600.0

#: How long webhooks' messages are kept that were delivered, and that are dead, in days.
KEEP_DELIVERED_DAYS = 7
KEEP_DEAD_DAYS = 30

#: Messages that are removed at a time.
FORGET_PORTION = 500


class Sweeper:
    """Sweeps every `limits.poll` seconds, forever: cancel it to end it."""

    def __init__(self, store: Store, queue: Queue, signals: Signals, clock: Clock, limits: Limits) -> None:
        self._store = store
        self._queue = queue
        self._signals = signals
        self._clock = clock
        self._limits = limits
        self._offset: float | None = None  # of the wall clock to the monotonic one, at the last sweep
        self._announced: dict[int, float] = {}  # when, on the monotonic clock
        self._was_away = False
        self._rests_until = 0.0
        self._forgets_at = 0.0
        self._agreement = Agreement(store, clock, limits.lease)

    async def run(self) -> None:
        while True:
            try:
                await self.sweep()
            except Exception as error:
                log.warning("the sweep failed", error=str(error), exc_info=not isinstance(error, TreadleError))
                self._was_away = True
                self._rests_until = time.monotonic() + self._limits.lease / 6
            await self._clock.sleep(min(self._limits.poll, self._limits.lease / 3))

    async def sweep(self) -> Sweep:
        """Once. Not after the clock was set, or the machine slept, or soon after the store was away: its own workers
        then get the time to ping first."""
        if time.monotonic() < self._rests_until:
            return Sweep()
        if self._was_away:
            # Waits while it still is: a sweep that did would be the first to be served when it is back, before the
            # workers have pinged or handed their runs back.
            await self._store.time()
            self._was_away = False
            self._rests_until = time.monotonic() + self._limits.lease / 2
            return Sweep()
        if self._clock_jumped():
            log.warning("the clock jumped; this sweep is left out")
            return Sweep()
        if not await self._agreement.holds():
            return Sweep()
        found = await self._store.sweep(
            self._clock.now(),
            lease_seconds=self._limits.lease,
            kill_seconds=KILL_SECONDS,
            max_lost_workers=self._limits.max_lost_workers + 1,  # the last one only looks at what was pushed
        )
        for name, swept in (("requeued", found.requeued), ("failed", found.failed), ("killed", found.killed)):
            telemetry.count(telemetry.SWEPT, len(swept), found=name)
        for run_id in (*found.requeued, *self._due(found.waiting)):
            await self._queue.announce(run_id)
        for run_id in (*found.requeued, *found.failed, *found.killed):
            log.warning("swept a run", run_id=run_id, found=_what(found, run_id))
            self._signals.notify(run_id)
        if time.monotonic() >= self._forgets_at:
            self._forgets_at = time.monotonic() + FORGET_SECONDS
            await self._store.prune_rates(self._clock.now())
            await self._store.prune_renewals(self._clock.now() - timedelta(days=KEPT_DAYS))
            await self._forget_messages()
        return found

    async def _forget_messages(self) -> None:
        now = self._clock.now()
        delivered, dead = now - timedelta(days=KEEP_DELIVERED_DAYS), now - timedelta(days=KEEP_DEAD_DAYS)
        while await self._store.prune_messages(delivered, dead, limit=FORGET_PORTION) == FORGET_PORTION:
            continue

    def _due(self, waiting: Sequence[int]) -> Sequence[int]:
        """Those not announced lately, by this process."""
        now = time.monotonic()
        kept = {run_id: at for run_id in waiting if (at := self._announced.get(run_id, -inf)) > now - ANNOUNCE_SECONDS}
        due = [run_id for run_id in waiting if run_id not in kept]
        self._announced = kept | dict.fromkeys(due, now)
        return due

    def _clock_jumped(self) -> bool:
        offset = self._clock.now().timestamp() - time.monotonic()
        before, self._offset = self._offset, offset
        return before is not None and abs(offset - before) > self._limits.lease / 3


def _what(found: Sweep, run_id: int) -> str:
    if run_id in found.requeued:
        return "its lease ran out: requeued"
    return "too many workers lost: failed" if run_id in found.failed else "its worker did not answer: killed"
