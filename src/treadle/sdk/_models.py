"""What the API answers with, as frozen dataclasses. Dates have a time zone, and are UTC."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from treadle.sdk._diff import CodeDiff
from treadle.sdk._network import Network, network_of
from treadle.sdk._validation import CommandResult, ValidationRules, results_of, rules_of
from treadle.sdk._wire import Fields, JsonValue, OpenEnum


class ProcessStatus(OpenEnum):
    """Where a process stands."""

    NEW = "New"
    RUNNING = "Running"
    SUCCESS = "Success"
    FAILED = "Failed"
    KILLED = "Killed"


class StepStatus(OpenEnum):
    """Where a step stands."""

    NOT_STARTED = "NotStarted"
    RUNNING = "Running"
    SUCCESS = "Success"
    FAILED = "Failed"


class Phase(OpenEnum):
    """One engine call inside a step."""

    ANALYSIS = "Analysis"
    IMPLEMENTATION = "Implementation"
    VALIDATION = "Validation"


class Engine(OpenEnum):
    """The AI coding CLI that does the work."""

    CLAUDE = "Claude"
    KIMI = "Kimi"
    DUMMY = "Dummy"


_ALIVE = frozenset({ProcessStatus.NEW, ProcessStatus.RUNNING})
_TERMINAL = frozenset({ProcessStatus.SUCCESS, ProcessStatus.FAILED, ProcessStatus.KILLED})

#: The type of the event after which there is no other.
TERMINAL_EVENT = "run.finished"


@dataclass(frozen=True, slots=True)
class Usage:
    """What model time cost. Cost is US dollars, duration milliseconds of engine time."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    duration_ms: int = 0

    @classmethod
    def read(cls, fields: Fields | None) -> "Usage":
        if fields is None:
            return cls()
        return cls(
            input_tokens=fields.integer("inputTokens"),
            output_tokens=fields.integer("outputTokens"),
            cost_usd=fields.number("costUsd"),
            duration_ms=fields.integer("durationMs"),
        )


@dataclass(frozen=True, slots=True)
class StructuredOutput:
    """The answer of a step that asked for structure."""

    output: str
    thinking: str
    was_successful: bool
    did_generate_code: bool
    is_additional_work_required_to_continue: bool

    @classmethod
    def read(cls, fields: Fields) -> "StructuredOutput":
        return cls(
            output=fields.optional_text("output") or "",
            thinking=fields.optional_text("thinking") or "",
            was_successful=fields.flag("wasSuccessful"),
            did_generate_code=fields.flag("didGenerateCode"),
            is_additional_work_required_to_continue=fields.flag("isAdditionalWorkRequiredToContinue"),
        )


@dataclass(frozen=True, slots=True)
class ProcessStep:
    """A step of a process. `step` is the instruction, `phase` the one it is in or ended in. `output` and
    `structured_output` are None in lists of processes; `validation`, what came of the validation commands, is empty."""

    id: UUID
    step: str
    is_commitable_step: bool
    is_structured_output: bool
    status: StepStatus
    phase: Phase | None
    output: str | None = field(repr=False)
    structured_output: StructuredOutput | None = field(repr=False)
    failure_details: str | None
    commit_sha: str | None
    date_started: datetime | None
    date_completed: datetime | None
    usage: Usage
    validation: tuple[CommandResult, ...] = field(repr=False)

    @classmethod
    def read(cls, fields: Fields) -> "ProcessStep":
        structured = fields.optional_object("structuredOutput")
        return cls(
            id=fields.uuid("id"),
            step=fields.text("step"),
            is_commitable_step=fields.flag("isCommitableStep"),
            is_structured_output=fields.flag("isStructuredOutput"),
            status=fields.choice("status", StepStatus),
            phase=fields.optional_choice("phase", Phase),
            output=fields.optional_text("output"),
            structured_output=StructuredOutput.read(structured) if structured is not None else None,
            failure_details=fields.optional_text("failureDetails"),
            commit_sha=fields.optional_text("commitSha"),
            date_started=fields.date("dateStarted"),
            date_completed=fields.date("dateCompleted"),
            usage=Usage.read(fields.optional_object("usage")),
            validation=results_of(fields, "validation"),
        )


