"""What an ADMIN does with the members of its organization, and everybody with API keys, from the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from treadle.domain.errors import Conflict, Forbidden, InvalidInput, NotFound
from treadle.domain.identity import ApiKey, Principal, Role, User
from treadle.domain.permissions import Permission, may, require
from treadle.ports import Clock
from treadle.services.identity import Identity
from treadle.services.sessions import Sessions

#: A key for somebody who has just been added, to sign in with for the first time, is good for so long.
FIRST_KEY_DAYS = 7

#: The longest that a key may last that does not last for ever.
MAX_KEY_DAYS = 3650

MAX_KEY_NAME = 200

_LAST = "The organization needs an ADMIN, and this is the last one."


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key, shown this once."""

    record: ApiKey
    key: str = field(repr=False)


class Administration:
    """Asks for the permission first, whoever calls."""

    def __init__(self, identity: Identity, sessions: Sessions, clock: Clock) -> None:
        self._identity = identity
        self._sessions = sessions
        self._clock = clock

    # ---- members

    async def members(self, principal: Principal) -> Sequence[tuple[User, Role]]:
        """All of the organization's. Raises Forbidden."""
        require(principal, Permission.READ)
        return await self._identity.users(principal.organization_id)

    async def add_member(
        self, principal: Principal, email: str, role: Role, *, name: str | None = None, with_key: bool = False
    ) -> tuple[User, NewKey | None]:
        """With `with_key`, somebody who was not known here at all gets a key to sign in with for the first time.
        Whoever is known has ways of its own, and nobody is to act as somebody else. Raises InvalidInput, Forbidden."""
        require(principal, Permission.ADMINISTER)
        known = await self._known(email)
        if known is not None and any(user.id == known.id for user, _ in await self.members(principal)):
            raise InvalidInput({"email": ["Is a member already."]}, "Nobody was added.")
        user = await self._identity.add_user(email, principal.organization_id, role, name=name or None)
        if known is not None or not with_key:
            return user, None
        expires = self._clock.now() + timedelta(days=FIRST_KEY_DAYS)
        return user, NewKey(
            *await self._identity.create_key(user.email, principal.organization_id, name="First key", expires=expires)
        )

    async def set_role(self, principal: Principal, user_id: int, role: Role) -> None:
        """Raises Conflict for the last ADMIN, NotFound, Forbidden."""
        require(principal, Permission.ADMINISTER)
        await self._change(principal, user_id, role)

    async def remove_member(self, principal: Principal, user_id: int) -> None:
        """With the keys that count here alone: should somebody add it again, those of today count no more. Raises
        Conflict for the last ADMIN, NotFound, Forbidden."""
        require(principal, Permission.ADMINISTER)
        await self._change(principal, user_id, None)
        for key in await self._identity.keys(principal.organization_id):
            if key.user_id == user_id and not key.reaches_all and key.date_revoked is None:
                await self._identity.revoke_key(key.id)
        self._sessions.forget()

    async def _change(self, principal: Principal, user_id: int, role: Role | None) -> None:
        roles = {user.id: role for user, role in await self.members(principal)}
        before = roles.get(user_id)
        if before is None:
            raise NotFound("There is no such member.")
        if before is Role.ADMIN and role is not Role.ADMIN and not await self._has_admin(principal, user_id):
            raise Conflict(_LAST, hint="Make somebody else an ADMIN first.")
        await self._identity.set_role(principal.organization_id, user_id, role)
        self._sessions.forget()
        # Two ADMINs who end each other's role at once both saw the other: looked at again, whoever was the last stays.
        if before is Role.ADMIN and not await self._has_admin(principal):
            await self._identity.set_role(principal.organization_id, user_id, before)
            raise Conflict(_LAST, hint="Make somebody else an ADMIN first.")

    async def _has_admin(self, principal: Principal, but: int | None = None) -> bool:
        return any(role is Role.ADMIN and user.id != but for user, role in await self.members(principal))

    async def _known(self, email: str) -> User | None:
        try:
            return await self._identity.find_user(email)
        except NotFound:
            return None

    # ---- keys

    async def keys(self, principal: Principal) -> tuple[Sequence[ApiKey], Mapping[int, str]]:
        """The caller's own, or for an ADMIN all of the organization, newest first; and the e-mail addresses of its
        members, by their ids. Raises Forbidden."""
        require(principal, Permission.READ)
        found = await self._identity.keys(principal.organization_id)
        if not may(principal, Permission.ADMINISTER):
            found = [key for key in found if key.user_id == principal.user_id]
        emails = {user.id: user.email for user, _ in await self.members(principal)}
        return sorted(found, key=lambda key: -key.id), emails

    async def create_key(
        self,
        principal: Principal,
        name: str,
        days: int | None,
        *,
        reaches_all: bool,
        until: datetime | None = None,
    ) -> NewKey:
        """One of the caller's own; `days` None: for ever, but never longer than `until`: until then counts what the
        caller came with. Raises InvalidInput, and Forbidden for a key that reaches further than the caller itself."""
        require(principal, Permission.READ)
        faults: dict[str, list[str]] = {}
        if not 0 < len(name) <= MAX_KEY_NAME or not name.isprintable():
            faults["name"] = [f"Must be 1 to {MAX_KEY_NAME} printable characters: what will it be for?"]
        if days is not None and not 0 < days <= MAX_KEY_DAYS:
            faults["days"] = [f"Must be from 1 to {MAX_KEY_DAYS:,}."]
        if faults:
            raise InvalidInput(faults, "No key was made.")
        if reaches_all and not principal.reaches_all:
            raise Forbidden("You came with a key that counts in this organization alone, so a new one can do no more.")
        wanted = self._clock.now() + timedelta(days=days) if days is not None else None
        expires = min((date for date in (wanted, until) if date is not None), default=None)
        return NewKey(
            *await self._identity.create_key(
                principal.email, principal.organization_id, name=name, expires=expires, reaches_all=reaches_all
            )
        )

    async def revoke_key(self, principal: Principal, key_id: int) -> None:
        """The caller's own, or for an ADMIN any of the organization. Raises NotFound for all others, Forbidden."""
        found, _ = await self.keys(principal)
        if all(key.id != key_id for key in found):
            raise NotFound("There is no such key.")
        await self._identity.revoke_key(key_id)
        self._sessions.forget()
