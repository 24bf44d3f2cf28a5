"""Accounts and tokens elsewhere: how a user's account at a chat is connected, who issues OAuth tokens and which of them
users have, and what of all this an organization really has."""

import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from urllib.parse import urlsplit
from uuid import UUID

from treadle.domain.errors import InvalidInput, NotFound
from treadle.domain.events import JsonObject
from treadle.domain.identity import OAuthProvider, Principal
from treadle.domain.permissions import Permission, require
from treadle.ports import Clock, Vault
from treadle.ports.directory import Connection, ConnectionStore, RepositoryStore
from treadle.services.audit import Audit
from treadle.services.audit_actions import Action
from treadle.services.identity import digest_of
from treadle.services.integrations import Integration, integrations_of

#: How long a connect token is good for.
CONNECT_MINUTES = 10

_RANDOM = 24  # bytes in one

MAX_PROVIDER = 100
MAX_ACCOUNT = 200
MAX_ENDPOINT = 2_000
MAX_SCOPES = 100
MAX_META_BYTES = 64 * 1024

#: A token, in characters.
MAX_OAUTH_TOKEN = 64 * 1024

#: The seal of an OAuth token is bound to the organization, this table and the token's UUID.
TABLE = "oauth_tokens"

_PROVIDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]*")


def generate_connect_token() -> str:
    """A new connect token, of letters and digits alone: it is given to a command, where a `-` would begin an option."""
    return secrets.token_hex(_RANDOM)


class Store(ConnectionStore, RepositoryStore, Protocol):
    """Of the store, what is needed here."""


@dataclass(frozen=True, slots=True)
class NewProvider:
    """What an administrator says of an issuer of OAuth tokens."""

    name: str
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    default_scopes: tuple[str, ...] | None = None
    is_mcp: bool = False
    meta: JsonObject | None = None


