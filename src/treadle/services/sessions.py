"""Who is signed in at the page: with an API key, with a password, or by another service. A session is a random token in
a cookie, kept as its SHA-256, and can be revoked."""

import hashlib
import math
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from treadle.domain.errors import Forbidden, InvalidInput, NotFound, TooManyRequests, Unauthenticated
from treadle.domain.events import JsonObject
from treadle.domain.identity import Principal, Role
from treadle.ports import Clock, IdentityStore
from treadle.ports.directory import MemberStore, RateStore
from treadle.ports.page import PageSession, SessionStore
from treadle.services.audit import Audit
from treadle.services.audit_actions import Action
from treadle.services.callers import network_of
from treadle.services.identity import Identity, digest_of
from treadle.services.passwords import Passwords, password_fault
from treadle.services.recent import Recent

#: A session ends after so long, and when nobody has used it for so long.
SESSION_DAYS = 7
IDLE_HOURS = 24
#: The same for a cookie.
SESSION_SECONDS = SESSION_DAYS * 86_400

#: How long a revoked session may still count in a process that has just seen it.
CACHE_SECONDS = 5.0
CACHE_SIZE = 10_000

#: Tries to sign in that an address, and that an account, has within a time; see `_admit` for what counts.
TRIES_BY_ADDRESS = 10
TRIES_BY_ACCOUNT = 10
TRIES_SECONDS = 300

#: Characters that are kept of what the browser calls itself.
MAX_AGENT = 200

_RANDOM = 32  # bytes in a token
_MAX_TOKEN = 200  # characters; no token of ours comes near
_SPAN, _IDLE = timedelta(days=SESSION_DAYS), timedelta(hours=IDLE_HOURS)

_NOT_RIGHT = "The e-mail address or the password is not right."
_NO_FIRST = "You have no password yet, and somebody who has your API key must not be able to set one."


def generate_token() -> str:
    """A new session's, or a link's."""
    return secrets.token_urlsafe(_RANDOM)


