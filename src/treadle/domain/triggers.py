"""What wakes runs from outside: hooks that forges, CI and trackers deliver to, and triggers that say what follows."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from treadle.domain.deliveries import Subject
from treadle.domain.events import JsonObject
from treadle.domain.plan import Plan
from treadle.domain.trigger_settings import TriggerSettings


class HookKind(StrEnum):
    """Who delivers: a forge, or whoever can call a URL."""

    GITHUB = "github"
    GITLAB = "gitlab"
    GITEA = "gitea"
    URL = "url"


class TriggerKind(StrEnum):
    CHECK = "check"  # a failed check wakes the run that made the branch
    ISSUE = "issue"  # one that is labelled or assigned starts a run
    COMMENT = "comment"  # one that mentions the agent starts a run, or goes on with one
    REVIEW = "review"  # a pull request that is to be reviewed is read, and commented on
    URL = "url"  # a call of the hook starts a run


class DeliveryStatus(StrEnum):
    WAITING = "Waiting"
    DONE = "Done"  # a run was started or woken
    IGNORED = "Ignored"  # nothing followed, and `detail` says why
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class Hook:
    """Where one sender delivers to. `repository_id` None: a trigger URL of no repository."""

    id: int
    uuid: UUID
    organization_id: int
    organization_uuid: UUID
    repository_id: int | None
    kind: HookKind
    date_created: datetime
    date_delivered: datetime | None = None
    date_before_ends: datetime | None = None  # until then the secret before the last rotation counts too
    sealed: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Trigger:
    """One rule of a hook; its runs are its maker's."""

    id: int
    uuid: UUID
    organization_id: int
    user_id: int
    hook_id: int
    name: str
    kind: TriggerKind
    settings: TriggerSettings
    plan: Plan | None
    is_enabled: bool
    date_created: datetime
    date_updated: datetime


@dataclass(frozen=True, slots=True)
class StoredDelivery:
    """What arrived at a hook. `body`: what a JSON body is, byte for byte, in base64 (it was verified as it came)."""

    id: int
    hook_id: int
    delivery: str  # the sender's id
    event: str
    headers: JsonObject
    body: bytes = field(repr=False)
    status: DeliveryStatus
    detail: str | None
    run_id: int | None
    date_received: datetime
    date_done: datetime | None


@dataclass(frozen=True, slots=True)
class Thread:
    """An issue or a pull request that is talked about, and the run that goes on with it. `last_step` was asked for
    here, `answered_step` is answered; 0: none."""

    id: int
    repository_id: int
    subject: Subject
    number: int
    trigger_id: int
    run_id: int
    last_step: int
    answered_step: int
    detail: JsonObject
