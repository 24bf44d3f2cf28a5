"""JWTs: issued for API keys, and verified, our own and those of other issuers."""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import RSAKey

from treadle.domain.errors import Forbidden, Unauthenticated
from treadle.domain.identity import Principal, Role, User
from treadle.domain.permissions import Permission, require
from treadle.ports import Clock, IdentityStore
from treadle.ports.directory import MemberStore
from treadle.ports.trust import RevocationStore, TokenHolder
from treadle.services.audit import Audit
from treadle.services.audit_actions import Action
from treadle.services.identity import CACHE_SECONDS, CACHE_SIZE
from treadle.services.issuers import IssuerKeys
from treadle.services.recent import Recent
from treadle.services.signing_keys import ALGORITHM, SigningKeys

LIFETIME = timedelta(hours=24)
SKEW = timedelta(minutes=2)

#: No token of ours comes near; a longer one is not worth decoding.
MAX_LENGTH = 16_384  # characters

TENANT_ADMIN = "Tenant.Admin"
TENANT_USER = "Tenant.User"

#: What a role is called in a token.
ROLE_CLAIMS: Mapping[Role, str] = {Role.ADMIN: TENANT_ADMIN, Role.MANAGER: TENANT_USER, Role.MEMBER: TENANT_USER}

#: The id of the API key that a token was given for: with the key, the token ends.
KEY_CLAIM = "keyId"

_NOT_VALID = "This token is not valid."


@dataclass(frozen=True, slots=True)
class Token:
    """A JWT, and when it ends."""

    text: str = field(repr=False)
    expires: datetime


def looks_like_token(text: str) -> bool:
    """Whether a bearer's text is a JWT rather than an API key: a JWT begins with the base64 of `{"`."""
    return text.startswith("eyJ") and text.count(".") == 2  # noqa: PLR2004 - header, claims and signature


class Store(IdentityStore, MemberStore, RevocationStore, Protocol):
    """Of the store, what is needed here."""


class Tokens:
    """Issues, verifies and revokes. A token says less than the store: who lost a role has lost it, whatever the token
    says; and a token ends with the key that it was given for, and with all others of its user when they are revoked.
    """

    def __init__(
        self,
        store: Store,
        keys: SigningKeys,
        clock: Clock,
        *,
        audit: Audit,
        issuer: str,
        others: Sequence[IssuerKeys] = (),
        new_uuid: Callable[[], UUID],
    ) -> None:
        self._store = store
        self._keys = keys
        self._clock = clock
        self._audit = audit
        self._issuer = issuer
        self._others = {other.issuer.issuer: other for other in others}
        self._new_uuid = new_uuid
        self._recent: Recent[bytes, Principal] = Recent(clock, seconds=CACHE_SECONDS, size=CACHE_SIZE)

    async def issue(self, principal: Principal) -> Token:
        """A token for the next 24 hours."""
        key_id, key = await self._keys.current()
        now = self._clock.now()
        claims = {
            "iss": self._issuer,
            "iat": int(now.timestamp()),
            "exp": int((now + LIFETIME).timestamp()),
            "jti": str(self._new_uuid()),
            "name": principal.name,
            "upn": principal.email,
            "role": [ROLE_CLAIMS[principal.role]] if principal.role is not None else [],
            "tenId": str(principal.organization_uuid),
            "oid": str(principal.user_uuid),
        }
        if principal.key_id is not None:
            claims[KEY_CLAIM] = principal.key_id
        text = jwt.encode({"alg": ALGORITHM, "kid": key_id}, claims, key, algorithms=[ALGORITHM])
        await self._audit.note(
            Action.TOKEN_ISSUED, principal=principal, target=claims["jti"], detail={"key": principal.key_id}
        )
        return Token(text, datetime.fromtimestamp(int((now + LIFETIME).timestamp()), UTC))

    async def revoke(self, principal: Principal, user_id: int | None = None) -> None:
        """Ends all JWTs of the caller or, for an ADMIN, of a member: at once here, and after CACHE_SECONDS in other
        processes. Raises NotFound, Forbidden."""
        whose = principal.user_id if user_id is None else user_id
        require(principal, Permission.READ if whose == principal.user_id else Permission.ADMINISTER)
        user, _ = await self._store.member(principal.organization_id, whose)
        await self._void(user, principal)

    async def revoke_of(self, email: str) -> None:
        """The same for the operator. Raises NotFound."""
        await self._void(await self._store.find_user(email), None)

    def forget(self) -> None:
        """Looks at everybody anew: a role or a key has just changed in this process."""
        self._recent.clear()

    async def verify(self, text: str) -> Principal:
        """Who a token speaks for. Raises Unauthenticated; and Forbidden for one that is valid, of a user who is no
        member here."""
        memory = hashlib.sha256(text.encode(errors="surrogatepass")).digest()
        principal = self._recent.get(memory)
        if principal is not None:
            return principal
        claims = await self._claims(text)
        organization, user = _uuid(claims, "tenId"), _uuid(claims, "oid")
        key_id = _key_id(claims) if claims["iss"] == self._issuer else None
        found = await self._store.token_holder(organization, user, key_id, self._clock.now())
        if found is None:
            raise Forbidden("The token's user is not a member of the token's tenant.")
        _require_unrevoked(found, claims)
        principal = replace(found.principal, role=_lesser(found.principal.role, _roles(claims)))
        left = min(claims["exp"] - self._clock.now().timestamp(), LIFETIME.total_seconds())
        self._recent.put(memory, principal, until=self._clock.now() + timedelta(seconds=left) + SKEW)
        return principal

    async def jwks(self) -> Mapping[str, Any]:
        """Our public keys, as a JWK set."""
        return await self._keys.public()

    async def _void(self, user: User, by: Principal | None) -> None:
        await self._store.void_tokens(user.id, self._clock.now())
        self.forget()
        await self._audit.note(Action.TOKENS_REVOKED, principal=by, target=user.id, detail={"email": user.email})

    async def _claims(self, text: str) -> Mapping[str, Any]:
        header, issuer = _peek(text)
        key, audience = await self._key(issuer, header.get("kid"))
        try:
            claims = jwt.decode(text, key, algorithms=[ALGORITHM]).claims
            registry = jwt.JWTClaimsRegistry(
                now=int(self._clock.now().timestamp()),
                leeway=int(SKEW.total_seconds()),
                iss={"essential": True, "value": issuer},
                exp={"essential": True},
                aud={"essential": True, "value": audience} if audience is not None else {},
            )
            registry.validate(claims)
        except ExpiredTokenError:
            raise Unauthenticated("This token has expired.", hint="POST /auth/token gives another.") from None
        except (JoseError, ValueError, OverflowError):
            raise Unauthenticated(_NOT_VALID) from None
        return claims

    async def _key(self, issuer: str, key_id: object) -> tuple[RSAKey, str | None]:
        """The key that must have signed, and the audience that the token must name."""
        key, audience = None, None
        if issuer == self._issuer:
            key = await self._keys.find(key_id) if isinstance(key_id, str) else None
        elif (other := self._others.get(issuer)) is not None and (key_id is None or isinstance(key_id, str)):
            key, audience = await other.find(key_id), other.issuer.audience
        if key is None:
            raise Unauthenticated(_NOT_VALID)
        return key, audience


