"""What others are told of as it happens: the messages there are, who wants which, and how long each is tried."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Self
from uuid import UUID

from treadle.domain.events import EventType, JsonObject, JsonValue, clip
from treadle.domain.run import RunSource

#: Longest text in a message, in characters; longer ones are cut, and `clipped` says how many characters went.
MAX_MESSAGE_TEXT = 4_000

#: After each failure in turn it is sent again so many seconds later, up to a fifth more; after the last it is dead.
RETRY_SECONDS: Sequence[float] = (5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 21_600, 21_600, 21_600)

#: A message that waited for longer than this behind another of its run is tried once more, and then dead.
KEEP_TRYING = timedelta(hours=26)

#: What a receiver may ask for by `Retry-After` at most, in seconds.
MAX_RETRY_AFTER_SECONDS = 21_600.0


class MessageType(StrEnum):
    """`means`: a sentence, for the documentation. Those of runs are called as their events are."""

    means: str

    def __new__(cls, value: str, means: str) -> Self:
        made = str.__new__(cls, value)
        made._value_ = value
        made.means = means
        return made

    RUN_CREATED = "run.created", "A run was asked for."
    RUN_STARTED = "run.started", "A worker has it; again after a worker was lost, or for a follow-up."
    RUN_RESUMED = "run.resumed", "It got one more step."
    RUN_FINISHED = "run.finished", "It ended: `status` is Success, Failed or Killed."
    STEP_STARTED = "step.started", "A step of it began."
    STEP_FINISHED = "step.finished", "A step of it ended: `status` is Success or Failed."
    VALIDATION_FINISHED = "validation.finished", "A command that validates ended."
    GIT_COMMITTED = "git.committed", "A step's commit was made."
    GIT_PUSHED = "git.pushed", "A step's commit was pushed."
    GIT_SECRETS_FOUND = "git.secrets_found", "What a step would commit looks like keys or tokens."
    PULL_REQUEST_OPENED = "pull_request.opened", "A pull request was opened for it."
    PULL_REQUEST_FAILED = "pull_request.failed", "None could be opened; its branch is pushed all the same."
    BUDGET_PASSED = "budget.passed", "It cost more than its budget, or the organization's."
    BATCH_CREATED = "batch.created", "A batch was asked for."
    BATCH_FINISHED = "batch.finished", "All of a batch ended."
    WEBHOOK_TEST = "webhook.test", "Somebody asked for a test; sent to no other webhook, and not kept."


#: By their names.
MESSAGE_TYPES: Mapping[str, MessageType] = {each.value: each for each in MessageType}

#: Which event of a run is told of, and what of its data goes along.
TOLD: Mapping[EventType, tuple[MessageType, frozenset[str]]] = {
    EventType.RUN_CREATED: (MessageType.RUN_CREATED, frozenset({"steps", "engine"})),
    EventType.RUN_STARTED: (MessageType.RUN_STARTED, frozenset()),
    EventType.RUN_RESUMED: (MessageType.RUN_RESUMED, frozenset({"text"})),
    EventType.RUN_FINISHED: (MessageType.RUN_FINISHED, frozenset({"status", "failureDetails"})),
    EventType.STEP_STARTED: (MessageType.STEP_STARTED, frozenset({"text", "isCommitable"})),
    EventType.STEP_FINISHED: (MessageType.STEP_FINISHED, frozenset({"status", "failureDetails", "output"})),
    EventType.VALIDATION_FINISHED: (
        MessageType.VALIDATION_FINISHED,
        frozenset({"command", "exitCode", "reason", "durationMs", "attempt"}),
    ),
    EventType.GIT_COMMITTED: (MessageType.GIT_COMMITTED, frozenset({"sha", "files", "additions", "deletions"})),
    EventType.GIT_PUSHED: (MessageType.GIT_PUSHED, frozenset({"sha", "branch"})),
    EventType.GIT_SECRETS_FOUND: (MessageType.GIT_SECRETS_FOUND, frozenset({"count", "isAllowed"})),
    EventType.PULL_REQUEST_OPENED: (
        MessageType.PULL_REQUEST_OPENED,
        frozenset({"id", "number", "url", "title"}),
    ),
    EventType.PULL_REQUEST_FAILED: (MessageType.PULL_REQUEST_FAILED, frozenset({"reason"})),
    EventType.BUDGET_PASSED: (MessageType.BUDGET_PASSED, frozenset({"of", "limitUsd", "spentUsd"})),
}

#: Those that say how something ended: a filter's statuses are about them.
_ENDS = frozenset({MessageType.RUN_FINISHED, MessageType.STEP_FINISHED, MessageType.BATCH_FINISHED})


class WebhookKind(StrEnum):
    """By what a webhook tells."""

    WEBHOOK = "webhook"  # an HTTP request, signed as Standard Webhooks says
    SLACK = "slack"  # a message to a Slack-compatible incoming webhook
    EMAIL = "email"


class MessageStatus(StrEnum):
    """Where a message stands."""

    WAITING = "Waiting"
    DELIVERED = "Delivered"
    DEAD = "Dead"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which messages somebody wants; what is empty leaves nothing out. `types`: names, or `run.*` for all that begin
    so. `repositories` and `sources` are a run's, and say nothing of batches; `statuses` are those of what has ended,
    and say nothing of other messages."""

    types: tuple[str, ...] = ()
    repositories: tuple[int, ...] = ()
    statuses: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def admits(self, type_: MessageType, status: object, *, repository: int | None = None, source: str = "") -> bool:
        """`status`: as the event has it."""
        if self.types and not any(_covers(wanted, type_) for wanted in self.types):
            return False
        if self.statuses and type_ in _ENDS and status not in self.statuses:
            return False
        if type_.startswith("batch."):
            return True
        if self.repositories and repository not in self.repositories:
            return False
        return not self.sources or source in self.sources

    def json(self) -> Mapping[str, JsonValue]:
        """As `read` takes it."""
        return {
            "types": list(self.types),
            "repositories": list(self.repositories),
            "statuses": list(self.statuses),
            "sources": list(self.sources),
        }

    @classmethod
    def read(cls, kept: JsonObject) -> Self:
        """Of what `json` gave."""

        def texts(name: str) -> tuple[str, ...]:
            found = kept.get(name)
            return tuple(map(str, found)) if isinstance(found, list) else ()

        return cls(
            types=texts("types"),
            repositories=tuple(map(int, texts("repositories"))),
            statuses=texts("statuses"),
            sources=texts("sources"),
        )


