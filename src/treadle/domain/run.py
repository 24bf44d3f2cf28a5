"""Runs and steps, and what goes in and comes out of them."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from treadle.domain.events import JsonObject
from treadle.domain.network import NetworkPolicy
from treadle.domain.states import (
    ANALYSIS_ONLY_PHASES,
    COMMITABLE_PHASES,
    RUN_TERMINAL,
    Phase,
    RunStatus,
    StepStatus,
)
from treadle.domain.validation import CommandResult, ValidationRules

#: With this API key the Dummy engine does the work: no model, no cost.
DUMMY_API_KEY = "000-dummy"

#: The trailer that marks a step's commit; its value is the step's UUID.
STEP_TRAILER = "Treadle-Step"


class EngineName(StrEnum):
    CLAUDE = "Claude"
    KIMI = "Kimi"
    DUMMY = "Dummy"


class RunSource(StrEnum):
    """Who asked for a run."""

    LOCAL = "LOCAL"
    SLACK = "SLACK"
    GITHUB = "GITHUB"
    GITHUB_CHECK_SUITE = "GITHUB_CHECK_SUITE"
    GITHUB_PR_REVIEW = "GITHUB_PR_REVIEW"
    LINEAR = "LINEAR"
    API = "API"
    CHAT = "CHAT"
    JIRA = "JIRA"
    CLICKUP = "CLICKUP"
    MONDAY = "MONDAY"
    SETUP_COMMANDS = "SETUP_COMMANDS"


class RunPurpose(StrEnum):
    """What a run's answer is for."""

    CODE = "Code"
    SETUP_COMMANDS = "SetupCommands"  # a repository's: they are stored there when the run succeeds
    LOG_ANALYSIS = "LogAnalysis"  # of a sandbox


