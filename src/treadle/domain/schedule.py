"""Schedules: what is started at which times, and what becomes of times that were missed."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from treadle.domain.events import JsonObject


class Missed(StrEnum):
    """What becomes of times at which no process was there."""

    SKIP = "skip"
    ONCE = "once"  # the last of them is made up for
    ALL = "all"  # each of them is, one after another


class Overlap(StrEnum):
    """What becomes of a time at which what the one before started is still at work. Two at once there never are."""

    SKIP = "skip"
    WAIT = "wait"  # it is started when the other has ended; of several that wait, one


class Outcome(StrEnum):
    """What became of one time."""

    STARTING = "starting"  # or a process died at it: the next goes on
    STARTED = "started"
    WAITING = "waiting"
    SKIPPED = "skipped"
    MISSED = "missed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Schedule:
    """`target`: what is started, as the API takes it: the kind (`plan`, `batch`, `script`) and what belongs to it."""

    id: int
    uuid: UUID
    organization_id: int
    user_id: int  # whose rights it has
    name: str
    cron: str
    time_zone: str
    missed: Missed
    overlap: Overlap
    target: JsonObject
    is_enabled: bool
    date_next: datetime | None
    date_created: datetime
    date_updated: datetime


@dataclass(frozen=True, slots=True)
class Firing:
    """One time of a schedule, and what became of it."""

    schedule_id: int
    date_due: datetime
    date_fired: datetime
    outcome: Outcome
    detail: str | None = None
    run_id: int | None = None
    batch_id: int | None = None
    script_run_id: int | None = None

    @property
    def started(self) -> tuple[str, int] | None:
        """The kind of what it started, and its id."""
        for kind, found in (("plan", self.run_id), ("batch", self.batch_id), ("script", self.script_run_id)):
            if found is not None:
                return kind, found
        return None
