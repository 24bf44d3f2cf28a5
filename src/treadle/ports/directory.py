"""Ports to what is kept around runs: organizations and their members, repositories and what is set for them, what runs
left at forges, rates, sessions elsewhere. All in the one store; every method may raise Unavailable."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from treadle.domain.events import JsonObject
from treadle.domain.identity import LocalSession, OAuthProvider, Organization, Principal, Role, User
from treadle.domain.repository import (
    CheckSuiteSettings,
    PullRequest,
    PullRequestState,
    Repository,
    SandboxStatus,
    SetupSandbox,
    SetupStatus,
)
from treadle.ports.fence import Fence


class MemberStore(Protocol):
    """Organizations, with their settings, and who is a member of them."""

    async def organization(self, organization_id: int) -> Organization:
        """Raises NotFound."""

    async def update_organization(self, organization: Organization) -> None:
        """Its name and its settings; `slots` is `set_slots`'s. Raises NotFound."""

    async def organizations_of(self, user_id: int) -> Sequence[tuple[Organization, Role]]:
        """Those that the user is a member of, by their ids."""

    async def members(
        self, organization_id: int, *, limit: int, skip: int = 0
    ) -> tuple[Sequence[tuple[User, Role]], int]:
        """A page, by the users' ids, and how many there are in all."""

    async def member(self, organization_id: int, user_id: int) -> tuple[User, Role]:
        """Raises NotFound."""

    async def update_user(self, user: User) -> None:
        """Its name, rules and what is known of it at GitHub. Raises NotFound."""

    async def principal_in(self, organization_id: int, user_id: int) -> Principal | None:
        """The user as a member of that organization; None unless it is one."""


class RepositoryStore(Protocol):
    """Registered repositories, their sealed secrets, and what is set for them."""

    async def add_repository(self, repository: Repository, secrets: Mapping[str, str]) -> Repository:
        """With its id. Conflict when the organization has one of that name."""

    async def update_repository(
        self, repository: Repository, secrets: Mapping[str, str | None] | None, now: datetime
    ) -> None:
        """Its address, default branch, description, visibility, archived mark, language, forge and rules. `secrets`:
        those named are replaced, None removes one, the others stay. NotFound."""

    async def remove_repository(self, repository_id: int) -> None:
        """With its secrets, rules and setup commands, and its name is free again. Runs that were made with it keep its
        id. NotFound."""

    async def repository(self, organization_id: int, repository_id: int) -> Repository:
        """Raises NotFound, also for another organization's and for one that was removed."""

    async def repositories(self, organization_id: int) -> Sequence[Repository]:
        """All, by their ids."""

    async def repository_page(
        self, organization_id: int, *, limit: int, skip: int = 0
    ) -> tuple[Sequence[Repository], int]:
        """A page, by their ids, and how many there are in all."""

    async def find_repository(self, organization_id: int, url: str) -> Repository | None: ...
    async def repository_secrets(self, repository_id: int) -> Mapping[str, str]:
        """Sealed, by name: `git_http`, `git_ssh`, `forge_token`; of a repository that was removed there are none.
        Raises NotFound for an unknown one."""

    async def set_setup(
        self,
        repository_id: int,
        status: SetupStatus,
        *,
        commands: str | None = None,
        fence: Fence | None = None,
    ) -> None:
        """`commands` None keeps those that there are; "" takes them away. NotFound; under a fence LeaseLost."""

    async def change_check_suite_settings(
        self, repository_id: int, change: Callable[[CheckSuiteSettings], CheckSuiteSettings]
    ) -> CheckSuiteSettings:
        """As they are afterwards. Changes made at the same time follow one another. `change` may be called twice, and
        waits for nothing. Raises NotFound."""

    async def set_check_names(self, repository_id: int, names: Sequence[str]) -> None:
        """Raises NotFound."""


class SetupStore(Protocol):
    """Executions of setup commands."""

    async def add_sandbox(self, fence: Fence, repository_id: int, digest: str, now: datetime) -> SetupSandbox:
        """RUNNING. Raises LeaseLost; NotFound for an unknown repository."""

    async def finish_sandbox(
        self,
        fence: Fence,
        sandbox_id: int,
        status: SandboxStatus,
        now: datetime,
        *,
        exit_code: int | None,
        log_blob: str | None,
    ) -> None:
        """Raises LeaseLost; NotFound unless it is this run's."""

    async def sandbox(self, organization_id: int, sandbox_id: int) -> SetupSandbox:
        """Raises NotFound, also for one of a repository that was removed."""

    async def sandboxes(self, repository_id: int, *, limit: int) -> Sequence[SetupSandbox]:
        """Newest first."""


