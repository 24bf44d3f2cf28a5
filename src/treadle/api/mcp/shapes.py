"""What tools answer: the words of the domain, with texts short enough for a model to read."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import BaseModel, Field, JsonValue

from treadle.domain.events import Event
from treadle.domain.repository import Repository
from treadle.domain.run import Run, Step, StoredFile, Usage
from treadle.domain.validation import CommandResult

#: Characters of the texts of one run that an answer holds: instructions and answers of its steps, together.
MAX_RUN_TEXT = 40_000
#: And of one step's at least, however many there are.
MIN_STEP_TEXT = 200
#: Characters of a text in a list, of a text in an entry of a log, and of all entries of a page of it.
MAX_LISTED_TEXT = 200
MAX_LOG_TEXT = 4_000
MAX_LOG_PAGE_TEXT = 60_000


class UsageShape(BaseModel):
    """What model time cost."""

    input_tokens: int
    output_tokens: int
    cost_usd: float
    duration_ms: int

    @classmethod
    def of(cls, usage: Usage) -> Self:
        return cls(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cost_usd=usage.cost_usd,
            duration_ms=usage.duration_ms,
        )


class StructuredOutputShape(BaseModel):
    """The answer of a step that asked for structure."""

    output: str
    was_successful: bool
    did_generate_code: bool
    is_additional_work_required_to_continue: bool


class CommandShape(BaseModel):
    """A command that validated a step."""

    command: str
    exit_code: int | None
    reason: str | None = Field(description="Why there is no exit code.")
    attempt: int = Field(description="From 1; the engine mended the work in between.")
    output: str = Field(description="Its end.")

    @classmethod
    def of(cls, result: CommandResult, most: int) -> Self:
        return cls(
            command=cut(result.command, most),
            exit_code=result.exit_code,
            reason=result.reason,
            attempt=result.attempt,
            output=cut(result.output, most),
        )


class StepShape(BaseModel):
    """One instruction, and what came of it."""

    position: int = Field(description="From 1.")
    text: str
    is_commitable: bool
    is_structured: bool
    status: str
    phase: str | None = Field(description="The phase that it is in, or ended in.")
    output: str | None
    structured_output: StructuredOutputShape | None
    failure_details: str | None
    commit_sha: str | None
    validation: list[CommandShape] = Field(description="Of the last try to validate it.")

    @classmethod
    def of(cls, step: Step, most: int) -> Self:
        answer = step.structured_output
        return cls(
            position=step.position,
            text=cut(step.text, most),
            is_commitable=step.is_commitable,
            is_structured=step.is_structured,
            status=step.status,
            phase=step.phase,
            output=cut(step.output, most) if step.output is not None else None,
            structured_output=StructuredOutputShape(
                output=cut(answer.output, most),
                was_successful=answer.was_successful,
                did_generate_code=answer.did_generate_code,
                is_additional_work_required_to_continue=answer.is_additional_work_required_to_continue,
            )
            if answer is not None
            else None,
            failure_details=cut(step.failure_details, most) if step.failure_details is not None else None,
            commit_sha=step.commit_sha,
            validation=[CommandShape.of(each, most) for each in _last_try(step)],
        )


def _last_try(step: Step) -> Sequence[CommandResult]:
    last = max((each.attempt for each in step.validation), default=0)
    return [each for each in step.validation if each.attempt == last]


class RunSummaryShape(BaseModel):
    """A run of a list."""

    id: int
    uuid: UUID
    status: str
    repository_id: int | None
    git_url: str
    branch_source: str
    branch_work: str
    engine: str
    steps: int = Field(description="How many it has.")
    first_step: str = Field(description="The first instruction.")
    date_created: datetime

    @classmethod
    def of(cls, run: Run) -> Self:
        return cls(
            id=run.id,
            uuid=run.uuid,
            status=run.status,
            repository_id=run.repository_id,
            git_url=run.git_url,
            branch_source=run.branch_source,
            branch_work=run.branch_work,
            engine=run.engine,
            steps=len(run.steps),
            first_step=cut(run.steps[0].text, MAX_LISTED_TEXT) if run.steps else "",
            date_created=run.date_created,
        )


class RunShape(BaseModel):
    """A run, with its steps."""

    id: int
    uuid: UUID
    status: str = Field(description="New, Running, Success, Failed or Killed.")
    is_finished: bool
    failure_details: str | None
    repository_id: int | None
    git_url: str
    branch_source: str
    branch_work: str
    engine: str
    model: str | None
    steps: list[StepShape]
    has_diff: bool
    usage: UsageShape
    max_cost_usd: float | None
    date_created: datetime
    date_started: datetime | None
    date_completed: datetime | None
    page: str | None = Field(description="Where a person sees it.")

    @classmethod
    def of(cls, run: Run, public_url: str | None) -> Self:
        most = max(MIN_STEP_TEXT, MAX_RUN_TEXT // (2 * max(1, len(run.steps))))
        return cls(
            id=run.id,
            uuid=run.uuid,
            status=run.status,
            is_finished=run.is_finished,
            failure_details=cut(run.failure_details, MAX_LOG_TEXT) if run.failure_details is not None else None,
            repository_id=run.repository_id,
            git_url=run.git_url,
            branch_source=run.branch_source,
            branch_work=run.branch_work,
            engine=run.engine,
            model=run.model,
            steps=[StepShape.of(step, most) for step in run.steps],
            has_diff=run.has_diff,
            usage=UsageShape.of(run.usage),
            max_cost_usd=run.max_cost_usd,
            date_created=run.date_created,
            date_started=run.date_started,
            date_completed=run.date_completed,
            page=f"{public_url.rstrip('/')}/runs/{run.id}" if public_url else None,
        )


class RunsShape(BaseModel):
    """A page of runs, newest first."""

    runs: list[RunSummaryShape]
    before: int | None = Field(description="Give this as `before` for the next page; null: there are no more.")


class WaitShape(BaseModel):
    """What a wait ended with."""

    run: RunShape
    advice: str | None = Field(description="What to do next, where the run has not ended.")


class LogEntryShape(BaseModel):
    """One thing that happened."""

    number: int
    type: str = Field(description="Such as engine.text, tool.finished, step.finished.")
    date: datetime
    step: int | None
    phase: str | None
    data: dict[str, JsonValue] = Field(description="Long texts are cut, and say so.")

    @classmethod
    def of(cls, event: Event) -> Self:
        return cls(
            number=event.number,
            type=event.type,
            date=event.date,
            step=event.step,
            phase=event.phase,
            data={name: _shortened(value) for name, value in event.data.items()},
        )


class LogShape(BaseModel):
    """A page of a run's log."""

    entries: list[LogEntryShape]
    total: int
    next_skip: int | None = Field(description="Give this as `skip` for the next page; null: there is no more now.")


