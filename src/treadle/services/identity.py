"""Who calls: organizations, users, roles and API keys. A key is shown once and kept as its SHA-256."""

import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from treadle.domain.errors import InvalidInput, NotFound, Unauthenticated
from treadle.domain.events import JsonObject
from treadle.domain.identity import ApiKey, Organization, Principal, Role, User
from treadle.ports import Clock, IdentityStore
from treadle.ports.trust import RevocationStore
from treadle.services.audit import Audit
from treadle.services.audit_actions import Action
from treadle.services.recent import Recent

KEY_PREFIX = "trd_"
KEY_BYTES = 32

#: How long a revoked key, or a role that was taken away, may still count in a process that has just seen it.
CACHE_SECONDS = 5.0
CACHE_SIZE = 10_000

MAX_NAME = 200
MAX_EMAIL = 320

#: Shown of a key to recognize it by: of our own ones, and of shorter ones that an operator chose.
_SHOWN, _SHOWN_OF_FOREIGN = 10, 4


@dataclass(frozen=True, slots=True)
class FirstAdmin:
    """What `bootstrap` made. `is_generated`: the key is new to the operator, so it must be shown."""

    organization: Organization
    user: User
    key: str = field(repr=False)
    is_generated: bool


def generate_key() -> str:
    """A new API key."""
    return KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)


def digest_of(key: str) -> str:
    """What is kept of a key. Plain SHA-256 is enough: the keys are random and long, so there is nothing to guess.

    A key is looked up by this, and never compared itself: how long the database takes to find a digest may tell
    something about digests, and nobody can choose a key by the digest that it has.
    """
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


class Store(IdentityStore, RevocationStore, Protocol):
    """Of the store, what is needed here."""