@dataclass(frozen=True, slots=True)
class Webhook:
    """One of an organization's. Sealed texts are bound to its UUID; `sealed_before` signs too until
    `date_before_ends`."""

    id: int
    uuid: UUID
    organization_id: int
    organization_uuid: UUID
    user_id: int
    name: str
    kind: WebhookKind
    shown_target: str
    filter: Filter
    is_enabled: bool
    date_created: datetime
    date_updated: datetime
    sealed_target: str = field(repr=False)
    sealed: str | None = field(default=None, repr=False)
    sealed_before: str | None = field(default=None, repr=False)
    date_before_ends: datetime | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One for one webhook. `date_queued`: when it was put in line, the first time or again. `date_next`: when it is
    tried."""

    id: int
    uuid: UUID
    webhook_id: int
    lane: str
    type: MessageType
    data: JsonObject
    status: MessageStatus
    tries: int
    date_created: datetime
    date_queued: datetime
    date_next: datetime
    run_id: int | None = None
    number: int | None = None
    last_error: str | None = None
    date_done: datetime | None = None


def pause_after(message: Message, now: datetime, chance: float, asked: float | None) -> float | None:
    """Seconds until it is tried again, when one more try has failed now; None: it is dead. `chance`: of 0 to 1.
    `asked`: by the receiver."""
    if message.tries >= len(RETRY_SECONDS) or now - message.date_queued > KEEP_TRYING:
        return None
    pause = RETRY_SECONDS[message.tries] * (1 + chance / 5)
    return max(pause, min(asked or 0.0, MAX_RETRY_AFTER_SECONDS))


def told_of(data: JsonObject, names: frozenset[str]) -> dict[str, JsonValue]:
    """Of an event's data those fields, their texts cut."""
    found: dict[str, JsonValue] = {}
    gone = 0
    for name in sorted(names & data.keys()):
        value = data[name]
        if isinstance(value, str):
            value, lost = clip(value, MAX_MESSAGE_TEXT)
            gone += lost
        found[name] = value
    return found | ({"clipped": gone} if gone else {})


def type_faults(types: Sequence[str]) -> Sequence[str]:
    """Those that name no message."""
    return [each for each in types if not any(_covers(each, known) for known in MessageType)]


def source_faults(sources: Sequence[str]) -> Sequence[str]:
    """Those that are no source of runs."""
    return [each for each in sources if each not in {known.value for known in RunSource}]


def _covers(wanted: str, type_: MessageType) -> bool:
    return type_.startswith(wanted[:-1]) if wanted.endswith(".*") else wanted == type_.value
