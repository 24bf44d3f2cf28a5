"""Events: what happened in a run, numbered from 1 without a gap."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from treadle.domain.states import Phase

JsonValue: TypeAlias = "str | int | float | bool | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
JsonObject: TypeAlias = Mapping[str, JsonValue]

#: Longest text in an event, in characters; longer ones are cut and say so (`clipped`: how many characters went).
MAX_TEXT = 65_536


class EventType(StrEnum):
    """Every kind of event; each member's comment gives the shape of its `data`."""

    RUN_CREATED = "run.created"  # steps: int, engine: str
    RUN_STARTED = "run.started"  # worker: str, lease: int
    # reason: "lease_expired" | "released" | "follow_up", lease: int; failureDetails: str of a failure after the steps
    RUN_REQUEUED = "run.requeued"
    RUN_RESUMED = "run.resumed"  # text: str; the event's step is the one that was added
    RUN_CREDENTIALS_UPDATED = "run.credentials_updated"  # kind: "git" | "claude"
    RUN_KILL_REQUESTED = "run.kill_requested"  # {}
    # status: RunStatus, failureDetails: str | None; the last, unless the run is resumed
    RUN_FINISHED = "run.finished"
    WORKSPACE_PREPARED = "workspace.prepared"  # sourceSha, workSha: str, isNewBranch, isWarm: bool, durationMs: int
    # after a crash: steps: [positions], phase: str | None, isConversationKept: bool
    WORKSPACE_RESTORED = "workspace.restored"
    # name: str, the artifact with the uncommitted work of an earlier step, which is back; or reason: str, why it is not
    WORKSPACE_WORK_RESTORED = "workspace.work_restored"
    # paths: [str], the first of `count`: an analysis changed the repository, or a step what is inside a submodule
    WORKSPACE_CHANGES_UNDONE = "workspace.changes_undone"
    WORKSPACE_NESTED_REPOSITORY = "workspace.nested_repository"  # path: str: its .git was dropped, its files kept
    STEP_STARTED = "step.started"  # text: str, isCommitable: bool
    STEP_FINISHED = "step.finished"  # status: StepStatus, failureDetails: str | None, output: str | None
    PHASE_STARTED = "phase.started"  # prompt: str, attempt: int, engine: str, repair: int of one that mends
    PHASE_FINISHED = "phase.finished"  # output: str, usage: {inputTokens, outputTokens, costUsd, durationMs}
    ENGINE_STARTED = "engine.started"  # model: str | None, session: str | None, tools: int
    ENGINE_TEXT = "engine.text"  # text: str
    ENGINE_THOUGHT = "engine.thought"  # text: str
    ENGINE_NOTICE = "engine.notice"  # text: str: a line that is not of the protocol, a warning of the CLI
    # by: "runner" (the whole phase again) | "engine" (one request of the CLI's), reason: str, attempt: int,
    # delaySeconds: float
    ENGINE_RETRY = "engine.retry"
    TOOL_STARTED = "tool.started"  # id: str, tool: str, input: object
    TOOL_FINISHED = "tool.finished"  # id: str, output: str, isError: bool
    # model: str, inputTokens, outputTokens, cacheReadTokens, cacheWriteTokens: int, hourWriteTokens: int (of those
    # written), toolRequests: int (web searches above all), costUsd: float, status: int (HTTP), isEstimated: bool (it
    # broke off before the API counted), durationMs: int
    MODEL_ANSWERED = "model.answered"
    BUDGET_PASSED = "budget.passed"  # of: "run" | "organization", limitUsd, spentUsd: float
    # policy: "none" | "model" | "full" | {"allow": [str]}, isEnforced: bool (False: there is no sandbox)
    NETWORK_POLICY = "network.policy"
    NETWORK_CONNECTED = "network.connected"  # host: str, port: int, address: str
    NETWORK_REFUSED = "network.refused"  # host: str, port: int, reason: str
    SANDBOX_LIMIT = "sandbox.limit"  # text: str: the limit that was hit
    SETUP_STARTED = "setup.started"  # sandbox: int, digest: str
    SETUP_OUTPUT = "setup.output"  # text: str, some lines of it
    SETUP_FINISHED = "setup.finished"  # sandbox: int, exitCode: int | None, reason: str | None, durationMs, isKept
    SETUP_REUSED = "setup.reused"  # digest: str, durationMs: int
    SETUP_COMMANDS_STORED = "setup.commands_stored"  # repository: int, lines: int
    VALIDATION_STARTED = "validation.started"  # command: str, attempt: int, from 1
    VALIDATION_OUTPUT = "validation.output"  # text: str, some lines of what the command says
    # command: str, exitCode: int | None, reason: str | None (why it was ended), durationMs: int, attempt: int
    VALIDATION_FINISHED = "validation.finished"
    PULL_REQUEST_OPENED = "pull_request.opened"  # id: int, number: int, url: str, title: str
    PULL_REQUEST_FAILED = "pull_request.failed"  # reason: str; the branch is pushed all the same
    # findings: [{path: str, line: int | None, kind: str}], the first of `count`; isAllowed: bool (and so committed)
    GIT_SECRETS_FOUND = "git.secrets_found"
    GIT_COMMITTED = "git.committed"  # sha: str, files: int, additions: int, deletions: int
    GIT_NOTHING_TO_COMMIT = "git.nothing_to_commit"  # {}
    GIT_COMPARED = "git.compared"  # ahead: int, behind: int
    GIT_REBASED = "git.rebased"  # from, to: str: the step's commit before and after
    GIT_PUSHED = "git.pushed"  # sha: str, branch: str
    DIFF_READY = "diff.ready"  # files: int, additions: int, deletions: int, patchBytes: int
    ARTIFACT_KEPT = "artifact.kept"  # name: str, size: int (bytes)


