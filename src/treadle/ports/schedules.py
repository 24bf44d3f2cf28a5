"""The port to what is kept of schedules."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from treadle.domain.events import JsonObject
from treadle.domain.identity import Principal
from treadle.domain.schedule import Firing, Missed, Outcome, Overlap, Schedule
from treadle.ports.keys import Idempotency
from treadle.ports.trust import AuditEntry


@dataclass(frozen=True, slots=True)
class ScheduleDraft:
    """What somebody sets. `date_next`: the first time, None when there is none or it is off."""

    name: str
    cron: str
    time_zone: str
    missed: Missed
    overlap: Overlap
    target: JsonObject
    is_enabled: bool
    date_next: datetime | None


class ScheduleStore(Protocol):
    """Schedules, and what became of each of their times. Every method may raise Unavailable. Whatever sets `date_next`
    plans the chore for it, in the same transaction."""

    async def add_schedule(
        self, draft: ScheduleDraft, organization_id: int, user_id: int, *, uuid: UUID, now: datetime, most: int
    ) -> Schedule:
        """Conflict where the organization has one of that name, or `most` already."""

    async def schedule(self, schedule_id: int) -> Schedule:
        """NotFound."""

    async def schedules(
        self, organization_id: int, *, limit: int, after: str = "", user_id: int | None = None
    ) -> Sequence[Schedule]:
        """By their names, those behind the name `after`; `user_id`: that user's."""

    async def update_schedule(self, known: Schedule, draft: ScheduleDraft, now: datetime) -> Schedule | None:
        """None where somebody has changed it since it was `known`, or removed it: nothing changes. Conflict. What waits
        of it stays."""

    async def remove_schedule(self, schedule_id: int) -> bool:
        """With its firings; whether there was one."""

    async def add_firings(
        self, schedule_id: int, firings: Sequence[Firing], *, due: datetime, following: datetime | None
    ) -> bool:
        """Writes what becomes of times, and sets the next one: all or nothing, and once, as it compares the next time
        that the schedule has with `due`. False where it has another one: somebody was faster."""

    async def add_firing(
        self,
        firing: Firing,
        *,
        asked_by: Principal | None = None,
        idempotency: Idempotency | None = None,
        audit: AuditEntry | None = None,
    ) -> Firing:
        """One that nobody's clock asked for, or the one that the same `idempotency` of `asked_by` made. `audit` is
        written with a new one. Repeating it is harmless. NotFound, IdempotencyMismatch."""

    async def update_firing(self, firing: Firing) -> None:
        """Its outcome, and what it started."""

    async def firings(
        self, schedule_id: int, *, limit: int, outcomes: frozenset[Outcome] | None = None
    ) -> Sequence[Firing]:
        """The latest first."""

    async def prune_firings(self, schedule_id: int, before: datetime) -> int:
        """Forgets what was due before; what is still to be started stays."""