def _peek(text: str) -> tuple[Mapping[str, Any], str]:
    """A token's header and issuer, unverified: only to choose the key that must then verify it."""
    try:
        header, claims = (
            json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
            for part in text[:MAX_LENGTH].split(".")[:2]
        )
    except (ValueError, binascii.Error, RecursionError):
        raise Unauthenticated(_NOT_VALID) from None
    issuer = claims.get("iss") if isinstance(claims, dict) else None
    if not isinstance(header, dict) or not isinstance(issuer, str):
        raise Unauthenticated(_NOT_VALID)
    return header, issuer


def _require_unrevoked(found: TokenHolder, claims: Mapping[str, Any]) -> None:
    """A token's date is whole seconds: one of the second in which all were revoked is taken for an earlier one. Raises
    Unauthenticated."""
    issued = claims.get("iat")
    is_dated = isinstance(issued, int | float) and not isinstance(issued, bool)
    if not found.has_key or (
        found.date_void is not None and not (is_dated and int(issued or 0) > int(found.date_void.timestamp()))
    ):
        raise Unauthenticated("This token was revoked.", hint="POST /auth/token gives another.")


def _key_id(claims: Mapping[str, Any]) -> int | None:
    """Of tokens of versions that named no key: None."""
    found = claims.get(KEY_CLAIM)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _uuid(claims: Mapping[str, Any], name: str) -> UUID:
    try:
        return UUID(claims[name])
    except (KeyError, ValueError, TypeError, AttributeError):
        raise Unauthenticated(f"The token's claim '{name}' is not an id.") from None


def _roles(claims: Mapping[str, Any]) -> frozenset[str]:
    """`role` is an array; some issuers write a single one as text."""
    found = claims.get("role")
    return frozenset([found] if isinstance(found, str) else filter(_is_text, found if isinstance(found, list) else []))


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _lesser(role: Role | None, claimed: frozenset[str]) -> Role | None:
    """What both the store and the token allow."""
    if TENANT_ADMIN in claimed or role is None:
        return role
    if TENANT_USER in claimed:
        return Role.MEMBER if role is Role.ADMIN else role
    return None
