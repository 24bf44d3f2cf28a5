"""What the code-generation API answers, as shapes for the documentation. `wire.py` writes the answers; a test holds the
two together."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from treadle.domain.run import EngineName
from treadle.domain.states import Phase, RunStatus, StepStatus


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)


class UsageShape(_Shape):
    """What the model cost. `costUsd` is US dollars, `durationMs` engine time."""

    input_tokens: int
    output_tokens: int
    cost_usd: float
    duration_ms: int


class StructuredOutputShape(_Shape):
    output: str
    thinking: str
    was_successful: bool
    did_generate_code: bool
    is_additional_work_required_to_continue: bool


class DiffLineShape(_Shape):
    """`oldLine` and `newLine` count from 1 and are null where the line is not in that version."""

    type: Literal["Context", "Added", "Removed"]
    content: str
    old_line: int | None
    new_line: int | None
    no_newline_at_end: bool


class DiffChangeShape(_Shape):
    header: str = Field(examples=["@@ -1,5 +1,7 @@"])
    diff: list[DiffLineShape]


class DiffFileShape(_Shape):
    model_config = ConfigDict(extra="allow")

    filename: str
    old_filename: str | None
    is_new: bool
    is_deleted: bool
    is_renamed: bool
    is_binary: bool
    changes: list[DiffChangeShape]


class DiffShape(_Shape):
    """Applied to the source it gives the work branch, byte for byte, for text files."""

    files: list[DiffFileShape]


class CommandResultShape(_Shape):
    """What came of a validation command. It passed where `exitCode` is 0; null: it was ended, and `reason` says why.
    `output` is the end of what it said; `attempt` counts from 1."""

    command: str
    exit_code: int | None
    reason: str | None
    output: str
    duration_ms: int
    attempt: int


class StepShape(_Shape):
    """`phase` is the one it is in, or ended in. `validation`: what came of the validation commands, in order. In lists
    it and the outputs are null."""

    id: UUID
    step: str
    is_commitable_step: bool
    is_structured_output: bool
    status: StepStatus
    phase: Phase | None
    output: str | None
    structured_output: StructuredOutputShape | None
    failure_details: str | None
    commit_sha: str | None
    date_started: datetime | None
    date_completed: datetime | None
    usage: UsageShape
    validation: list[CommandResultShape] | None


class ProcessShape(_Shape):
    """`dateRunnerPing` is the last sign of life of its worker. `diff` is there once the process has finished, if it was
    asked for. `network` null: as its repository says when it begins, else the service."""

    id: UUID
    tenant_id: UUID
    user_created_by_id: UUID
    date_created: datetime
    date_updated: datetime
    date_started: datetime | None
    date_completed: datetime | None
    date_runner_ping: datetime | None
    status: RunStatus
    failure_details: str | None
    git_url: str
    branch_source: str
    branch_work: str
    code_guidelines: str | None
    file_ids: list[UUID]
    generate_diff_on_completion: bool
    engine: EngineName
    diff: DiffShape | None
    steps: list[StepShape]
    usage: UsageShape
    max_cost_usd: float | None
    network: str | dict[str, list[str]] | None = Field(examples=["model"])
    validation_rules: dict[str, list[str] | int] | None = Field(
        alias="validate",
        description="Commands that must pass before a step is committed. null: those of its repository.",
        examples=[{"commands": ["make test"], "tries": 3}],
    )


class EventShape(_Shape):
    """One thing that happened; `number` counts from 1."""

    number: int
    type: str = Field(examples=["step.started"])
    date: datetime
    step: int | None = Field(description="The step's place, from 1.")
    phase: Phase | None
    data: dict[str, Any]


class ArtifactShape(_Shape):
    """What a process left, such as the uncommitted work of a step that failed. `size` is in bytes."""

    name: str
    content_type: str
    size: int
    date_created: datetime


class FileShape(_Shape):
    """`size` is in bytes."""

    id: UUID
    name: str
    content_type: str
    size: int
    sha256: str
    date_created: datetime


class TokenShape(_Shape):
    """`expiresIn` is in seconds."""

    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int
    date_expires: datetime


class KeysShape(_Shape):
    keys: list[dict[str, Any]]


class ProblemShape(_Shape):
    """RFC 9457. `code` is stable; `errors` names the fields that are wrong; `instance` is an id in the log."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: dict[str, list[str]]
    instance: str | None = None
