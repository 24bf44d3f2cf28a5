"""Batches as the server tells them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from treadle.sdk._wire import Fields, JsonValue, OpenEnum, WireError


class BatchStatus(OpenEnum):
    RUNNING = "Running"
    SUCCESS = "Success"
    FAILED = "Failed"
    KILLED = "Killed"


class BatchItemStatus(OpenEnum):
    NOT_STARTED = "NotStarted"
    STARTING = "Starting"
    RUNNING = "Running"
    SUCCESS = "Success"
    FAILED = "Failed"
    KILLED = "Killed"
    SKIPPED = "Skipped"


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """How many repositories are where."""

    items: int
    not_started: int
    running: int
    succeeded: int
    failed: int
    killed: int
    skipped: int

    @property
    def ended(self) -> int:
        """All that nothing more is done on."""
        return self.succeeded + self.failed + self.killed + self.skipped

    @classmethod
    def read(cls, fields: Fields) -> "BatchCounts":
        return cls(
            items=fields.integer("items"),
            not_started=fields.integer("notStarted"),
            running=fields.integer("running"),
            succeeded=fields.integer("succeeded"),
            failed=fields.integer("failed"),
            killed=fields.integer("killed"),
            skipped=fields.integer("skipped"),
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """One plan on many repositories. `attempt`: one more with each retry. `cost_usd`: of all its runs, to now. `plan`
    and `variables` are empty in lists; `raw` is the JSON as it came."""

    id: int
    uuid: UUID
    name: str
    status: BatchStatus
    failure_details: str | None
    attempt: int
    counts: BatchCounts
    concurrency: int
    stop_after_failures: int | None
    max_cost_usd: float | None
    cost_usd: float
    is_kill_requested: bool
    date_created: datetime | None
    date_completed: datetime | None
    plan: Mapping[str, JsonValue]
    variables: Mapping[str, JsonValue]
    raw: Mapping[str, JsonValue] = field(repr=False, compare=False)

    @property
    def is_finished(self) -> bool:
        """Whether it does nothing more unless somebody tries it again."""
        return self.status != BatchStatus.RUNNING

    @classmethod
    def read(cls, value: object) -> "Batch":
        fields = Fields(value, "batch")
        counts, plan, variables = (fields.optional_object(name) for name in ("counts", "plan", "variables"))
        if counts is None:
            raise WireError("batch.counts is missing.")
        return cls(
            id=fields.integer("id"),
            uuid=fields.uuid("uuid"),
            name=fields.text("name"),
            status=fields.choice("status", BatchStatus),
            failure_details=fields.optional_text("failureDetails"),
            attempt=fields.integer("attempt"),
            counts=BatchCounts.read(counts),
            concurrency=fields.integer("concurrency"),
            stop_after_failures=fields.optional_integer("stopAfterFailures"),
            max_cost_usd=fields.optional_number("maxCostUsd"),
            cost_usd=fields.number("costUsd"),
            is_kill_requested=fields.flag("isKillRequested"),
            date_created=fields.date("dateCreated"),
            date_completed=fields.date("dateCompleted"),
            plan=plan.raw if plan is not None else {},
            variables=variables.raw if variables is not None else {},
            raw=fields.raw,
        )


@dataclass(frozen=True, slots=True)
class BatchItem:
    """A repository of a batch, and what came of it: of the last attempt, but for `cost_usd`, which is of all, and
    `earlier_runs`. `process_id`: of its process."""

    position: int
    name: str
    url: str
    repository_id: int | None
    status: BatchItemStatus
    attempt: int
    run_id: int | None
    process_id: UUID | None
    branch: str | None
    commits: Sequence[str]
    pull_request_url: str | None
    changed_files: int | None
    cost_usd: float
    failure_details: str | None
    earlier_runs: Sequence[int]
    date_started: datetime | None
    date_completed: datetime | None
    raw: Mapping[str, JsonValue] = field(repr=False, compare=False)

    @classmethod
    def read(cls, fields: Fields) -> "BatchItem":
        return cls(
            position=fields.integer("position"),
            name=fields.text("name"),
            url=fields.text("url"),
            repository_id=fields.optional_integer("repositoryId"),
            status=fields.choice("status", BatchItemStatus),
            attempt=fields.integer("attempt"),
            run_id=fields.optional_integer("runId"),
            process_id=fields.optional_uuid("processId"),
            branch=fields.optional_text("branch"),
            commits=tuple(str(sha) for sha in fields.array("commits")),
            pull_request_url=fields.optional_text("pullRequestUrl"),
            changed_files=fields.optional_integer("changedFiles"),
            cost_usd=fields.number("costUsd"),
            failure_details=fields.optional_text("failureDetails"),
            earlier_runs=tuple(run for run in fields.array("earlierRuns") if isinstance(run, int)),
            date_started=fields.date("dateStarted"),
            date_completed=fields.date("dateCompleted"),
            raw=fields.raw,
        )