class PullRequestStore(Protocol):
    """What runs opened at forges, and the branches whose checks wake nobody any more."""

    async def put_pull_request(self, fence: Fence, pull_request: PullRequest, now: datetime) -> PullRequest:
        """With its id. One that the repository has under that number already is brought up to date: it keeps its id,
        its date and the run that opened it, and this run lists it, too. LeaseLost; NotFound for an unknown repository.
        """

    async def pull_request(self, organization_id: int, pull_request_id: int) -> PullRequest:
        """Raises NotFound."""

    async def update_pull_request(
        self, pull_request_id: int, state: PullRequestState, title: str, now: datetime
    ) -> None:
        """Raises NotFound."""

    async def pull_requests_of(self, run_ids: Sequence[int]) -> Mapping[int, Sequence[PullRequest]]:
        """By the run's id, in the order of their ids: those that the run opened or found open on its branch, so that
        one may be several runs'. Runs without any are left out."""

    async def ban_branch(
        self, organization_id: int, git_url: str, branch: str, *, run_id: int, user_id: int, now: datetime
    ) -> Sequence[int]:
        """Flags the branch (again is harmless: the first flag stays); the ids of the organization's living runs that
        work on it. NotFound for an unknown run, user or organization."""

    async def unban_branch(self, organization_id: int, git_url: str, branch: str) -> bool:
        """Whether it was flagged."""

    async def is_banned(self, organization_id: int, git_url: str, branch: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Admission:
    """Whether a request may pass. Seconds are until one more may pass (`retry_after`, 0 when it may at once) and until
    the whole limit is free again (`reset`)."""

    is_admitted: bool
    remaining: int
    retry_after: float
    reset: float


class RateStore(Protocol):
    """Who asked how often, counted for all processes together."""

    async def admit(self, name: str, *, limit: int, seconds: int, now: datetime) -> Admission:
        """Lets a request pass, and counts it, when fewer than `limit` passed under that name in the last `seconds`
        before now: of however many at once never one too many. `now` is this machine's clock; the database's own is
        used where it has one."""

    async def prune_rates(self, now: datetime) -> int:
        """Forgets names that nobody asked under for long; how many."""


@dataclass(frozen=True, slots=True)
class SessionLog:
    number: int  # from 1
    data: JsonObject
    date: datetime


class LocalSessionStore(Protocol):
    """Sessions of CLIs on people's own machines, and what they say."""

    async def open_local_session(
        self, session_id: str, organization_id: int, user_id: int, now: datetime
    ) -> LocalSession:
        """A new one, ACTIVE, or the one that the user has under that name already. Conflict for another user's."""

    async def local_session(
        self, organization_id: int, *, session_id: str | None = None, id_: int | None = None
    ) -> LocalSession:
        """By one of its two names. Raises NotFound."""

    async def local_sessions(
        self, organization_id: int, user_id: int | None, *, limit: int, skip: int = 0
    ) -> tuple[Sequence[LocalSession], int]:
        """Newest first, and how many there are in all. `user_id` None: everybody's."""

    async def set_local_session_status(self, id_: int, status: str, now: datetime) -> None:
        """Raises NotFound."""

    async def add_local_session_log(self, id_: int, data: JsonObject, now: datetime, *, most: int) -> int:
        """Its number. Raises NotFound, and TooLarge for a session that has `most` already."""

    async def local_session_logs(
        self, id_: int, *, limit: int, skip: int = 0, reverse: bool = False
    ) -> tuple[Sequence[SessionLog], int]:
        """A page, oldest first unless `reverse`, and how many there are in all. Raises NotFound."""

    async def prune_local_sessions(self, before: datetime) -> int:
        """Removes those that nobody has reported to since then, with their logs; how many."""


@dataclass(frozen=True, slots=True)
class Connection:
    """An account elsewhere of a user here."""

    provider: str
    account: str
    user_id: int
    date_created: datetime


class ConnectionStore(Protocol):
    """Accounts and tokens elsewhere."""

    async def add_connect_token(
        self, digest: str, organization_id: int, user_id: int, now: datetime, expires: datetime
    ) -> None:
        """Forgets expired ones on the way. Conflict, NotFound."""

    async def use_connect_token(self, digest: str, provider: str, account: str, now: datetime) -> Connection | None:
        """Uses the token up and connects the account with its user (in the place of another user it may have had). None
        for a token that is unknown, used or expired."""

    async def connections(self, organization_id: int) -> Sequence[Connection]: ...

    async def add_oauth_provider(self, provider: OAuthProvider) -> OAuthProvider:
        """With its id. Conflict when there is one of that name."""

    async def oauth_providers(self, *, is_mcp: bool | None = None) -> Sequence[OAuthProvider]:
        """By their ids; None: of both kinds."""

    async def remove_oauth_provider(self, name: str) -> None:
        """With all tokens. Raises NotFound."""

    async def add_oauth_token(
        self, uuid: UUID, organization_id: int, user_id: int, provider_id: int, sealed: str, now: datetime
    ) -> None:
        """In the place of those that the user had with the provider, which are erased. Raises NotFound for an unknown
        provider."""

    async def connected_providers(self, organization_id: int, user_id: int | None) -> Sequence[str]:
        """Names of the providers that the user (None: anybody of the organization) has an active token with, each
        once, sorted."""

    async def revoke_oauth_tokens(self, organization_id: int, user_id: int, provider: str, now: datetime) -> int:
        """Erases all that the user has with the provider of that name; how many were active."""


class Directory(
    MemberStore,
    RepositoryStore,
    SetupStore,
    PullRequestStore,
    RateStore,
    LocalSessionStore,
    ConnectionStore,
    Protocol,
):
    """All of it."""
