"""What the agent-run API answers with, as frozen dataclasses. Dates have a time zone, and are UTC."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from treadle.sdk._network import Network, network_of
from treadle.sdk._validation import ValidationRules, rules_of
from treadle.sdk._wire import Fields, JsonValue, OpenEnum, WireError

#: What a tool or the engine said: text, or an object.
Observation: TypeAlias = str | Mapping[str, JsonValue]


class AgentRunStatus(OpenEnum):
    """Where an agent run stands."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    RUNNING = "RUNNING"
    EVALUATION = "EVALUATION"
    PAUSED = "PAUSED"
    COMPLETE = "COMPLETE"
    FAILED = "FAILED"
    ERROR = "ERROR"
    STOPPED = "STOPPED"
    CANCELLED = "CANCELLED"
    TIMEOUT = "TIMEOUT"
    MAX_ITERATIONS_REACHED = "MAX_ITERATIONS_REACHED"
    OUT_OF_TOKENS = "OUT_OF_TOKENS"


class AgentRunSource(OpenEnum):
    """Who asked for an agent run."""

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


class AgentLogType(OpenEnum):
    """What an entry of an agent run's log is."""

    ACTION = "ACTION"
    PLAN_EVALUATION = "PLAN_EVALUATION"
    FINAL_ANSWER = "FINAL_ANSWER"
    ERROR = "ERROR"
    USER_MESSAGE = "USER_MESSAGE"
    USER_GITHUB_ISSUE_COMMENT = "USER_GITHUB_ISSUE_COMMENT"
    INITIAL_PR_GENERATION = "INITIAL_PR_GENERATION"
    DETECT_PR_ERRORS = "DETECT_PR_ERRORS"
    FIX_PR_ERRORS = "FIX_PR_ERRORS"
    PR_CREATION_FAILED = "PR_CREATION_FAILED"
    PR_EVALUATION = "PR_EVALUATION"
    COMMIT_EVALUATION = "COMMIT_EVALUATION"
    AGENT_RUN_LINK = "AGENT_RUN_LINK"


class PullRequestState(OpenEnum):
    """What a pull request is, or is to become: `READY_FOR_REVIEW` makes an open one of a draft."""

    OPEN = "open"
    CLOSED = "closed"
    DRAFT = "draft"
    READY_FOR_REVIEW = "ready_for_review"
    MERGED = "merged"


_FINISHED = frozenset(
    {
        AgentRunStatus.COMPLETE,
        AgentRunStatus.FAILED,
        AgentRunStatus.ERROR,
        AgentRunStatus.STOPPED,
        AgentRunStatus.CANCELLED,
        AgentRunStatus.TIMEOUT,
        AgentRunStatus.MAX_ITERATIONS_REACHED,
        AgentRunStatus.OUT_OF_TOKENS,
    }
)


@dataclass(frozen=True, slots=True)
class PullRequest:
    """What an agent run opened. `id` is the service's own, `number` the forge's; what the answer does not tell is
    None."""

    id: int
    number: int | None
    title: str | None
    url: str | None
    state: PullRequestState | None
    branch: str | None
    date_created: datetime | None

    @classmethod
    def read(cls, fields: Fields, pull_request_id: int | None = None) -> "PullRequest":
        """`pull_request_id` is the one that was asked for, where the answer does not repeat it."""
        return cls(
            id=required_integer(fields, "id") if pull_request_id is None else pull_request_id,
            number=fields.optional_integer("number"),
            title=fields.optional_text("title"),
            url=fields.optional_text("url"),
            state=PullRequestState.MERGED
            if fields.flag("merged")
            else fields.optional_choice("state", PullRequestState),
            branch=fields.optional_text("head_branch_name"),
            date_created=fields.date("created_at"),
        )


@dataclass(frozen=True, slots=True)
class AgentRun:
    """A prompt, and what came of it.

    `result` is the last answer, `summary` its first line, `web_url` its page, `metadata` what was given with it,
    `cost_usd` what it has cost and `max_cost_usd` what it may, `network` what it may connect to (None: as its
    repository says, else the service), `validation` what must pass before it commits (None: as its repository says).
    `raw` is the JSON as it came, with what this SDK does not know yet.
    """

    id: int
    organization_id: int
    status: AgentRunStatus
    source: AgentRunSource | None
    date_created: datetime | None
    web_url: str | None
    result: str | None = field(repr=False)
    summary: str | None
    pull_requests: tuple[PullRequest, ...]
    metadata: Mapping[str, JsonValue] = field(repr=False)
    cost_usd: float | None
    max_cost_usd: float | None
    network: Network | None
    validation: ValidationRules | None
    raw: Mapping[str, JsonValue] = field(repr=False, compare=False)

    @property
    def is_finished(self) -> bool:
        """Whether it has ended, well or not. A status that this SDK does not know counts as going on."""
        return self.status in _FINISHED

    @property
    def succeeded(self) -> bool:
        """Whether it did what it was asked to."""
        return self.status == AgentRunStatus.COMPLETE

    @classmethod
    def read(cls, value: object) -> "AgentRun":
        fields = Fields(value, "agent run")
        metadata = fields.optional_object("metadata")
        return cls(
            id=required_integer(fields, "id"),
            organization_id=required_integer(fields, "organization_id"),
            status=fields.choice("status", AgentRunStatus),
            source=fields.optional_choice("source_type", AgentRunSource),
            date_created=fields.date("created_at"),
            web_url=fields.optional_text("web_url"),
            result=fields.optional_text("result"),
            summary=fields.optional_text("summary"),
            pull_requests=tuple(PullRequest.read(each) for each in fields.objects("github_pull_requests")),
            metadata=metadata.raw if metadata is not None else {},
            cost_usd=fields.optional_number("cost_usd"),
            max_cost_usd=fields.optional_number("max_cost_usd"),
            network=network_of(fields, "network"),
            validation=rules_of(fields, "validate"),
            raw=fields.raw,
        )


@dataclass(frozen=True, slots=True)
class AgentLog:
    """One entry of an agent run's log. An ACTION has the tool's name, input and output; the others a thought, an
    observation, or both."""

    run_id: int
    type: AgentLogType | None
    date: datetime | None
    thought: str | None
    tool_name: str | None
    tool_input: Mapping[str, JsonValue] | None = field(repr=False)
    tool_output: Mapping[str, JsonValue] | None = field(repr=False)
    observation: Observation | None = field(repr=False)
    raw: Mapping[str, JsonValue] = field(repr=False, compare=False)

    @classmethod
    def read(cls, fields: Fields) -> "AgentLog":
        given, got = fields.optional_object("tool_input"), fields.optional_object("tool_output")
        return cls(
            run_id=required_integer(fields, "agent_run_id"),
            type=fields.optional_choice("message_type", AgentLogType),
            date=fields.date("created_at"),
            thought=fields.optional_text("thought"),
            tool_name=fields.optional_text("tool_name"),
            tool_input=given.raw if given is not None else None,
            tool_output=got.raw if got is not None else None,
            observation=_observation(fields),
            raw=fields.raw,
        )


def required_integer(fields: Fields, name: str) -> int:
    """Raises WireError when it is missing."""
    found = fields.optional_integer(name)
    if found is None:
        raise WireError(f"{name} is missing.")
    return found


def _observation(fields: Fields) -> Observation | None:
    found = fields.raw.get("observation")
    if found is None or isinstance(found, str):
        return found
    return Fields(found, "observation").raw
