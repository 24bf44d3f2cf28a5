"""The state of the system, for administrators: its workers, and how full it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from treadle.domain.errors import Forbidden
from treadle.domain.identity import Principal, Role
from treadle.ports import Clock, RunStore, Statistics
from treadle.ports.page import WorkerReport, WorkerStore

#: The id of the organization that the first start made.
FIRST_ORGANIZATION = 1

#: A worker that has said nothing for so long, in seconds, is not shown any more; they report every 10.
WORKER_GONE_SECONDS = 300
#: One that has said nothing for so long, in seconds, is said to be late.
WORKER_LATE_SECONDS = 30


class Store(WorkerStore, RunStore, Protocol):
    """Of the store, what is needed here."""


@dataclass(frozen=True, slots=True)
class HouseState:
    """Of all organizations together. `unreported`: runs that are Running with workers that have not said anything of
    themselves lately, by their names: they are lost, or of an older version."""

    date: datetime
    workers: Sequence[WorkerReport]
    unreported: Mapping[str, int]
    statistics: Statistics

    @property
    def slots(self) -> int:
        """Of workers that take runs."""
        return sum(worker.slots for worker in self.workers if not worker.is_paused and not self.is_late(worker))

    def is_late(self, worker: WorkerReport) -> bool:
        return self.date - worker.date_seen > timedelta(seconds=WORKER_LATE_SECONDS)


class House:
    """Looks."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def holders(self, principal: Principal) -> Mapping[int, str]:
        """Which worker has each Running run of the caller's own organization: its name by the run's id. Raises
        Forbidden."""
        self._require(principal)
        return await self._store.holders(principal.organization_id)

    async def state(self, principal: Principal) -> HouseState:
        """Raises Forbidden for all but an ADMIN of the first organization, who runs the house: it is all
        organizations'."""
        self._require(principal)
        now = self._clock.now()
        workers = await self._store.workers(now - timedelta(seconds=WORKER_GONE_SECONDS))
        statistics = await self._store.statistics(now)
        known = {worker.name for worker in workers}
        unreported = {name: count for name, count in statistics.by_worker.items() if name not in known}
        return HouseState(now, workers, unreported, statistics)

    def _require(self, principal: Principal) -> None:
        if principal.role is not Role.ADMIN or principal.organization_id != FIRST_ORGANIZATION:
            raise Forbidden("The state of the system is for admins of the first organization.")
