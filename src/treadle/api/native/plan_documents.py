"""The endpoints of plans, as they are documented."""

from collections.abc import Sequence
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from treadle.api.native.documents import Endpoint, parameter
from treadle.services.run_rules import MAX_COST_USD

_TAG = "Plans"
_ID = parameter("path", "id", "The repository's id.", {"type": "integer"}, is_required=True)
_BRANCH = parameter("query", "branch", "The branch to look at. Left out: the default one.", {"type": "string"})
_KEY = parameter(
    "header",
    "Idempotency-Key",
    "A repeat with the same key, within 24 hours, answers with the same run.",
    {"type": "string", "maxLength": 255},
)


class _Shape(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class PlanFaultShape(_Shape):
    """`path`: the plan's key, such as `steps[0]`; `plan` for all of it. `line` null: the plan was no text."""

    path: str = Field(examples=["steps[0]"])
    message: str = Field(examples=["must be text, or a mapping with `step` or `analysis`"])
    line: int | None = Field(examples=[4])


class PlanCheckBody(_Shape):
    """A plan, as YAML or as an object of the same keys."""

    plan: str | dict[str, object] = Field(examples=["steps:\n  - Add tests\n"])


class PlanCheckShape(_Shape):
    """`plan`: what was understood; null where nothing was."""

    is_valid: bool
    faults: list[PlanFaultShape]
    plan: dict[str, object] | None = Field(examples=[{"steps": [{"step": "Add tests"}]}])


class PlanStartBody(_Shape):
    """`plan`, or `repositoryPlan` with `repositoryId`. What is left out, or null, is as the plan says."""

    plan: str | dict[str, object] | None = Field(None, description="YAML, or an object of the same keys.")
    repository_plan: str | None = Field(None, description="The name of one of the repository's own.", examples=["tidy"])
    plan_branch: str | None = Field(None, description="The branch that `repositoryPlan` is read from.")
    repository_id: int | None = Field(None, description="A registered repository; it brings its credentials.")
    url: str | None = Field(None, description="Another repository's address.")
    branch_source: str | None = Field(None, description="Where the work starts.", examples=["main"])
    branch_work: str | None = Field(None, description="Where it is committed.", examples=["feature/tests"])
    variables: dict[str, str] | None = Field(None, description="Values of the plan's variables.")
    file_ids: list[UUID] | None = Field(None, description="Uploaded files to show the engine.")
    metadata: dict[str, object] | None = Field(None, description="Your own; it stays with the run.")
    max_cost_usd: float | None = Field(None, gt=0, le=MAX_COST_USD)
    pull_request: bool | None = Field(None, description="Whether a pull request is opened at its end.")


class StartedRunShape(_Shape):
    """`id`: the run's, as the code-generation API calls it; `number`: as the agent-run API does."""

    id: UUID
    number: int
    status: str = Field(examples=["New"])
    git_url: str
    repository_id: int | None
    branch_source: str
    branch_work: str
    engine: str = Field(examples=["Claude"])
    max_cost_usd: float | None
    steps: int


class RepositoryPlanShape(_Shape):
    """`name`: the file's, without its ending; `title`: what the plan calls itself."""

    name: str = Field(examples=["tidy"])
    path: str = Field(examples=[".treadle/plans/tidy.yaml"])
    title: str | None
    description: str | None
    variables: dict[str, object] | None
    steps: int
    is_valid: bool
    faults: list[PlanFaultShape]


class RepositoryPlansShape(_Shape):
    """`commit`: what they are of. `more`: how many there are besides."""

    branch: str = Field(examples=["main"])
    commit: str
    plans: list[RepositoryPlanShape]
    more: int


class PlanSchemaShape(BaseModel):
    """A JSON Schema, draft 2020-12."""

    model_config = ConfigDict(extra="allow")


SHAPES: Sequence[type[BaseModel]] = (
    PlanFaultShape,
    PlanCheckBody,
    PlanCheckShape,
    PlanStartBody,
    StartedRunShape,
    RepositoryPlanShape,
    RepositoryPlansShape,
    PlanSchemaShape,
)

SCHEMA = Endpoint(_TAG, "Get the JSON Schema of plans", "Without a key.", answer=PlanSchemaShape)
CHECK = Endpoint(
    _TAG,
    "Check a plan",
    "Nothing starts. Every fault is named, with its line where the plan is YAML.",
    answer=PlanCheckShape,
    body=PlanCheckBody,
    problems=(400, 413, 415),
)
START = Endpoint(
    _TAG,
    "Start a plan",
    "It is held to what a process is held to.",
    answer=StartedRunShape,
    body=PlanStartBody,
    problems=(400, 402, 404, 409, 413, 415),
    parameters=(_KEY,),
)
LIST = Endpoint(
    _TAG,
    "List the plans that a repository holds itself",
    "Those in `.treadle/plans/`, as they are on the branch now, with what is wrong in them.",
    answer=RepositoryPlansShape,
    problems=(400, 404, 409),
    parameters=(_ID, _BRANCH),
)