class Identity:
    """Authenticates, and administers for the CLI."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        audit: Audit,
        new_uuid: Callable[[], UUID],
        new_key: Callable[[], str] = generate_key,
        cache_seconds: float = CACHE_SECONDS,
    ) -> None:
        self._store = store
        self._clock = clock
        self._new_uuid = new_uuid
        self._new_key = new_key
        self._audit = audit
        self._recent: Recent[str, Principal] = Recent(clock, seconds=cache_seconds, size=CACHE_SIZE)
        self._forgetful: list[Callable[[], None]] = [self._recent.clear]

    def tell(self, forget: Callable[[], None]) -> None:
        """Calls `forget` whenever a role or a key has changed here: what it remembers of callers may be wrong now."""
        self._forgetful.append(forget)

    async def bootstrap(self, key: str | None) -> FirstAdmin | None:
        """In an empty store: organization 1, an admin and its key (`key`, or a new one). Else, and where another
        process was faster, None."""
        if not await self._store.is_empty():
            return None
        chosen = key or self._new_key()
        made = await self._store.add_first_admin(
            ("Default", self._new_uuid()),
            ("admin@localhost", "Admin", self._new_uuid()),
            prefix=_shown(chosen),
            digest=digest_of(chosen),
            now=self._clock.now(),
        )
        if made is None:
            return None
        organization, user = made
        await self._audit.note(
            Action.SERVICE_BEGUN, target=organization.id, detail={"user": user.email}, organization_id=organization.id
        )
        return FirstAdmin(organization, user, chosen, is_generated=key is None)

    async def authenticate(self, key: str) -> Principal:
        """The owner of an API key. Raises Unauthenticated."""
        return await self.authenticate_digest(digest_of(key))

    async def authenticate_digest(self, digest: str) -> Principal:
        """The owner of the API key with that `digest_of`. Raises Unauthenticated."""
        principal = self._recent.get(digest)
        if principal is None:
            principal = await self._store.principal_by_key(digest, self._clock.now())
            if principal is None:
                raise Unauthenticated("This API key is unknown, expired or revoked.")
            self._recent.put(digest, principal)
        return principal

    async def organizations(self) -> Sequence[Organization]:
        return await self._store.organizations()

    async def organization(self, organization_id: int) -> Organization:
        """Raises NotFound."""
        for organization in await self._store.organizations():
            if organization.id == organization_id:
                return organization
        raise NotFound(f"There is no organization {organization_id}.", hint="`treadle admin org list` shows them.")

    async def add_organization(self, name: str) -> Organization:
        """Raises InvalidInput."""
        made = await self._store.add_organization(_named(name), self._new_uuid(), self._clock.now())
        await self._audit.note(
            Action.ORGANIZATION_CREATED, target=made.id, detail={"name": made.name}, organization_id=made.id
        )
        return made

    async def users(self, organization_id: int) -> Sequence[tuple[User, Role]]:
        await self.organization(organization_id)
        return await self._store.users(organization_id)

    async def add_user(self, email: str, organization_id: int, role: Role, *, name: str | None = None) -> User:
        """Makes the user where there is none with that e-mail address, and a member. Raises InvalidInput, NotFound."""
        if len(email) > MAX_EMAIL or email.count("@") != 1 or not all(email.split("@")) or not email.isprintable():
            raise InvalidInput({"email": ["Is not an e-mail address."]})
        await self.organization(organization_id)
        shown = _named(name or email.partition("@")[0])
        user = await self._store.add_user(email, shown, self._new_uuid(), self._clock.now())
        await self._put_role(organization_id, user.id, role)
        detail = {"email": user.email, "role": role.value}
        await self._audit.note(Action.MEMBER_ADDED, target=user.id, detail=detail, organization_id=organization_id)
        return user

    async def set_role(self, organization_id: int, user_id: int, role: Role | None) -> None:
        """None takes the membership away. Raises NotFound."""
        await self._put_role(organization_id, user_id, role)
        if role is None:
            await self._audit.note(Action.MEMBER_REMOVED, target=user_id, organization_id=organization_id)
        else:
            await self._audit.note(
                Action.MEMBER_CHANGED, target=user_id, detail={"role": role.value}, organization_id=organization_id
            )

    async def find_user(self, email: str) -> User:
        """Raises NotFound."""
        return await self._store.find_user(email)

    async def member(self, email: str, organization_id: int) -> tuple[User, Role]:
        """The user with the role that it has there. Raises NotFound, also for one that is not a member."""
        user = await self._store.find_user(email)
        for member, role in await self.users(organization_id):
            if member.id == user.id:
                return member, role
        raise NotFound(f"The user is not a member of organization {organization_id}.")

    async def create_key(
        self,
        email: str,
        organization_id: int,
        *,
        name: str = "",
        expires: datetime | None = None,
        reaches_all: bool = False,
    ) -> tuple[ApiKey, str]:
        """The key's record, and the key itself: it cannot be shown again. `reaches_all`: it counts in every
        organization of its user, those that are joined later too. Raises NotFound unless the user is a member, and
        InvalidInput."""
        user, _ = await self.member(email, organization_id)
        if expires is not None and expires <= self._clock.now():
            raise InvalidInput({"expires": ["Must lie in the future."]})
        key = self._new_key()
        made = await self._add_key(organization_id, user.id, name[:MAX_NAME], key, expires, reaches_all)
        await self._audit.note(
            Action.KEY_CREATED,
            target=made.id,
            detail={
                "user": user.email,
                "name": made.name,
                "prefix": made.prefix,
                "expires": expires.isoformat() if expires is not None else None,
                "allOrganizations": reaches_all,
            },
            organization_id=organization_id,
        )
        return made, key

    async def keys(self, organization_id: int) -> Sequence[ApiKey]:
        return await self._store.api_keys(organization_id)

    async def revoke_key(self, key_id: int) -> None:
        """Ends what it opened too: sessions, and the JWTs that it was exchanged for. Counts at once here, and after
        CACHE_SECONDS in other processes. Raises NotFound."""
        await self._store.revoke_api_key(key_id, self._clock.now())
        self._forget()
        key = await self._store.api_key(key_id)
        detail: JsonObject = {"user": key.user_id, "name": key.name, "prefix": key.prefix}
        await self._audit.note(Action.KEY_REVOKED, target=key.id, detail=detail, organization_id=key.organization_id)

    def _forget(self) -> None:
        for forget in self._forgetful:
            forget()

    async def _put_role(self, organization_id: int, user_id: int, role: Role | None) -> None:
        await self._store.set_role(organization_id, user_id, role)
        self._forget()

    async def _add_key(
        self, organization_id: int, user_id: int, name: str, key: str, expires: datetime | None, reaches_all: bool
    ) -> ApiKey:
        return await self._store.add_api_key(
            organization_id,
            user_id,
            name=name,
            prefix=_shown(key),
            digest=digest_of(key),
            now=self._clock.now(),
            expires=expires,
            reaches_all=reaches_all,
        )


def _shown(key: str) -> str:
    return key[: _SHOWN if key.startswith(KEY_PREFIX) and len(key) > KEY_BYTES else _SHOWN_OF_FOREIGN]


def _named(name: str) -> str:
    clean = name.strip()
    if not clean or len(clean) > MAX_NAME or not clean.isprintable():
        raise InvalidInput({"name": [f"Must be 1 to {MAX_NAME} printable characters."]})
    return clean