#: What tells a reader of a run what was asked, said and done.
LOG_TYPES: frozenset[EventType] = frozenset(
    {
        EventType.STEP_STARTED,
        EventType.ENGINE_THOUGHT,
        EventType.ENGINE_TEXT,
        EventType.TOOL_FINISHED,
        EventType.ENGINE_RETRY,
        EventType.STEP_FINISHED,
        EventType.SETUP_FINISHED,
        EventType.VALIDATION_FINISHED,
        EventType.PULL_REQUEST_OPENED,
        EventType.PULL_REQUEST_FAILED,
        EventType.BUDGET_PASSED,
        EventType.GIT_SECRETS_FOUND,
        EventType.NETWORK_REFUSED,
        EventType.SANDBOX_LIMIT,
    }
)


@dataclass(frozen=True, slots=True)
class Draft:
    """An event before the store numbers it."""

    type: EventType
    data: JsonObject = field(default_factory=dict)
    step: int | None = None  # the step's position, from 1
    phase: Phase | None = None
    date: datetime | None = None  # when it happened; None: when it is written


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened; `number` counts from 1 within its run."""

    run_id: int
    number: int
    type: EventType
    data: JsonObject
    date: datetime
    step: int | None = None
    phase: Phase | None = None


def clip(text: str, limit: int = MAX_TEXT) -> tuple[str, int]:
    """`text` cut to `limit` characters, and how many were cut off."""
    return (text, 0) if len(text) <= limit else (text[:limit], len(text) - limit)


def is_deeper(value: JsonValue, most: int) -> bool:
    """Whether objects and arrays are nested more than `most` deep. Without recursion, which such depths would break."""
    level: Sequence[JsonValue] = [value]
    for _ in range(most):
        level = [inner for each in level for inner in _inside(each) if not isinstance(inner, str | int | float | None)]
        if not level:
            return False
    return True


def _inside(value: JsonValue) -> Iterable[JsonValue]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()