@dataclass(frozen=True, slots=True)
class Usage:
    """What model time cost. Tokens are whole, cost is US dollars, duration milliseconds of engine time."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    duration_ms: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cost_usd + other.cost_usd,
            self.duration_ms + other.duration_ms,
        )


@dataclass(frozen=True, slots=True)
class StructuredOutput:
    """The answer of a step that asked for structure."""

    output: str
    thinking: str
    was_successful: bool
    did_generate_code: bool
    is_additional_work_required_to_continue: bool


@dataclass(frozen=True, slots=True)
class Step:
    id: UUID
    position: int  # from 1
    text: str
    is_commitable: bool
    is_structured: bool
    status: StepStatus = StepStatus.NOT_STARTED
    phase: Phase | None = None  # the phase it is in, or ended in
    output: str | None = None
    structured_output: StructuredOutput | None = None
    failure_details: str | None = None
    commit_sha: str | None = None
    date_started: datetime | None = None
    date_completed: datetime | None = None
    usage: Usage = field(default_factory=Usage)
    is_follow_up: bool = False  # added by a resume: it is done even when the steps before it failed
    file_ids: tuple[UUID, ...] = ()  # attached to this step; those of the run are for all of them
    validation: tuple[CommandResult, ...] = ()  # what came of the commands, in order

    @property
    def phases(self) -> tuple[Phase, ...]:
        return COMMITABLE_PHASES if self.is_commitable else ANALYSIS_ONLY_PHASES


def given_up(lost_workers: int) -> str:
    """The sentence of a run that is."""
    return f"{lost_workers} workers were lost while they had this run: each stopped answering. It was given up."


@dataclass(frozen=True, slots=True)
class Run:
    """Steps on one work branch of one repository. `id` is Codegen's, `uuid` Maitento's."""

    id: int
    uuid: UUID
    organization_id: int
    organization_uuid: UUID
    user_id: int
    user_uuid: UUID
    repository_id: int | None
    git_url: str  # never holds credentials
    branch_source: str
    branch_work: str
    code_guidelines: str | None
    file_ids: tuple[UUID, ...]
    generate_diff: bool
    engine: EngineName
    model: str | None
    status: RunStatus
    failure_details: str | None
    lease: int  # the number of the last claim, 0 before the first
    lost_workers: int
    last_event: int  # the number of the newest event
    has_diff: bool
    date_created: datetime
    date_updated: datetime
    date_started: datetime | None
    date_completed: datetime | None
    date_runner_ping: datetime | None
    date_kill_requested: datetime | None
    steps: tuple[Step, ...] = ()
    is_blocked: bool = False  # New, and another run has its work branch
    traceparent: str | None = None  # the W3C trace context that it was asked for in
    source: RunSource = RunSource.API
    purpose: RunPurpose = RunPurpose.CODE
    metadata: JsonObject | None = None  # the caller's own
    opens_pull_request: bool = False
    first_step: int = 1  # the position of the first step since it was last begun anew: those before are not done again
    max_cost_usd: float | None = None  # US dollars that all of its model time may cost; None: any amount
    network: NetworkPolicy | None = None  # None: the repository's, or the service's setting
    validation: ValidationRules | None = None  # None: the repository's

    @property
    def is_finished(self) -> bool:
        return self.status in RUN_TERMINAL

    @property
    def steps_to_do(self) -> tuple[Step, ...]:
        """Those that are not done, in order. A failed one ends the run, but for the follow-ups behind it."""
        found, is_failed = list[Step](), False
        for step in self.steps:
            if step.position < self.first_step:
                continue
            is_failed = is_failed and not step.is_follow_up
            if step.status is StepStatus.FAILED:
                is_failed = True
            elif step.status is not StepStatus.SUCCESS and not is_failed:
                found.append(step)
        return tuple(found)

    @property
    def result(self) -> str | None:
        """The last answer."""
        return next((step.output for step in reversed(self.steps) if step.output is not None), None)

    @property
    def usage(self) -> Usage:
        return sum((step.usage for step in self.steps), Usage())


@dataclass(frozen=True, slots=True)
class StepDraft:
    text: str
    is_commitable: bool = True
    is_structured: bool = False


@dataclass(frozen=True, slots=True)
class RunDraft:
    """A run as asked for, checked, before the store gives it an id."""

    git_url: str
    branch_source: str
    branch_work: str
    steps: tuple[StepDraft, ...]
    code_guidelines: str | None = None
    file_ids: tuple[UUID, ...] = ()
    generate_diff: bool = False
    engine: EngineName = EngineName.CLAUDE
    model: str | None = None
    repository_id: int | None = None
    source: RunSource = RunSource.API
    purpose: RunPurpose = RunPurpose.CODE
    metadata: JsonObject | None = None
    opens_pull_request: bool = False  # at its end, where the organization and the repository's forge allow it
    #: Words for the name of its work branch, `treadle/<id>-<words>`, in the place of `branch_work`.
    branch_words: str | None = None
    max_cost_usd: float | None = None  # None: the organization's default
    network: NetworkPolicy | None = None
    validation: ValidationRules | None = None


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A step that a resume adds."""

    text: str
    is_commitable: bool = True
    file_ids: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What survives of a running step on another machine: the phases done, the engine's session, the uncommitted
    work."""

    run_id: int
    step: int  # position
    phase: Phase  # the last one completed
    session: str | None  # the engine's name for the conversation
    engine: EngineName
    session_blob: str | None  # key of the archived session files
    patch_blob: str | None  # key of the uncommitted work, a binary git patch on `base_sha`
    base_sha: str
    output: str | None = None  # the last answer
    structured_output: StructuredOutput | None = None
    is_phase_done: bool = True  # False: it failed, and only the conversation counts
    size: int = 0  # bytes of both blobs


@dataclass(frozen=True, slots=True)
class StoredFile:
    """Uploaded bytes that a run may refer to."""

    id: UUID
    organization_id: int
    user_id: int
    name: str
    content_type: str
    size: int  # bytes
    sha256: str
    date_created: datetime


@dataclass(frozen=True, slots=True)
class Artifact:
    """Bytes that a run produced, such as the kept work of a failed step."""

    run_id: int
    name: str
    content_type: str
    size: int  # bytes
    blob: str
    date_created: datetime
