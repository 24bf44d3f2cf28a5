"""Issuers of OAuth tokens, and the sealed tokens that users have with them."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, delete, func, null, select, update

from treadle.domain.errors import Conflict, NotFound
from treadle.domain.identity import OAuthProvider
from treadle.store.prepared import Prepared, Row, insert_into
from treadle.store.session import Dangling, Executor, Session, Taken
from treadle.store.tables import oauth_providers, oauth_tokens
from treadle.store.values import date_of, json_of, micros, plain

_ADD = Prepared(insert_into(oauth_providers).returning(oauth_providers.c.id))
_ALL = Prepared(select(*oauth_providers.columns).order_by(oauth_providers.c.id))
_LOCKED = Prepared(select(oauth_providers.c.id).where(oauth_providers.c.name == bindparam("called")).with_for_update())
_REMOVE = Prepared(delete(oauth_providers).where(oauth_providers.c.id == bindparam("provider")))
_REMOVE_TOKENS = Prepared(delete(oauth_tokens).where(oauth_tokens.c.provider_id == bindparam("provider")))

# First the provider, then its tokens, as whoever removes it does: in another order each would wait for the other.
_SHARED = Prepared(
    select(oauth_providers.c.id)
    .where(oauth_providers.c.id == bindparam("that"))
    .with_for_update(key_share=True, read=True)
)
_ADD_TOKEN = Prepared(
    insert_into(
        oauth_tokens, "uuid", "organization_id", "user_id", "provider_id", "sealed", "date_created", date_revoked=null()
    )
)
_TOKEN = Prepared(select(oauth_tokens.c.id).where(oauth_tokens.c.uuid == bindparam("that")))
_in_organization = oauth_tokens.c.organization_id == bindparam("organization")
_of_user = oauth_tokens.c.user_id == bindparam("user")
_is_active = oauth_tokens.c.date_revoked.is_(null())
_revoke = update(oauth_tokens).values(
    sealed=null(), date_revoked=bindparam("now", type_=oauth_tokens.c.date_revoked.type)
)
_of_both = (_in_organization, _of_user, oauth_tokens.c.provider_id == bindparam("provider"))
_REPLACE = Prepared(_revoke.where(*_of_both, _is_active))
_named = select(oauth_providers.c.id).where(oauth_providers.c.name == bindparam("called")).scalar_subquery()
_REVOKE = Prepared(_revoke.where(_in_organization, _of_user, oauth_tokens.c.provider_id == _named, _is_active))
_REVOKED = Prepared(
    select(func.count())
    .select_from(oauth_tokens)
    .where(
        _in_organization,
        _of_user,
        oauth_tokens.c.provider_id == _named,
        oauth_tokens.c.date_revoked == bindparam("now"),
    )
)
_connected = (
    select(oauth_providers.c.name)
    .distinct()
    .join_from(oauth_tokens, oauth_providers)
    .where(_in_organization, _is_active)
)
_CONNECTED = Prepared(_connected)
_CONNECTED_BY_USER = Prepared(_connected.where(_of_user))


class OAuth:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def add_oauth_provider(self, provider: OAuthProvider) -> OAuthProvider:
        scopes, meta = provider.default_scopes, provider.meta
        try:
            rows = await self._executor.write(
                lambda session: session.all(
                    _ADD,
                    name=plain(provider.name),
                    issuer=plain(provider.issuer),
                    authorization_endpoint=plain(provider.authorization_endpoint),
                    token_endpoint=plain(provider.token_endpoint),
                    default_scopes=None if scopes is None else json_of(list(scopes)),
                    is_mcp=provider.is_mcp,
                    meta=None if meta is None else json_of(meta),
                    date_created=micros(provider.date_created),
                )
            )
        except Taken as error:
            raise Conflict(f"There is an OAuth provider {provider.name} already.") from error
        return replace(provider, id=rows[0][0])

    async def oauth_providers(self, *, is_mcp: bool | None = None) -> Sequence[OAuthProvider]:
        found = map(_provider_of, await self._executor.read(lambda session: session.all(_ALL)))
        return tuple(one for one in found if is_mcp in {None, one.is_mcp})

    async def remove_oauth_provider(self, name: str) -> None:
        def work(session: Session) -> bool:
            # Locked, so that nobody gets another token of it meanwhile.
            row = session.one(_LOCKED, called=plain(name))
            if row is None:
                return False
            session.run(_REMOVE_TOKENS, provider=row[0])
            session.run(_REMOVE, provider=row[0])
            return True

        def again(session: Session) -> bool:
            """What is not there any more has been removed."""
            work(session)
            return True

        if not await self._executor.write(work, again=again):
            raise NotFound(f"There is no OAuth provider {name}.")

    async def add_oauth_token(
        self, uuid: UUID, organization_id: int, user_id: int, provider_id: int, sealed: str, now: datetime
    ) -> None:
        def work(session: Session) -> None:
            whose = {"organization": organization_id, "user": user_id, "provider": provider_id}
            if session.one(_SHARED, that=provider_id) is None:
                raise Dangling
            session.run(_REPLACE, now=micros(now), **whose)
            session.run(
                _ADD_TOKEN,
                uuid=str(uuid),
                organization_id=organization_id,
                user_id=user_id,
                provider_id=provider_id,
                sealed=sealed,
                date_created=micros(now),
            )

        def again(session: Session) -> None:
            if session.one(_TOKEN, that=str(uuid)) is None:
                work(session)

        try:
            await self._executor.write(work, again=again)
        except Taken as error:
            raise Conflict(f"There is an OAuth token {uuid} already.") from error
        except Dangling as error:
            raise NotFound("The token's organization, user or provider does not exist.") from error

    async def connected_providers(self, organization_id: int, user_id: int | None) -> Sequence[str]:
        statement = _CONNECTED if user_id is None else _CONNECTED_BY_USER
        rows = await self._executor.read(
            lambda session: session.all(statement, organization=organization_id, user=user_id)
        )
        return tuple(sorted(row[0] for row in rows))

    async def revoke_oauth_tokens(self, organization_id: int, user_id: int, provider: str, now: datetime) -> int:
        values = {"organization": organization_id, "user": user_id, "called": plain(provider), "now": micros(now)}

        def work(session: Session) -> int:
            return session.run(_REVOKE, **values)

        def again(session: Session) -> int:
            """Counts those that may have been revoked the first time, too."""
            work(session)
            return int(session.all(_REVOKED, **values)[0][0])

        return await self._executor.write(work, again=again)


def _provider_of(row: Row) -> OAuthProvider:
    id_, name, issuer, authorization_endpoint, token_endpoint, scopes, is_mcp, meta, created = row
    return OAuthProvider(
        id_,
        name,
        issuer,
        authorization_endpoint,
        token_endpoint,
        None if scopes is None else tuple(json.loads(scopes)),
        bool(is_mcp),
        None if meta is None else json.loads(meta),
        date_of(created),
    )
