"""The endpoints of batches, as they are documented."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from treadle.api.native.documents import Endpoint, parameter
from treadle.domain.batch import (
    DEFAULT_BATCH_CONCURRENCY,
    MAX_BATCH_CONCURRENCY,
    MAX_BATCH_ITEMS,
    MAX_BATCH_NAME,
    BatchStatus,
    ItemStatus,
)
from treadle.services.batch_report import ReportForm
from treadle.services.batches import DEFAULT_BATCH_PAGE, MAX_BATCH_PAGE
from treadle.services.run_rules import MAX_COST_USD

_TAG = "Batches"
_ID = parameter("path", "id", "The batch's id, or its UUID.", {"type": "string"}, is_required=True)
_KEY = parameter(
    "header",
    "Idempotency-Key",
    "A repeat with the same key, within 24 hours, answers with the same batch.",
    {"type": "string", "maxLength": 255},
)
_LIMIT = parameter(
    "query",
    "limit",
    "How many at most.",
    {"type": "integer", "minimum": 1, "maximum": MAX_BATCH_PAGE, "default": DEFAULT_BATCH_PAGE},
)


class _Shape(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class BatchCountsShape(_Shape):
    """How many repositories are where."""

    items: int
    not_started: int
    running: int
    succeeded: int
    failed: int
    killed: int
    skipped: int


class BatchShape(_Shape):
    """One plan on many repositories. `attempt`: from 1, one more with each retry. `costUsd`: of all its runs, of all
    attempts, to now."""

    id: int
    uuid: UUID
    name: str
    status: BatchStatus
    failure_details: str | None
    user_id: int
    attempt: int
    counts: BatchCountsShape
    concurrency: int
    stop_after_failures: int | None
    max_cost_usd: float | None
    cost_usd: float
    is_kill_requested: bool
    date_created: datetime
    date_updated: datetime
    date_completed: datetime | None
    plan: dict[str, object] = Field(description="As JSON; not in lists.")
    variables: dict[str, str] = Field(description="Not in lists.")


class BatchesShape(_Shape):
    """`next`: the `before` of the next page; null at the end."""

    batches: list[BatchShape]
    next: int | None


class BatchItemShape(_Shape):
    """A repository of a batch, and what came of it. What is of a run is the last attempt's, but for `costUsd`, which is
    of all, and `earlierRuns`. `processId`: the run's id in the code-generation API."""

    position: int
    name: str
    url: str
    repository_id: int | None
    status: ItemStatus
    attempt: int
    run_id: int | None
    process_id: UUID | None
    branch: str | None
    commits: list[str]
    pull_request_url: str | None
    changed_files: int | None
    cost_usd: float
    failure_details: str | None
    earlier_runs: list[int]
    variables: dict[str, str]
    date_started: datetime | None
    date_completed: datetime | None


class BatchItemsShape(_Shape):
    """`next`: the `after` of the next page; null at the end."""

    items: list[BatchItemShape]
    next: int | None


class BatchTargetShape(_Shape):
    """One of `repository` and `url`. In the place of the object a number, a name or an address alone will do."""

    repository: int | str | None = Field(None, description="The id or the OWNER/NAME of a registered one.")
    url: str | None = Field(None, description="An address without credentials.")
    variables: dict[str, str] | None = Field(None, description="Its own, over those of the batch.")


class BatchFilterShape(_Shape):
    """Registered repositories that are not archived; all of what is given must fit."""

    name: str | None = Field(None, description="A pattern of OWNER/NAME, with * and ?.", examples=["acme/web-*"])
    language: str | None = Field(None, examples=["Python"])
    all: bool | None = Field(None, description="true: every one.")


class BatchBody(_Shape):
    """`targets`, `filter`, or both: then what the filter admits is added to the targets."""

    plan: str | dict[str, object] = Field(description="YAML, or an object of the same keys.")
    variables: dict[str, str] | None = Field(None, description="Values of the plan's variables, for all.")
    targets: list[BatchTargetShape | int | str] | None = Field(None, max_length=MAX_BATCH_ITEMS)
    filter: BatchFilterShape | None = None
    name: str | None = Field(None, description="Left out: the plan's, or its first step.", max_length=MAX_BATCH_NAME)
    concurrency: int = Field(
        DEFAULT_BATCH_CONCURRENCY, ge=1, le=MAX_BATCH_CONCURRENCY, description="Runs under way at once."
    )
    stop_after_failures: int | None = Field(None, ge=1, le=MAX_BATCH_ITEMS, description="Then it starts no more.")
    max_cost_usd: float | None = Field(
        None, gt=0, le=MAX_COST_USD, description="US dollars that all its runs together may cost."
    )


class BatchConcurrencyBody(_Shape):
    concurrency: int = Field(ge=1, le=MAX_BATCH_CONCURRENCY)


SHAPES: Sequence[type[BaseModel]] = (
    BatchCountsShape,
    BatchShape,
    BatchesShape,
    BatchItemShape,
    BatchItemsShape,
    BatchTargetShape,
    BatchFilterShape,
    BatchBody,
    BatchConcurrencyBody,
)

START = Endpoint(
    _TAG,
    "Start a batch",
    f"A plan on up to {MAX_BATCH_ITEMS:,} repositories. Faults of a target are named by `targets[n]`, and nothing "
    "starts; a repository on which no run can be made later fails in the batch.",
    answer=BatchShape,
    body=BatchBody,
    problems=(400, 409, 413, 415),
    parameters=(_KEY,),
)
LIST = Endpoint(
    _TAG,
    "List batches",
    "Newest first. A MEMBER sees its own; others the organization's.",
    answer=BatchesShape,
    problems=(400,),
    parameters=(
        _LIMIT,
        parameter("query", "before", "Batches with a smaller id: `next` of the page before.", {"type": "integer"}),
    ),
)
GET = Endpoint(_TAG, "Get a batch", answer=BatchShape, problems=(404,), parameters=(_ID,))
CHANGE = Endpoint(
    _TAG,
    "Change how many runs of a batch may be under way at once",
    answer=BatchShape,
    body=BatchConcurrencyBody,
    problems=(400, 404, 413, 415),
    parameters=(_ID,),
)
ITEMS = Endpoint(
    _TAG,
    "List a batch's repositories",
    "By their positions.",
    answer=BatchItemsShape,
    problems=(400, 404),
    parameters=(
        _ID,
        parameter("query", "status", "Only those; repeatable.", {"type": "array", "items": {"enum": list(ItemStatus)}}),
        _LIMIT,
        parameter("query", "after", "Those with a greater position: `next` of the page before.", {"type": "integer"}),
    ),
)
REPORT = Endpoint(
    _TAG,
    "Get a batch's report",
    "A row for each repository. JSON is the batch and its items as the other endpoints have them.",
    answer=BatchShape,
    problems=(400, 404),
    parameters=(
        _ID,
        parameter("query", "format", "Of the report.", {"type": "string", "enum": list(ReportForm), "default": "json"}),
    ),
)
RETRY = Endpoint(
    _TAG,
    "Try again what did not succeed",
    "Repositories that failed, were killed or skipped get another run; their earlier ones are remembered.",
    answer=BatchShape,
    problems=(404, 409),
    parameters=(_ID,),
)
KILL = Endpoint(
    _TAG,
    "Kill a batch",
    "It starts no more, and its runs are killed; twice is harmless.",
    answer=BatchShape,
    problems=(404, 409),
    parameters=(_ID,),
)
