"""Ports to what makes the house safe to open to others: the bill of a month, the audit log, sealed rows. All in one
store; every method may raise Unavailable."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from treadle.domain.events import JsonObject
from treadle.domain.identity import ApiKey, Principal
from treadle.domain.run import Usage


@dataclass(frozen=True, slots=True)
class MonthCost:
    """What one user's model time cost in a month (UTC, `2026-11`), by when the model answered."""

    month: str
    user_id: int
    usage: Usage  # its duration is 0


class CostStore(Protocol):
    async def month_cost(self, organization_id: int, now: datetime) -> float:
        """US dollars, in the month of `now`."""

    async def month_costs(
        self, organization_id: int, user_id: int | None, *, first: str, last: str
    ) -> Sequence[MonthCost]:
        """Of those months, the newest first. `user_id` None: everybody's."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what. `organization_id` None: it concerns the whole service. `user_id` None: nobody who is known, or the
    operator at the machine; `actor` says who."""

    actor: str
    action: str  # such as key.created; `docs/reference/audit.md` lists them
    target: str | None
    detail: JsonObject
    door: str  # api, page, cli, service
    date: datetime
    organization_id: int | None = None
    user_id: int | None = None
    address: str | None = None
    id: int = 0  # the store's, from 1 up


class AuditStore(Protocol):
    """Entries are only ever added."""

    async def add_audit(self, entry: AuditEntry) -> None: ...

    async def audit(
        self,
        organization_id: int | None,
        *,
        limit: int,
        before: int | None = None,
        action: str | None = None,
        user_id: int | None = None,
        since: datetime | None = None,
    ) -> Sequence[AuditEntry]:
        """Newest first, those with an id less than `before`. `organization_id` None: the whole service's and every
        organization's. `action`: that one, or with a dot at its end all that begin so."""


@dataclass(frozen=True, slots=True)
class TokenHolder:
    """Whom a JWT speaks for. `date_void`: those that were issued before count no more. `has_key`: the API key that it
    was given for counts, or it names none."""

    principal: Principal
    date_void: datetime | None
    has_key: bool


class RevocationStore(Protocol):
    """What ends keys and tokens before their time."""

    async def token_holder(
        self, organization: UUID, user: UUID, key_id: int | None, now: datetime
    ) -> TokenHolder | None:
        """For a JWT's `tenId`, `oid` and key; None unless the user is a member."""

    async def void_tokens(self, user_id: int, now: datetime) -> None:
        """All JWTs that the user has had until now. Raises NotFound."""

    async def api_key(self, key_id: int) -> ApiKey:
        """Raises NotFound."""


class SealedKind(StrEnum):
    """What a sealed text belongs to."""

    RUN = "run"
    REPOSITORY = "repository"
    SIGNING_KEY = "signing key"
    OAUTH_TOKEN = "OAuth token"  # noqa: S105 - no password
    HOOK = "hook"
    WEBHOOK = "webhook"
    WEBHOOK_BEFORE = "webhook's earlier"
    WEBHOOK_TARGET = "webhook's address"


@dataclass(frozen=True, slots=True)
class SealedRow:
    """A sealed text, and what its seal is bound to. `owner`: the UUID of a run, a repository or a token, the id of a
    signing key; `name`: of a run's or a repository's secret, else empty. `organization_uuid` None: it is nobody's."""

    kind: SealedKind
    owner: str
    name: str
    organization_uuid: UUID | None
    sealed: str = field(repr=False)


class SealedStore(Protocol):
    """Every sealed text in the database, to be sealed anew with another key while others read and write them."""

    async def sealed_rows(
        self, kind: SealedKind, *, not_key: str, after: SealedRow | None, limit: int
    ) -> Sequence[SealedRow]:
        """Those that were sealed by another key than `not_key`, in an order of their own, from behind `after`."""

    async def reseal(self, row: SealedRow, sealed: str) -> bool:
        """Puts `sealed` in the place of the row's text, if that is still what it was, and says whether it was."""

    async def sealing_keys(self) -> Mapping[str, int]:
        """How many texts each key has sealed, by the key's id."""


@dataclass(frozen=True, slots=True)
class SealedVariable:
    """A variable of a repository's environment."""

    name: str
    date_updated: datetime
    sealed: str = field(repr=False)


class EnvironmentStore(Protocol):
    """The variables that a repository gives to its setup commands and steps. They go with the repository."""

    async def repository_environment(self, repository_id: int) -> Sequence[SealedVariable]:
        """By their names; of a repository that is unknown or was removed there are none."""

    async def put_repository_environment(
        self,
        repository_id: int,
        sealed: Mapping[str, str],
        now: datetime,
        *,
        admit: Callable[[Mapping[str, str]], None],
    ) -> None:
        """Adds and replaces. `admit` sees all as they would be then, and raises to refuse; puts to one repository at
        the same time follow one another. It may be called twice, and waits for nothing. Raises NotFound."""

    async def remove_repository_variable(self, repository_id: int, name: str) -> bool:
        """Whether there was one. Raises NotFound for an unknown repository."""


class TrustStore(CostStore, AuditStore, RevocationStore, SealedStore, EnvironmentStore, Protocol):
    """What is in the store of it."""
