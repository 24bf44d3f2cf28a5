"""Leases are dates, and each machine writes its own: a worker whose clock is wrong loses runs that live, and a sweeper
takes them from others. Both stand back until their clock agrees with the database's again."""

import time

import structlog

from treadle.domain.errors import Unavailable
from treadle.ports import Clock, RunStore

log = structlog.get_logger(__name__)

#: How often the clocks are compared, in seconds.
COMPARE_SECONDS = 20.0

#: By how much they may differ, as a share of the lease: it is pinged every third of it.
TOLERATED_SHARE = 0.3


class Agreement:
    """Of this process's clock with the database's."""

    def __init__(self, store: RunStore, clock: Clock, lease_seconds: float) -> None:
        self._store = store
        self._clock = clock
        self._tolerated = lease_seconds * TOLERATED_SHARE
        self._holds = True
        self._compared = float("-inf")

    async def holds(self) -> bool:
        """Asks the database at most every COMPARE_SECONDS. While it does not answer, as it was."""
        if time.monotonic() - self._compared >= COMPARE_SECONDS:
            try:
                await self._compare()
            except Unavailable:
                return self._holds
            self._compared = time.monotonic()
        return self._holds

    async def _compare(self) -> None:
        before = self._clock.now()
        theirs = await self._store.time()
        after = self._clock.now()
        if theirs is None:
            return
        # The answer was given somewhere in between: only what is outside counts.
        ahead = max((before - theirs).total_seconds(), 0.0) - max((theirs - after).total_seconds(), 0.0)
        holds = abs(ahead) <= self._tolerated
        if holds != self._holds:
            if holds:
                log.info("the clock agrees with the database's again")
            else:
                hint = "Let NTP keep the clocks of all machines."
                log.error("the clock is wrong; no run is taken or judged", seconds_ahead=round(ahead, 1), hint=hint)
        self._holds = holds
