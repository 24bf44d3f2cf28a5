"""What the tools of batches take and answer."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from treadle.api.mcp.shapes import MAX_LISTED_TEXT, MAX_LOG_TEXT, cut
from treadle.domain.batch import Batch, BatchCounts, BatchItem

BatchId = Annotated[int | str, Field(description="The batch's id: its number, or its UUID.")]


class TargetGiven(BaseModel):
    """One repository, with variables of its own."""

    model_config = ConfigDict(extra="forbid")

    repository: int | str | None = Field(None, description="A registered one: its id, or its name OWNER/NAME.")
    url: str | None = Field(None, description="Or the address of another, without credentials.")
    variables: dict[str, str] = Field(default_factory=dict, description="Over the batch's.")


class CountsShape(BaseModel):
    """How many of the repositories are where."""

    items: int
    not_started: int
    running: int
    succeeded: int
    failed: int
    killed: int
    skipped: int

    @classmethod
    def of(cls, counts: BatchCounts) -> Self:
        return cls(
            items=counts.items,
            not_started=counts.not_started,
            running=counts.running,
            succeeded=counts.succeeded,
            failed=counts.failed,
            killed=counts.killed,
            skipped=counts.skipped,
        )


class BatchShape(BaseModel):
    """A batch, without its repositories."""

    id: int
    uuid: UUID
    name: str
    status: str = Field(description="Running, Success, Failed or Killed.")
    is_finished: bool
    is_kill_requested: bool
    failure_details: str | None
    attempt: int = Field(description="From 1; a retry is the next.")
    counts: CountsShape
    concurrency: int
    stop_after_failures: int | None
    max_cost_usd: float | None
    cost_usd: float = Field(description="Of all its runs, to now.")
    date_created: datetime
    date_completed: datetime | None
    page: str | None = Field(description="Where a person sees it.")

    @classmethod
    def of(cls, batch: Batch, public_url: str | None) -> Self:
        return cls(
            id=batch.id,
            uuid=batch.uuid,
            name=batch.name,
            status=batch.status,
            is_finished=batch.is_finished,
            is_kill_requested=batch.date_kill_requested is not None,
            failure_details=cut(batch.failure_details, MAX_LOG_TEXT) if batch.failure_details is not None else None,
            attempt=batch.attempt,
            counts=CountsShape.of(batch.counts),
            concurrency=batch.concurrency,
            stop_after_failures=batch.stop_after_failures,
            max_cost_usd=batch.max_cost_usd,
            cost_usd=batch.cost_usd,
            date_created=batch.date_created,
            date_completed=batch.date_completed,
            page=f"{public_url.rstrip('/')}/automation/batches/{batch.id}" if public_url else None,
        )


class BatchesShape(BaseModel):
    """A page of batches, newest first."""

    batches: list[BatchShape]
    before: int | None = Field(description="Give this as `before` for the next page; null: there are no more.")


class BatchWaitShape(BaseModel):
    """What a wait ended with."""

    batch: BatchShape
    advice: str | None = Field(description="What to do next, where the batch has not ended.")


class BatchItemShape(BaseModel):
    """One repository of a batch, and what came of it."""

    position: int = Field(description="From 1.")
    name: str
    url: str
    repository_id: int | None
    status: str = Field(description="NotStarted, Starting, Running, Success, Failed, Killed or Skipped.")
    attempt: int
    run_id: int | None = Field(description="Of the last attempt: get_run, run_logs and run_diff take it.")
    branch: str | None
    commits: list[str]
    pull_request_url: str | None
    changed_files: int | None
    cost_usd: float = Field(description="Of all attempts.")
    failure_details: str | None

    @classmethod
    def of(cls, item: BatchItem) -> Self:
        return cls(
            position=item.position,
            name=item.name,
            url=item.url,
            repository_id=item.repository_id,
            status=item.status,
            attempt=item.attempt,
            run_id=item.run_id,
            branch=item.branch,
            commits=list(item.commits),
            pull_request_url=item.pull_request_url,
            changed_files=item.changed_files,
            cost_usd=item.cost_usd,
            failure_details=cut(item.failure_details, MAX_LISTED_TEXT) if item.failure_details is not None else None,
        )


class BatchReportShape(BaseModel):
    """A batch, and a page of its repositories."""

    batch: BatchShape
    items: list[BatchItemShape]
    next_after: int | None = Field(description="Give this as `after` for the next page; null: there are no more.")

    @classmethod
    def of(cls, batch: Batch, items: Sequence[BatchItem], limit: int, public_url: str | None) -> Self:
        return cls(
            batch=BatchShape.of(batch, public_url),
            items=[BatchItemShape.of(item) for item in items],
            next_after=items[-1].position if len(items) == limit else None,
        )
