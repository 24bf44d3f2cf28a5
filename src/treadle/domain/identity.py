"""Who owns runs and who may do what."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from treadle.domain.events import JsonObject
from treadle.domain.run import EngineName


class Role(StrEnum):
    """What a user may do in an organization: a MEMBER has its own runs, a MANAGER everybody's and the repositories, an
    ADMIN all of it. `docs/reference/roles.md` has the table."""

    ADMIN = "ADMIN"
    MANAGER = "MANAGER"
    MEMBER = "MEMBER"


@dataclass(frozen=True, slots=True)
class Organization:
    id: int
    uuid: UUID
    name: str
    date_created: datetime
    slots: int | None = None  # runs at once; None: as many as the service's setting says
    is_pr_creation_enabled: bool = True
    is_rules_detection_enabled: bool = True  # the rule files that repositories carry
    rules: str | None = None
    default_engine: EngineName | None = None
    default_model: str | None = None
    default_repository_id: int | None = None
    monthly_runs: int | None = None  # agent runs that may be created in a calendar month (UTC); None: any number
    default_max_cost_usd: float | None = None  # of a run that names no budget; None: none
    monthly_cost_usd: float | None = None  # that all runs may cost in a calendar month (UTC); None: any amount


@dataclass(frozen=True, slots=True)
class User:
    id: int
    uuid: UUID
    email: str
    name: str
    date_created: datetime
    rules: str | None = None  # for all of its runs
    github_user_id: str | None = None
    github_username: str | None = None
    avatar_url: str | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """The authenticated caller: a user in one organization. `role` is None where it has none there."""

    organization_id: int
    organization_uuid: UUID
    user_id: int
    user_uuid: UUID
    email: str
    name: str
    role: Role | None
    reaches_all: bool = False  # its key counts in every organization that the user is a member of
    key_id: int | None = field(default=None, compare=False)  # the API key that it came with

    @property
    def sees_whole_organization(self) -> bool:
        """In the code-generation dialect, whose Tenant.User sees its own runs alone."""
        return self.role is Role.ADMIN


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key's record; the key itself is shown once and kept only as a hash."""

    id: int
    organization_id: int
    user_id: int
    name: str
    prefix: str  # the first characters, to recognize it by
    date_created: datetime
    date_expires: datetime | None
    date_revoked: datetime | None
    reaches_all: bool = False  # counts in every organization of its user, not just in its own


@dataclass(frozen=True, slots=True)
class LocalSession:
    """A session of a CLI on somebody's own machine that reports here what it does. Its `id` is above every run's."""

    id: int
    session_id: str  # the CLI's name for it
    organization_id: int
    user_id: int
    status: str  # as the CLI says it
    date_created: datetime
    date_updated: datetime


#: Ids of local sessions are greater, those of runs smaller: a client asks for both at the same address.
FIRST_LOCAL_SESSION = 1_000_000_000_000


@dataclass(frozen=True, slots=True)
class OAuthProvider:
    """Somebody who issues OAuth tokens, for MCP servers among others."""

    id: int
    name: str
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    default_scopes: tuple[str, ...] | None
    is_mcp: bool
    meta: JsonObject | None
    date_created: datetime