class FileShape(BaseModel):
    """A file that start_run and resume_run can refer to."""

    id: UUID
    name: str
    content_type: str
    size: int = Field(description="In bytes.")
    sha256: str

    @classmethod
    def of(cls, file: StoredFile) -> Self:
        return cls(id=file.id, name=file.name, content_type=file.content_type, size=file.size, sha256=file.sha256)


class RepositoryShape(BaseModel):
    """A registered repository."""

    id: int
    name: str
    git_url: str
    default_branch: str

    @classmethod
    def of(cls, repository: Repository) -> Self:
        return cls(
            id=repository.id,
            name=repository.name,
            git_url=repository.url,
            default_branch=repository.default_branch,
        )


class RepositoriesShape(BaseModel):
    """A page of registered repositories."""

    repositories: list[RepositoryShape]
    total: int
    next_skip: int | None = Field(description="Give this as `skip` for the next page; null: there are no more.")


def cut(text: str, most: int) -> str:
    """At most so many characters of it, and how many are missing."""
    return text if len(text) <= most else f"{text[:most]}… [{len(text) - most:,} more characters]"


def _shortened(value: object) -> JsonValue:
    """As JSON with every text cut; what is nested deeper than events are is left out by the recursion's own end."""
    match value:
        case str():
            return cut(value, MAX_LOG_TEXT)
        case Mapping():
            return {str(name): _shortened(each) for name, each in value.items()}
        case Sequence():
            return [_shortened(each) for each in value]
        case bool() | int() | float() | None:
            return value
        case _:
            return str(value)
