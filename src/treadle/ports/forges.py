"""The port to forges: where pull requests are."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from treadle.domain.repository import ForgeAccess, ForgeKind, PullRequestState


@dataclass(frozen=True, slots=True)
class ForgeRepository:
    """A repository at its forge, and what opens it."""

    access: ForgeAccess
    name: str  # OWNER/NAME; GitLab's may have more parts
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RepositoryFacts:
    """What a forge knows of a repository."""

    forge_id: str
    description: str | None
    visibility: str | None
    is_archived: bool
    language: str | None
    default_branch: str | None
    may_push: bool | None  # whether the token may; None where the forge does not say


@dataclass(frozen=True, slots=True)
class PullRequestDraft:
    title: str
    body: str
    head: str  # the branch with the work
    base: str  # the branch that it goes to


@dataclass(frozen=True, slots=True)
class ForgePullRequest:
    number: int
    title: str
    url: str
    state: PullRequestState
    head_branch: str
    date_created: datetime


class PullRequestChange(StrEnum):
    """What an edit asks for."""

    OPEN = "open"
    CLOSED = "closed"
    DRAFT = "draft"
    READY_FOR_REVIEW = "ready_for_review"


class Forge(Protocol):
    """A thin client. Every call has a deadline and raises ForgeError with a sentence for a person; no token is ever in
    it. Redirects are not followed; answers are read with a bound."""

    @property
    def kind(self) -> ForgeKind: ...

    async def facts(self, repository: ForgeRepository) -> RepositoryFacts: ...

    async def open_pull_request(self, repository: ForgeRepository, draft: PullRequestDraft) -> ForgePullRequest:
        """The one that is open for that head already, or a new one: repeating the call makes no second one."""

    async def pull_request(self, repository: ForgeRepository, number: int) -> ForgePullRequest:
        """As it is now."""

    async def change_pull_request(
        self, repository: ForgeRepository, number: int, change: PullRequestChange
    ) -> ForgePullRequest:
        """As it is afterwards."""

    async def check_names(self, repository: ForgeRepository, ref: str) -> Sequence[str]:
        """Of the checks (CI jobs, statuses) that ran on that branch or commit lately; sorted, each once."""
