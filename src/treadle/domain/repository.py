"""Registered repositories, what is set for them, and what comes of runs at their forge."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from treadle.domain.network import NetworkPolicy
from treadle.domain.validation import ValidationRules


class ForgeKind(StrEnum):
    """Where pull requests are."""

    GITHUB = "github"
    GITLAB = "gitlab"
    GITEA = "gitea"  # Forgejo speaks the same


@dataclass(frozen=True, slots=True)
class ForgeAccess:
    """The API that a repository's pull requests are opened by; its token is a secret of the repository's."""

    kind: ForgeKind
    api_url: str  # such as https://api.github.com, https://gitlab.example/api/v4, https://gitea.example/api/v1


class SetupStatus(StrEnum):
    """Of a repository's setup commands."""

    NONE = "NONE"
    GENERATING = "GENERATING"
    READY = "READY"  # there are some; they have not failed when last run
    FAILED = "FAILED"  # they could not be generated, or the last run of them failed


@dataclass(frozen=True, slots=True)
class CheckSuiteSettings:
    """What becomes of a failed check on a branch that a run made."""

    retry_count: int = 3
    ignored_checks: tuple[str, ...] = ()
    retry_counts: Mapping[str, int] = field(default_factory=dict)  # by the check's name
    custom_prompts: Mapping[str, str] = field(default_factory=dict)  # by the check's name
    high_priority_apps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Repository:
    """A registered Git repository of an organization."""

    id: int
    uuid: UUID
    organization_id: int
    name: str  # OWNER/NAME
    url: str
    default_branch: str
    date_created: datetime
    description: str | None = None
    visibility: str | None = None  # public, private, internal
    is_archived: bool = False
    language: str | None = None
    forge: ForgeAccess | None = None
    forge_id: str | None = None  # the forge's own id of it
    rules: str | None = None
    setup_commands: str | None = None  # a shell script, run once in each new workspace
    setup_status: SetupStatus = SetupStatus.NONE
    check_suite_settings: CheckSuiteSettings = field(default_factory=CheckSuiteSettings)
    check_names: tuple[str, ...] = ()  # that were seen at the forge
    network: NetworkPolicy | None = None  # of runs that ask for none of their own; None: the service's setting
    scans_secrets: bool = True  # a step that would commit what looks like a key fails
    validation: ValidationRules | None = None  # of runs that ask for none of their own


class PullRequestState(StrEnum):
    OPEN = "open"
    DRAFT = "draft"
    CLOSED = "closed"
    MERGED = "merged"


@dataclass(frozen=True, slots=True)
class PullRequest:
    """What a run opened at a forge. `id` is ours, `number` the forge's."""

    id: int
    organization_id: int
    repository_id: int
    run_id: int
    number: int
    title: str
    url: str
    state: PullRequestState
    head_branch: str
    date_created: datetime


class SandboxStatus(StrEnum):
    RUNNING = "RUNNING"
    READY = "READY"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class SetupSandbox:
    """One execution of a repository's setup commands, in the workspace of a run, and its log."""

    id: int
    organization_id: int
    repository_id: int
    run_id: int
    digest: str  # of the commands and the lock files
    status: SandboxStatus
    exit_code: int | None
    log_blob: str | None
    date_created: datetime
    date_completed: datetime | None = None
