"""API keys, by their digests, whom they speak for, and the keys that sign tokens."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, bindparam, or_, select, update

from treadle.domain.errors import Conflict, NotFound
from treadle.domain.identity import ApiKey, Principal, Role
from treadle.ports.trust import TokenHolder
from treadle.store.prepared import Prepared, Row, insert_into
from treadle.store.session import Dangling, Executor, Session, Taken
from treadle.store.tables import api_keys, memberships, organizations, secrets, signing_keys, users
from treadle.store.values import date_of, micros, optional_date, plain, shared_uuid

_KEY_COLUMNS = (
    api_keys.c.id, api_keys.c.organization_id, api_keys.c.user_id, api_keys.c.name, api_keys.c.prefix,
    api_keys.c.date_created, api_keys.c.date_expires, api_keys.c.date_revoked, api_keys.c.reaches_all,
)  # fmt: skip
_GIVEN = ("organization_id", "user_id", "name", "prefix", "digest", "date_created", "date_expires", "reaches_all")
ADD = Prepared(insert_into(api_keys, *_GIVEN).returning(*_KEY_COLUMNS))
_KEYS = Prepared(
    select(*_KEY_COLUMNS).where(api_keys.c.organization_id == bindparam("organization")).order_by(api_keys.c.id)
)
_BY_DIGEST = Prepared(select(*_KEY_COLUMNS).where(api_keys.c.digest == bindparam("made")))
_BY_ID = Prepared(select(*_KEY_COLUMNS).where(api_keys.c.id == bindparam("key")))
_REVOKE = Prepared(
    update(api_keys)
    .where(api_keys.c.id == bindparam("key"), api_keys.c.date_revoked.is_(None))
    .values(date_revoked=bindparam("now", type_=api_keys.c.date_revoked.type))
)

PRINCIPAL = (
    organizations.c.id, organizations.c.uuid, users.c.id, users.c.uuid, users.c.email, users.c.name, memberships.c.role,
)  # fmt: skip


def _is_member() -> ColumnElement[bool]:
    return (memberships.c.organization_id == organizations.c.id) & (memberships.c.user_id == users.c.id)


# A key outlives its user's membership; then it speaks for somebody without a role.
_BY_KEY = Prepared(
    select(*PRINCIPAL, api_keys.c.reaches_all, api_keys.c.id)
    .select_from(
        api_keys.join(organizations, organizations.c.id == api_keys.c.organization_id)
        .join(users, users.c.id == api_keys.c.user_id)
        .outerjoin(memberships, _is_member())
    )
    .where(
        api_keys.c.digest == bindparam("digest"),
        api_keys.c.date_revoked.is_(None),
        or_(api_keys.c.date_expires.is_(None), api_keys.c.date_expires > bindparam("now")),
    )
)
_BY_UUIDS = Prepared(
    select(*PRINCIPAL)
    .select_from(organizations.join(users, users.c.uuid == bindparam("user")).join(memberships, _is_member()))
    .where(organizations.c.uuid == bindparam("organization"))
)
# With the key that a token was given for, where it says which: it must be the same user's.
_BY_TOKEN = Prepared(
    select(*PRINCIPAL, users.c.date_tokens_void, api_keys.c.id)
    .select_from(
        organizations.join(users, users.c.uuid == bindparam("user"))
        .join(memberships, _is_member())
        .outerjoin(
            api_keys,
            (api_keys.c.id == bindparam("key"))
            & (api_keys.c.user_id == users.c.id)
            & api_keys.c.date_revoked.is_(None)
            & or_(api_keys.c.date_expires.is_(None), api_keys.c.date_expires > bindparam("now")),
        )
    )
    .where(organizations.c.uuid == bindparam("organization"))
)
_VOID = Prepared(
    update(users)
    .where(users.c.id == bindparam("user"))
    .values(date_tokens_void=bindparam("now", type_=users.c.date_tokens_void.type))
)
_BY_IDS = Prepared(
    select(*PRINCIPAL)
    .select_from(organizations.join(users, users.c.id == bindparam("user")).join(memberships, _is_member()))
    .where(organizations.c.id == bindparam("organization"))
)

_ADD_SIGNING_KEY = Prepared(insert_into(signing_keys))
_NEWEST_SECRET = Prepared(select(secrets.c.sealed).order_by(secrets.c.date_updated.desc()).limit(1))
_NEWEST_SIGNING_KEY = Prepared(select(signing_keys.c.sealed).order_by(signing_keys.c.id.desc()).limit(1))
_SIGNING_KEYS = Prepared(
    select(signing_keys.c.key_id, signing_keys.c.sealed).order_by(
        signing_keys.c.date_created.desc(), signing_keys.c.id.desc()
    )
)


class Keys:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def add_api_key(
        self,
        organization_id: int,
        user_id: int,
        *,
        name: str,
        prefix: str,
        digest: str,
        now: datetime,
        expires: datetime | None,
        reaches_all: bool = False,
    ) -> ApiKey:
        def work(session: Session) -> ApiKey:
            rows = session.all(
                ADD,
                organization_id=organization_id,
                user_id=user_id,
                name=plain(name),
                prefix=plain(prefix),
                digest=digest,
                date_created=micros(now),
                date_expires=micros(expires),
                reaches_all=reaches_all,
            )
            return _key_of(rows[0])

        def again(session: Session) -> ApiKey:
            row = session.one(_BY_DIGEST, made=digest)
            made = None if row is None else _key_of(row)
            is_ours = made is not None and (made.user_id, made.date_created) == (user_id, now)
            return made if made is not None and is_ours else work(session)

        try:
            return await self._executor.write(work, again=again)
        except Taken as error:
            raise Conflict("This API key exists already.") from error
        except Dangling as error:
            raise NotFound(f"There is no organization {organization_id} or no user {user_id}.") from error

    async def api_keys(self, organization_id: int) -> Sequence[ApiKey]:
        rows = await self._executor.read(lambda session: session.all(_KEYS, organization=organization_id))
        return tuple(_key_of(row) for row in rows)

    async def revoke_api_key(self, key_id: int, now: datetime) -> None:
        """Once revoked it stays so, with its first date. Raises NotFound."""

        def work(session: Session) -> None:
            if not session.run(_REVOKE, key=key_id, now=micros(now)) and session.one(_BY_ID, key=key_id) is None:
                raise NotFound(f"There is no API key {key_id}.")

        await self._executor.write(work, again=work)

    async def api_key(self, key_id: int) -> ApiKey:
        row = await self._executor.glance(lambda session: session.one(_BY_ID, key=key_id))
        if row is None:
            raise NotFound(f"There is no API key {key_id}.")
        return _key_of(row)

    async def principal_by_key(self, digest: str, now: datetime) -> Principal | None:
        row = await self._executor.glance(lambda session: session.one(_BY_KEY, digest=digest, now=micros(now)))
        if row is None:
            return None
        *who, reaches_all, key_id = row
        return principal_of(tuple(who), reaches_all=bool(reaches_all), key_id=key_id)

    async def principal_by_uuids(self, organization: UUID, user: UUID) -> Principal | None:
        row = await self._executor.glance(
            lambda session: session.one(_BY_UUIDS, organization=str(organization), user=str(user))
        )
        return None if row is None else principal_of(row)

    async def token_holder(
        self, organization: UUID, user: UUID, key_id: int | None, now: datetime
    ) -> TokenHolder | None:
        row = await self._executor.glance(
            lambda session: session.one(
                _BY_TOKEN, organization=str(organization), user=str(user), key=key_id, now=micros(now)
            )
        )
        if row is None:
            return None
        *who, voided, found_key = row
        return TokenHolder(
            principal_of(tuple(who), key_id=key_id), optional_date(voided), key_id is None or found_key is not None
        )

    async def void_tokens(self, user_id: int, now: datetime) -> None:
        def work(session: Session) -> None:
            if not session.run(_VOID, user=user_id, now=micros(now)):
                raise NotFound(f"There is no user {user_id}.")

        await self._executor.write(work, again=work)

    async def principal_in(self, organization_id: int, user_id: int) -> Principal | None:
        row = await self._executor.glance(
            lambda session: session.one(_BY_IDS, organization=organization_id, user=user_id)
        )
        return None if row is None else principal_of(row)

    async def signing_keys(self) -> Sequence[tuple[str, str]]:
        rows = await self._executor.read(lambda session: session.all(_SIGNING_KEYS))
        return tuple((key_id, sealed) for key_id, sealed in rows)

    async def newest_sealed(self) -> str | None:
        def look(session: Session) -> str | None:
            row = session.one(_NEWEST_SECRET) or session.one(_NEWEST_SIGNING_KEY)
            return None if row is None else row[0]

        return await self._executor.read(look)

    async def add_signing_key(self, key_id: str, sealed: str, now: datetime) -> None:
        try:
            await self._executor.write(
                lambda session: session.run(_ADD_SIGNING_KEY, key_id=key_id, sealed=sealed, date_created=micros(now))
            )
        except Taken as error:
            raise Conflict(f"There is a signing key {key_id} already.") from error


def _key_of(row: Row) -> ApiKey:
    id_, organization_id, user_id, name, prefix, created, expires, revoked, reaches_all = row
    return ApiKey(
        id_,
        organization_id,
        user_id,
        name,
        prefix,
        date_of(created),
        optional_date(expires),
        optional_date(revoked),
        bool(reaches_all),
    )


def principal_of(row: Row, *, reaches_all: bool = False, key_id: int | None = None) -> Principal:
    organization_id, organization_uuid, user_id, user_uuid, email, name, role = row
    return Principal(
        organization_id,
        shared_uuid(organization_uuid),
        user_id,
        shared_uuid(user_uuid),
        email,
        name,
        None if role is None else Role(role),
        reaches_all,
        key_id,
    )