class Store(SessionStore, IdentityStore, MemberStore, RateStore, Protocol):
    """Of the store, what is needed here."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who tries to sign in: the address that the connection comes from, and what the browser calls itself."""

    address: str
    agent: str = ""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A new session; its token is shown this once."""

    principal: Principal
    expires: datetime
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ForeignUser:
    """What an OIDC provider says of somebody."""

    issuer: str
    subject: str
    email: str | None
    email_verified: bool


class Sessions:
    """Signs in and out. Roles are looked up at each request, so that who loses one has lost it."""

    def __init__(
        self,
        store: Store,
        identity: Identity,
        clock: Clock,
        *,
        audit: Audit,
        passwords: Passwords | None = None,
        new_token: Callable[[], str] = generate_token,
        cache_seconds: float = CACHE_SECONDS,
    ) -> None:
        self._store = store
        self._identity = identity
        self._clock = clock
        self._audit = audit
        self._throttled: Recent[str, bool] = Recent(clock, seconds=TRIES_SECONDS, size=CACHE_SIZE)
        self._passwords = passwords or Passwords()
        self._new_token = new_token
        self._recent: Recent[str, PageSession] = Recent(clock, seconds=cache_seconds, size=CACHE_SIZE)

    async def sign_in_with_key(self, key: str, visitor: Visitor) -> SignedIn:
        """The session ends with the key. Raises Unauthenticated, and TooManyRequests after many wrong ones: those that
        are right do not count, or an office behind one address would lock itself out."""
        digest = digest_of(key.strip())
        try:
            principal = await self._identity.authenticate_digest(digest)
        except Unauthenticated:
            await self._admit("address", network_of(visitor.address), TRIES_BY_ADDRESS)
            await self._refused("key")
            raise
        if principal.role is None:
            await self._refused("key", principal.email)
            raise Unauthenticated("The user of this API key is no member of its organization any more.")
        try:
            return await self._begin(principal, visitor, "key", api_key_digest=digest)
        except NotFound:  # revoked and gone since it was looked up
            raise Unauthenticated("This API key is unknown, expired or revoked.") from None

    async def sign_in_with_password(self, email: str, password: str, visitor: Visitor) -> SignedIn:
        """Raises Unauthenticated, with the same words and after the same time for an unknown address, and
        TooManyRequests. Each try counts, the right ones too: else who guesses would learn that it was right."""
        await self._admit("address", network_of(visitor.address), TRIES_BY_ADDRESS)
        await self._admit("account", email.strip().casefold(), TRIES_BY_ACCOUNT)
        found = await self._store.password(email)
        if not await self._passwords.is_right(password, None if found is None else found[1]) or found is None:
            await self._refused("password", email)
            raise Unauthenticated(_NOT_RIGHT)
        return await self._begin(await self._member(found[0]), visitor, "password")

    async def sign_in_with_identity(self, user: ForeignUser, visitor: Visitor) -> SignedIn:
        """Somebody whom an OIDC provider has just vouched for: who signed in as that before, else the user with that
        verified e-mail address. Never makes a user or a member. Raises Unauthenticated."""
        user_id = await self._store.identity(user.issuer, user.subject)
        if user_id is None:
            user_id = await self._by_email(user)
            await self._store.add_identity(user.issuer, user.subject, user_id, self._clock.now())
            detail = {"issuer": user.issuer, "subject": user.subject}
            await self._audit.note(Action.IDENTITY_LINKED, target=user_id, detail=detail, actor=user.email)
        return await self._begin(await self._member(user_id), visitor, "oidc")

    async def principal(self, token: str) -> PageSession | None:
        """Whose request it is; None for a session that does not count (any more). A revoked one may count for
        CACHE_SECONDS more in other processes."""
        if not 0 < len(token) <= _MAX_TOKEN:
            return None
        digest = digest_of(token)
        found = self._recent.get(digest)
        if found is None:
            now = self._clock.now()
            found = await self._store.session(digest, now, seen_since=now - _IDLE)
            if found is not None:
                self._recent.put(digest, found, until=found.date_expires)
        return found

    async def sign_out(self, token: str) -> None:
        """One that does not count is no error."""
        found = await self.principal(token)
        if found is not None:
            await self._store.revoke_session(found.id, found.principal.user_id, self._clock.now())
            self._recent.clear()
            await self._audit.note(Action.SIGNED_OUT, principal=found.principal, target=found.id)

    async def switch(self, token: str, organization_id: int) -> None:
        """The session acts in another organization of its user from now on. Raises NotFound where it is no member, or
        its API key does not count."""
        if not await self._store.switch_session(digest_of(token), organization_id):
            raise NotFound(f"There is no organization {organization_id} for you.")
        self._recent.clear()
        await self._audit.note(Action.SESSION_SWITCHED, target=organization_id, organization_id=organization_id)

    def forget(self) -> None:
        """Looks roles up anew: one of them has just changed in this process."""
        self._recent.clear()

    async def list(self, principal: Principal) -> Sequence[PageSession]:
        """The caller's own, the last used first."""
        now = self._clock.now()
        return await self._store.sessions_of(principal.user_id, now, seen_since=now - _IDLE)

    async def revoke(self, principal: Principal, session_id: int) -> None:
        """One of the caller's own. Raises NotFound."""
        if not await self._store.revoke_session(session_id, principal.user_id, self._clock.now()):
            raise NotFound(f"There is no session {session_id}.")
        self._recent.clear()
        await self._audit.note(Action.SESSION_REVOKED, principal=principal, target=session_id)

    async def revoke_all(self, principal: Principal, user_id: int | None = None) -> int:
        """All of the caller's own, or, for an ADMIN, of a member of the organization; how many. Raises Forbidden,
        NotFound."""
        whose = principal.user_id if user_id is None else user_id
        if whose != principal.user_id:
            if principal.role is not Role.ADMIN:
                raise Forbidden("Only an ADMIN may sign others out.")
            await self._store.member(principal.organization_id, whose)
        return await self._end_all(whose, principal)

    async def revoke_all_of(self, email: str) -> int:
        """The same for the operator. Raises NotFound."""
        return await self._end_all((await self._store.find_user(email)).id, None)

    async def has_password(self, principal: Principal) -> bool:
        return await self._store.password(principal.email) is not None

    async def set_password(self, session: PageSession, old: str | None, new: str) -> None:
        """The caller's own; all of its other sessions end. `old` is asked for where there is one. Raises InvalidInput
        (paths `old`, `new`), TooManyRequests, and Forbidden for a first one from a session of an API key: it would
        outlive the key."""
        who = session.principal
        if fault := password_fault(new):
            raise InvalidInput({"new": [fault]})
        known = await self._store.password(who.email)
        if known is not None:
            await self._admit("account", who.email.strip().casefold(), TRIES_BY_ACCOUNT)
            if not await self._passwords.is_right(old or "", known[1]):
                raise InvalidInput({"old": ["Is not your password."]})
        elif session.is_by_key:
            raise Forbidden(_NO_FIRST, hint=f"An operator sets the first one: treadle admin user password {who.email}")
        await self._store.set_password(who.user_id, await self._passwords.hashed(new))
        for other in await self.list(who):
            if other.id != session.id:
                await self._store.revoke_session(other.id, who.user_id, self._clock.now())
        self._recent.clear()
        await self._audit.note(Action.PASSWORD_SET, principal=who, target=who.user_id)

    async def reset_password(self, email: str, new: str | None) -> int:
        """For the operator: gives a user a password, None takes it away. All of its sessions end; how many. Raises
        NotFound, InvalidInput."""
        if new is not None and (fault := password_fault(new)):
            raise InvalidInput({"password": [fault]})
        user = await self._store.find_user(email)
        await self._store.set_password(user.id, None if new is None else await self._passwords.hashed(new))
        count = await self._store.revoke_sessions(user.id, self._clock.now())
        self._recent.clear()
        detail: JsonObject = {"email": user.email, "removed": new is None}
        await self._audit.note(Action.PASSWORD_SET, target=user.id, detail=detail)
        return count

    async def _end_all(self, user_id: int, by: Principal | None) -> int:
        count = await self._store.revoke_sessions(user_id, self._clock.now())
        self._recent.clear()
        await self._audit.note(
            Action.SESSION_REVOKED, principal=by, detail={"user": user_id, "sessions": "all", "count": count}
        )
        return count

    async def _refused(self, by: str, actor: str | None = None) -> None:
        """`actor`: whoever it said it was."""
        known = actor.strip() if actor is not None and actor.count("@") == 1 else None  # a password in the wrong field
        await self._audit.note(Action.SIGN_IN_REFUSED, detail={"by": by}, actor=known)

    async def _begin(
        self, principal: Principal, visitor: Visitor, by: str, *, api_key_digest: str | None = None
    ) -> SignedIn:
        token, now = self._new_token(), self._clock.now()
        expires = now + _SPAN
        await self._store.prune_sessions(now)
        await self._store.add_session(
            digest_of(token),
            principal,
            api_key_digest=api_key_digest,
            agent=visitor.agent[:MAX_AGENT],
            now=now,
            expires=expires,
        )
        await self._audit.note(Action.SIGNED_IN, principal=principal, detail={"by": by})
        return SignedIn(principal, expires, token)

    async def _member(self, user_id: int) -> Principal:
        """In the first of its organizations. Raises Unauthenticated."""
        for organization, _ in await self._store.organizations_of(user_id):
            found = await self._store.principal_in(organization.id, user_id)
            if found is not None:
                return found
        raise Unauthenticated("You are a member of no organization.", hint="An administrator of one can add you.")

    async def _by_email(self, user: ForeignUser) -> int:
        if user.email is not None and user.email_verified:
            try:
                return (await self._store.find_user(user.email)).id
            except NotFound:
                pass
        await self._refused("oidc", user.email)
        raise Unauthenticated(
            "Nobody with your verified e-mail address is known here.",
            hint="An administrator can add you with that address.",
        )

    async def _admit(self, kind: str, name: str, limit: int) -> None:
        """Raises TooManyRequests. Names are hashed: they may be of any length, and are nobody's business."""
        hashed = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
        found = await self._store.admit(
            f"sign-in {kind} {hashed}", limit=limit, seconds=TRIES_SECONDS, now=self._clock.now()
        )
        if not found.is_admitted:
            wait = max(1, math.ceil(found.retry_after))
            if self._throttled.get(kind + hashed) is None:  # whoever goes on must not fill the log
                self._throttled.put(kind + hashed, value=True)
                actor = name if kind == "account" and name.count("@") == 1 else None
                await self._audit.note(Action.SIGN_IN_THROTTLED, detail={"by": kind}, actor=actor)
            raise TooManyRequests("Too many tries to sign in.", retry_after=wait)
