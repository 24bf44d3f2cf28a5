"""Batches: one plan on many repositories. The states of a batch and its items, and every transition there is, as
tables; what is asked for, and how the money of the whole is shared."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid5

from treadle.domain.events import JsonObject
from treadle.domain.states import RunStatus

#: Repositories of one batch.
MAX_BATCH_ITEMS = 1_000

#: Runs of one batch that may be under way at once; and unless it says so.
MAX_BATCH_CONCURRENCY = 100
DEFAULT_BATCH_CONCURRENCY = 10

#: Of what is given to one run, as budgets of runs have them.
SHARE_DECIMALS = 4

#: Of a batch's name, in characters.
MAX_BATCH_NAME = 200


class BatchStatus(StrEnum):
    """Where a batch stands."""

    RUNNING = "Running"
    SUCCESS = "Success"
    FAILED = "Failed"
    KILLED = "Killed"


class ItemStatus(StrEnum):
    """Where one repository of a batch stands."""

    NOT_STARTED = "NotStarted"
    STARTING = "Starting"  # its run is being made
    RUNNING = "Running"  # its run is New or Running
    SUCCESS = "Success"
    FAILED = "Failed"
    KILLED = "Killed"
    SKIPPED = "Skipped"  # the batch was stopped before its turn


#: Out of the terminal ones leads only a retry.
BATCH_TRANSITIONS: Mapping[BatchStatus, frozenset[BatchStatus]] = {
    BatchStatus.RUNNING: frozenset({BatchStatus.SUCCESS, BatchStatus.FAILED, BatchStatus.KILLED}),
    BatchStatus.SUCCESS: frozenset(),
    BatchStatus.FAILED: frozenset({BatchStatus.RUNNING}),
    BatchStatus.KILLED: frozenset({BatchStatus.RUNNING}),
}

#: An item fails without a run where none can be made.
ITEM_TRANSITIONS: Mapping[ItemStatus, frozenset[ItemStatus]] = {
    ItemStatus.NOT_STARTED: frozenset({ItemStatus.STARTING, ItemStatus.KILLED, ItemStatus.SKIPPED}),
    ItemStatus.STARTING: frozenset({ItemStatus.RUNNING, ItemStatus.FAILED, ItemStatus.KILLED}),
    ItemStatus.RUNNING: frozenset({ItemStatus.SUCCESS, ItemStatus.FAILED, ItemStatus.KILLED}),
    ItemStatus.SUCCESS: frozenset(),
    ItemStatus.FAILED: frozenset({ItemStatus.NOT_STARTED}),
    ItemStatus.KILLED: frozenset({ItemStatus.NOT_STARTED}),
    ItemStatus.SKIPPED: frozenset({ItemStatus.NOT_STARTED}),
}

BATCH_TERMINAL = frozenset(BatchStatus) - {BatchStatus.RUNNING}
ITEM_TERMINAL = frozenset({ItemStatus.SUCCESS, ItemStatus.FAILED, ItemStatus.KILLED, ItemStatus.SKIPPED})
#: What may have a run that is under way.
ITEM_OPEN = frozenset({ItemStatus.STARTING, ItemStatus.RUNNING})
#: What a retry tries again.
ITEM_RETRIED = ITEM_TERMINAL - {ItemStatus.SUCCESS}

#: What a run's end makes of its item.
ENDED_AS: Mapping[RunStatus, ItemStatus] = {
    RunStatus.SUCCESS: ItemStatus.SUCCESS,
    RunStatus.FAILED: ItemStatus.FAILED,
    RunStatus.KILLED: ItemStatus.KILLED,
}


def run_uuid(batch: UUID, position: int, attempt: int) -> UUID:
    """Of the run of that item: asked for twice, it is made once."""
    return uuid5(batch, f"{position}/{attempt}")


def work_uuid(batch: UUID, position: int) -> UUID:
    """Of what that item has to do, in every attempt: a commit that an earlier one pushed is found by it."""
    return uuid5(batch, f"{position}")


@dataclass(frozen=True, slots=True)
class ItemDraft:
    """One repository as asked for: registered, or an address without credentials."""

    name: str
    url: str
    repository_id: int | None = None
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BatchDraft:
    """A batch as asked for, checked. `plan`: the JSON of one."""

    name: str
    plan: JsonObject
    variables: Mapping[str, str]
    items: Sequence[ItemDraft]
    concurrency: int = DEFAULT_BATCH_CONCURRENCY
    stop_after_failures: int | None = None
    max_cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """How many of its items are where, of this attempt and, where they succeeded, of earlier ones."""

    items: int
    succeeded: int
    failed: int
    killed: int
    skipped: int
    running: int  # with those that are being started

    @property
    def not_started(self) -> int:
        return self.items - self.succeeded - self.failed - self.killed - self.skipped - self.running

    @property
    def ended(self) -> int:
        return self.items - self.not_started - self.running


@dataclass(frozen=True, slots=True)
class Batch:
    """`cost_usd`: of all its runs, to now."""

    id: int
    uuid: UUID
    organization_id: int
    user_id: int
    name: str
    plan: JsonObject
    variables: Mapping[str, str]
    concurrency: int
    stop_after_failures: int | None
    max_cost_usd: float | None
    status: BatchStatus
    failure_details: str | None
    counts: BatchCounts
    settled_usd: float  # of the runs that have ended
    cost_usd: float
    attempt: int
    date_created: datetime
    date_updated: datetime
    date_completed: datetime | None
    date_kill_requested: datetime | None

    @property
    def is_finished(self) -> bool:
        return self.status in BATCH_TERMINAL


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One repository of a batch and what came of it. What is of a run is the last attempt's, but for `cost_usd` and
    `earlier_runs`."""

    position: int
    name: str
    url: str
    repository_id: int | None
    variables: Mapping[str, str]
    status: ItemStatus
    attempt: int
    run_id: int | None
    run_uuid: UUID | None
    branch: str | None
    commits: Sequence[str]
    pull_request_url: str | None
    changed_files: int | None
    failure_details: str | None
    cost_usd: float  # of all attempts
    earlier_runs: Sequence[int]
    date_started: datetime | None
    date_completed: datetime | None


def share(limit: float, settled: float, held: float, concurrency: int) -> float | None:
    """What the next run of a batch may cost, of a budget of which `settled` is spent by runs that have ended and `held`
    promised to those that are under way; None: nothing now. What is promised is never more than there is, and what a
    run leaves of it is the next one's."""
    free, fair = limit - settled - held, (limit - settled) / concurrency
    if held > 0 and free < fair / 2:
        return None
    least = 10**-SHARE_DECIMALS
    found = math.floor(round(min(free, fair) / least, 3)) * least
    return round(found, SHARE_DECIMALS) if found >= least else None
