"""Ports to what the page keeps and asks for: sessions, passwords, links to share, searches, usage, workers. All in one
store; every method may raise Unavailable."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from treadle.domain.identity import Principal
from treadle.domain.run import Run, RunSource, Usage
from treadle.domain.states import RunStatus


@dataclass(frozen=True, slots=True)
class PageSession:
    """Somebody who is signed in at the page."""

    id: int
    principal: Principal
    agent: str  # the browser, as it calls itself
    date_created: datetime
    date_seen: datetime
    date_expires: datetime
    is_by_key: bool = False  # signed in with an API key: reaches what that reaches, and ends with it
    key_expires: datetime | None = None  # that key; None: never


class SessionStore(Protocol):
    """Sessions by the SHA-256 of their tokens, passwords, and users as other services sign them in."""

    async def add_session(
        self,
        digest: str,
        principal: Principal,
        *,
        api_key_digest: str | None,
        agent: str,
        now: datetime,
        expires: datetime,
    ) -> None:
        """`api_key_digest`: the key that it was signed in with, and ends with. NotFound for an unknown one, and for an
        unknown user or organization."""

    async def session(self, digest: str, now: datetime, *, seen_since: datetime) -> PageSession | None:
        """None for one that is unknown, expired or revoked, that nobody has used since `seen_since`, whose key is
        revoked or expired, or whose user is no member any more. It writes down that it was seen, at most once a
        minute."""

    async def sessions_of(self, user_id: int, now: datetime, *, seen_since: datetime) -> Sequence[PageSession]:
        """Those that count, the last seen first."""

    async def switch_session(self, digest: str, organization_id: int) -> bool:
        """To another organization of its user; False where it is no member, and where the key that it was signed in
        with counts in its own organization alone."""

    async def revoke_session(self, session_id: int, user_id: int, now: datetime) -> bool:
        """Of that user; whether there was one."""

    async def revoke_sessions(self, user_id: int, now: datetime) -> int:
        """All of them, also those of API keys."""

    async def prune_sessions(self, before: datetime) -> int:
        """Forgets those that ended before."""

    async def password(self, email: str) -> tuple[int, str] | None:
        """(user id, hash); None for an unknown user, and for one without a password."""

    async def set_password(self, user_id: int, hashed: str | None) -> None:
        """None takes it away. NotFound."""

    async def identity(self, issuer: str, subject: str) -> int | None:
        """The id of the user that they sign in as."""

    async def add_identity(self, issuer: str, subject: str, user_id: int, now: datetime) -> None:
        """Repeating it is harmless; one that is another user's is a Conflict."""


@dataclass(frozen=True, slots=True)
class ShareLink:
    """A link to one run, to read without signing in."""

    id: int
    run_id: int
    user_id: int  # who made it
    date_created: datetime
    date_expires: datetime


class ShareStore(Protocol):
    async def add_share_link(
        self, digest: str, run_id: int, user_id: int, now: datetime, expires: datetime
    ) -> ShareLink: ...

    async def share_link(self, digest: str, now: datetime) -> ShareLink | None:
        """None for one that is unknown, expired or revoked."""

    async def share_links(self, run_id: int, now: datetime) -> Sequence[ShareLink]:
        """Those that count, newest first."""

    async def revoke_share_link(self, link_id: int, run_id: int, now: datetime) -> bool:
        """Whether there was one of that run."""


@dataclass(frozen=True, slots=True)
class RunSearch:
    """Which runs a list shows. None: all. `text`: parts, all of which are in the repository's address, the work branch,
    or the text of a step, however capitalized."""

    organization_id: int
    user_id: int | None = None
    statuses: frozenset[RunStatus] | None = None
    repository_id: int | None = None
    source: RunSource | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class RunPage:
    """`before`: where to look on, None at the end. A page may hold fewer than asked for, and none, and there be more:
    one call looks at only so many runs."""

    runs: Sequence[Run]
    before: int | None


class RunFinder(Protocol):
    async def search_runs(self, which: RunSearch, *, limit: int, before: int | None = None) -> RunPage:
        """Newest first, by keyset, with steps but without their outputs; as fast with 100,000 runs as with ten."""

    async def count_by_status(self, organization_id: int, user_id: int | None) -> Mapping[RunStatus, int]:
        """Every status, also those with none."""

    async def runs_changed(
        self, organization_id: int, user_id: int | None, *, since: datetime, limit: int
    ) -> Sequence[Run]:
        """Those written to since then that are alive or ended since then; the oldest write first. For a list that is
        live."""


class UsageBy(StrEnum):
    DAY = "day"
    MONTH = "month"  # money and tokens by when the model answered, not by when the run was made
    USER = "user"
    REPOSITORY = "repository"
    RUN = "run"
    STEP = "step"


@dataclass(frozen=True, slots=True)
class UsageRow:
    """`key`: a date such as 2026-11-22 (UTC), a month such as 2026-11, a user's id, an address, a run's id, or a run's
    and a step's place, `17/2`. A run counts on the day it was made; a step as one run that ended as it did. `name`:
    what people call it. `run_uuid`: of a run, and of a step's."""

    key: str
    runs: int
    succeeded: int
    failed: int
    usage: Usage
    name: str | None = None
    run_uuid: UUID | None = None


class UsageStore(Protocol):
    async def usage(
        self, organization_id: int, user_id: int | None, *, since: datetime, until: datetime, by: UsageBy
    ) -> Sequence[UsageRow]:
        """By DAY, the days ascending, those without runs left out; by USER or REPOSITORY, the largest cost first."""

    async def usage_of_each(
        self, organization_id: int, user_id: int | None, *, since: datetime, until: datetime, by: UsageBy, limit: int
    ) -> Sequence[UsageRow]:
        """By RUN or STEP, the largest cost first."""


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """What a worker says of itself. `running`: how many runs it holds, from the runs' rows."""

    name: str
    version: str
    sandbox: str
    slots: int
    is_paused: bool
    date_started: datetime
    date_seen: datetime
    running: int = 0


class WorkerStore(Protocol):
    async def report_worker(self, report: WorkerReport) -> None:
        """Adds or replaces by the name; `running` is not kept."""

    async def forget_worker(self, name: str) -> None: ...

    async def workers(self, since: datetime) -> Sequence[WorkerReport]:
        """Those seen since then, by name."""

    async def holders(self, organization_id: int) -> Mapping[int, str]:
        """Which worker has each of the organization's Running runs: its name by the run's id."""


class PageStore(SessionStore, ShareStore, RunFinder, UsageStore, WorkerStore, Protocol):
    """All of it."""