class Connections:
    """The use cases around them."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        clock: Clock,
        *,
        audit: Audit,
        new_uuid: Callable[[], UUID],
        new_token: Callable[[], str] = generate_connect_token,
    ) -> None:
        self._store = store
        self._audit = audit
        self._vault = vault
        self._clock = clock
        self._new_uuid = new_uuid
        self._new_token = new_token

    # ---- accounts

    async def connect_token(self, principal: Principal) -> tuple[str, int]:
        """A token that connects one account with the caller, and the minutes it is good for. It is shown once.
        Raises Forbidden."""
        require(principal, Permission.READ)
        token, now = self._new_token(), self._clock.now()
        await self._store.add_connect_token(
            digest_of(token),
            principal.organization_id,
            principal.user_id,
            now,
            now + timedelta(minutes=CONNECT_MINUTES),
        )
        await self._audit.note(Action.CONNECT_TOKEN_ISSUED, principal=principal)
        return token, CONNECT_MINUTES

    async def redeem(self, token: str, provider: str, account: str) -> Connection:
        """Connects `account` at `provider`, such as `slack`, with the user whose token it is. Raises InvalidInput, and
        NotFound for a token that is unknown, used or expired."""
        provider, account = provider.strip().lower(), account.strip()
        faults = {} if _is_provider(provider) else {"provider": [_PROVIDER_FAULT]}
        if not 0 < len(account) <= MAX_ACCOUNT or not account.isprintable():
            faults["account"] = [f"Must be 1 to {MAX_ACCOUNT} printable characters."]
        if faults:
            raise InvalidInput(faults, "The account cannot be connected.")
        found = await self._store.use_connect_token(digest_of(token.strip()), provider, account, self._clock.now())
        if found is None:
            raise NotFound(
                "This token is unknown, was used or has expired.",
                hint=f"A new one can be had from the API; it is good for {CONNECT_MINUTES} minutes.",
            )
        detail = {"provider": found.provider, "account": found.account}
        await self._audit.note(Action.CONNECTED, target=found.user_id, detail=detail)
        return found

    # ---- OAuth

    async def add_provider(self, new: NewProvider) -> OAuthProvider:
        """Raises InvalidInput naming every fault, and Conflict when the name is taken."""
        _check(new)
        added = await self._store.add_oauth_provider(
            OAuthProvider(
                id=0,  # the store gives it one
                name=new.name,
                issuer=new.issuer,
                authorization_endpoint=new.authorization_endpoint,
                token_endpoint=new.token_endpoint,
                default_scopes=new.default_scopes,
                is_mcp=new.is_mcp,
                meta=new.meta,
                date_created=self._clock.now(),
            )
        )
        await self._audit.note(Action.PROVIDER_ADDED, target=added.name, detail={"issuer": added.issuer})
        return added

    async def providers(self, *, is_mcp: bool | None = None) -> Sequence[OAuthProvider]:
        """By their ids; None: of both kinds."""
        return await self._store.oauth_providers(is_mcp=is_mcp)

    async def remove_provider(self, name: str) -> None:
        """With all tokens of it. Raises NotFound."""
        await self._store.remove_oauth_provider(name)
        await self._audit.note(Action.PROVIDER_REMOVED, target=name)

    async def put_token(self, principal: Principal, provider: str, token: str) -> None:
        """In the place of the one that the caller may have with it. Raises InvalidInput, NotFound, Forbidden."""
        require(principal, Permission.READ)
        if not 0 < len(token) <= MAX_OAUTH_TOKEN:
            raise InvalidInput({"token": [f"Must be 1 to {MAX_OAUTH_TOKEN:,} characters."]})
        found, uuid = await self._provider(provider), self._new_uuid()
        sealed = self._vault.seal(token, organization=principal.organization_uuid, table=TABLE, row=str(uuid))
        await self._store.add_oauth_token(
            uuid, principal.organization_id, principal.user_id, found.id, sealed, self._clock.now()
        )
        await self._audit.note(Action.OAUTH_TOKEN_SET, principal=principal, target=provider)

    async def connected(self, principal: Principal) -> Sequence[str]:
        """Names of the providers that the caller has a token with, sorted. Raises Forbidden."""
        require(principal, Permission.READ)
        return await self._store.connected_providers(principal.organization_id, principal.user_id)

    async def revoke(self, principal: Principal, provider: str) -> int:
        """Erases what the caller has with it; how many were active. Raises NotFound for an unknown provider,
        Forbidden."""
        require(principal, Permission.READ)
        await self._provider(provider)
        count = await self._store.revoke_oauth_tokens(
            principal.organization_id, principal.user_id, provider, self._clock.now()
        )
        await self._audit.note(
            Action.OAUTH_TOKEN_REVOKED, principal=principal, target=provider, detail={"count": count}
        )
        return count

    # ---- all of it

    async def integrations(self, principal: Principal) -> Sequence[Integration]:
        """What the organization has, then what it could have had elsewhere. Raises Forbidden."""
        require(principal, Permission.READ)
        return await integrations_of(self._store, principal.organization_id)

    async def _provider(self, name: str) -> OAuthProvider:
        for found in await self._store.oauth_providers():
            if found.name == name:
                return found
        raise NotFound(f"There is no OAuth provider {name}.")


_PROVIDER_FAULT = (
    f"Must be 1 to {MAX_PROVIDER} letters, digits, spaces, '.', '_' and '-', and begin with one of the first."
)


def _is_provider(name: str) -> bool:
    return len(name) <= MAX_PROVIDER and _PROVIDER.fullmatch(name) is not None and name == name.rstrip()


def _check(new: NewProvider) -> None:
    faults: dict[str, list[str]] = {} if _is_provider(new.name) else {"name": [_PROVIDER_FAULT]}
    addresses: Mapping[str, str] = {
        "issuer": new.issuer,
        "authorization_endpoint": new.authorization_endpoint,
        "token_endpoint": new.token_endpoint,
    }
    for field, address in addresses.items():
        if len(address) > MAX_ENDPOINT or not _is_address(address):
            faults[field] = [f"Must be an http or https address of at most {MAX_ENDPOINT:,} characters."]
    scopes = new.default_scopes or ()
    if len(scopes) > MAX_SCOPES or any(not scope or not scope.isprintable() or " " in scope for scope in scopes):
        faults["default_scopes"] = [f"Must be at most {MAX_SCOPES} words."]
    if not _is_json(new.meta):
        faults["meta"] = [f"Must be JSON of at most {MAX_META_BYTES:,} bytes."]
    if faults:
        raise InvalidInput(faults, "The OAuth provider cannot be added.")


def _is_json(meta: JsonObject | None) -> bool:
    try:
        return len(json.dumps(meta, allow_nan=False)) <= MAX_META_BYTES
    except (ValueError, RecursionError):
        return False


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and text.isprintable() and " " not in text