@dataclass(frozen=True, slots=True)
class Process:
    """Steps on one work branch of one repository, and how far they are.

    `diff` is None in lists, and unless it was asked for with `generate_diff_on_completion`. `max_cost_usd` is its
    budget, `network` what it may connect to (None: as its repository says, else the service), `validation` what must
    pass before a step is committed (None: as its repository says). `raw` is the JSON as it
    came, with what this SDK does not know yet.
    """

    id: UUID
    tenant_id: UUID | None
    user_created_by_id: UUID | None
    date_created: datetime | None
    date_updated: datetime | None
    date_started: datetime | None
    date_completed: datetime | None
    date_runner_ping: datetime | None
    status: ProcessStatus
    failure_details: str | None
    git_url: str
    branch_source: str
    branch_work: str
    code_guidelines: str | None = field(repr=False)
    file_ids: tuple[UUID, ...]
    generate_diff_on_completion: bool
    engine: Engine
    diff: CodeDiff | None = field(repr=False)
    steps: tuple[ProcessStep, ...]
    usage: Usage
    max_cost_usd: float | None
    network: Network | None
    validation: ValidationRules | None
    raw: Mapping[str, JsonValue] = field(repr=False, compare=False)

    @property
    def is_finished(self) -> bool:
        """Whether it has ended, well or not. A status that this SDK does not know counts as ended when it has a date of
        completion."""
        return self.status in _TERMINAL or (self.status not in _ALIVE and self.date_completed is not None)

    @property
    def succeeded(self) -> bool:
        """Whether all its steps were completed."""
        return self.status == ProcessStatus.SUCCESS

    @property
    def failed_step(self) -> ProcessStep | None:
        """The step that failed, and with it the process."""
        return next((step for step in self.steps if step.status == StepStatus.FAILED), None)

    @property
    def running_step(self) -> ProcessStep | None:
        """The step at work now."""
        return next((step for step in self.steps if step.status == StepStatus.RUNNING), None)

    def is_stale(self, now: datetime, *, after: timedelta = timedelta(minutes=5)) -> bool:
        """Whether it is Running but its worker has been silent for longer than `after`. `now` needs a time zone."""
        if self.status != ProcessStatus.RUNNING or self.date_runner_ping is None:
            return False
        return now - self.date_runner_ping > after

    @classmethod
    def read(cls, value: object) -> "Process":
        fields = Fields(value, "process")
        diff = fields.optional_object("diff")
        return cls(
            id=fields.uuid("id"),
            tenant_id=fields.optional_uuid("tenantId"),
            user_created_by_id=fields.optional_uuid("userCreatedById"),
            date_created=fields.date("dateCreated"),
            date_updated=fields.date("dateUpdated"),
            date_started=fields.date("dateStarted"),
            date_completed=fields.date("dateCompleted"),
            date_runner_ping=fields.date("dateRunnerPing"),
            status=fields.choice("status", ProcessStatus),
            failure_details=fields.optional_text("failureDetails"),
            git_url=fields.text("gitUrl"),
            branch_source=fields.text("branchSource"),
            branch_work=fields.text("branchWork"),
            code_guidelines=fields.optional_text("codeGuidelines"),
            file_ids=tuple(UUID(str(item)) for item in fields.array("fileIds")),
            generate_diff_on_completion=fields.flag("generateDiffOnCompletion"),
            engine=fields.choice("engine", Engine),
            diff=CodeDiff.read(diff) if diff is not None else None,
            steps=tuple(ProcessStep.read(step) for step in fields.objects("steps")),
            usage=Usage.read(fields.optional_object("usage")),
            max_cost_usd=fields.optional_number("maxCostUsd"),
            network=network_of(fields, "network"),
            validation=rules_of(fields, "validate"),
            raw=fields.raw,
        )


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened in a process. `number` counts from 1; `step` is the step's position, from 1. What `data`
    holds depends on `type`, such as `step.started` or `git.committed`."""

    number: int
    type: str
    date: datetime | None
    step: int | None
    phase: Phase | None
    data: Mapping[str, JsonValue]
    raw: Mapping[str, JsonValue] = field(repr=False, compare=False)

    @property
    def is_terminal(self) -> bool:
        """Whether it is the last one."""
        return self.type == TERMINAL_EVENT

    @classmethod
    def read(cls, value: object) -> "Event":
        fields = Fields(value, "event")
        data = fields.optional_object("data")
        return cls(
            number=fields.integer("number"),
            type=fields.text("type"),
            date=fields.date("date"),
            step=fields.optional_integer("step"),
            phase=fields.optional_choice("phase", Phase),
            data=data.raw if data is not None else {},
            raw=fields.raw,
        )


@dataclass(frozen=True, slots=True)
class Artifact:
    """What a process left, such as the uncommitted work of a step that failed. `size` is bytes."""

    name: str
    content_type: str
    size: int
    date_created: datetime | None

    @classmethod
    def read(cls, value: object) -> "Artifact":
        fields = Fields(value, "artifact")
        return cls(
            name=fields.text("name"),
            content_type=fields.optional_text("contentType") or "application/octet-stream",
            size=fields.integer("size"),
            date_created=fields.date("dateCreated"),
        )


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An uploaded file. `size` is bytes."""

    id: UUID
    name: str
    content_type: str
    size: int
    sha256: str
    date_created: datetime | None

    @classmethod
    def read(cls, value: object) -> "StoredFile":
        fields = Fields(value, "file")
        return cls(
            id=fields.uuid("id"),
            name=fields.text("name"),
            content_type=fields.optional_text("contentType") or "application/octet-stream",
            size=fields.integer("size"),
            sha256=fields.optional_text("sha256") or "",
            date_created=fields.date("dateCreated"),
        )
