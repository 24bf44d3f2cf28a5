"""Who is signed in at the page, by the SHA-256 of their tokens; passwords; users as other services know them."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, bindparam, delete, exists, or_, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or  # SQLite's dialect writes its ON CONFLICT the same way

from treadle.domain.errors import Conflict, NotFound, Unavailable
from treadle.domain.identity import Principal
from treadle.ports.page import PageSession
from treadle.store.keys import PRINCIPAL, principal_of
from treadle.store.organizations import folded
from treadle.store.prepared import Prepared, Row, in_portion, insert_into
from treadle.store.session import Dangling, Executor, Session, Taken
from treadle.store.tables import api_keys, identities, memberships, organizations, page_sessions, users
from treadle.store.values import date_of, micros, optional_date, plain

#: That it was seen is written down this often at most: a page that is open asks all the time.
SEEN = timedelta(minutes=1)
#: Sessions that one transaction forgets at most.
PORTION = 500

_GIVEN = (
    "digest", "organization_id", "user_id", "api_key_id", "agent", "date_created", "date_seen", "date_expires",
)  # fmt: skip
_ADD = Prepared(insert_into(page_sessions, *_GIVEN))
_KEY = Prepared(select(api_keys.c.id).where(api_keys.c.digest == bindparam("made")))
_is_that_one = page_sessions.c.digest == bindparam("hash")
_ADDED = Prepared(select(page_sessions.c.user_id, page_sessions.c.date_created).where(_is_that_one))


def _is_member() -> ColumnElement[bool]:
    return (memberships.c.organization_id == page_sessions.c.organization_id) & (
        memberships.c.user_id == page_sessions.c.user_id
    )


_COLUMNS = (
    page_sessions.c.id, page_sessions.c.agent, page_sessions.c.date_created, page_sessions.c.date_seen,
    page_sessions.c.date_expires, page_sessions.c.api_key_id, api_keys.c.reaches_all, api_keys.c.date_expires,
    *PRINCIPAL,
)  # fmt: skip
_now: ColumnElement[int] = bindparam("now")
_that_count = (
    select(*_COLUMNS)
    .select_from(
        page_sessions.join(organizations, organizations.c.id == page_sessions.c.organization_id)
        .join(users, users.c.id == page_sessions.c.user_id)
        .join(memberships, _is_member())
        .outerjoin(api_keys, api_keys.c.id == page_sessions.c.api_key_id)
    )
    .where(
        page_sessions.c.date_revoked.is_(None),
        page_sessions.c.date_expires > _now,
        page_sessions.c.date_seen > bindparam("seen_since"),
        api_keys.c.date_revoked.is_(None),
        or_(api_keys.c.date_expires.is_(None), api_keys.c.date_expires > _now),
    )
)
BY_DIGEST = Prepared(_that_count.where(_is_that_one))
OF_USER = Prepared(
    _that_count.where(page_sessions.c.user_id == bindparam("user")).order_by(
        page_sessions.c.date_seen.desc(), page_sessions.c.id.desc()
    )
)
_SEEN = Prepared(
    update(page_sessions)
    .where(page_sessions.c.id == bindparam("row"), page_sessions.c.date_seen < _now)
    .values(date_seen=bindparam("now", type_=page_sessions.c.date_seen.type))
)
_SWITCH = Prepared(
    update(page_sessions)
    .where(
        _is_that_one,
        page_sessions.c.date_revoked.is_(None),
        exists().where(
            memberships.c.organization_id == bindparam("organization"),
            memberships.c.user_id == page_sessions.c.user_id,
        ),
        or_(
            page_sessions.c.api_key_id.is_(None),
            exists().where(
                api_keys.c.id == page_sessions.c.api_key_id,
                or_(api_keys.c.reaches_all, api_keys.c.organization_id == bindparam("organization")),
            ),
        ),
    )
    .values(organization_id=bindparam("organization", type_=page_sessions.c.organization_id.type))
)
_of_user = page_sessions.c.user_id == bindparam("user")
_is_row = page_sessions.c.id == bindparam("row")
_revoke = (
    update(page_sessions)
    .where(_of_user, page_sessions.c.date_revoked.is_(None))
    .values(date_revoked=bindparam("now", type_=page_sessions.c.date_revoked.type))
)
_revoked = select(page_sessions.c.id).where(_of_user, page_sessions.c.date_revoked == _now)
_REVOKE, REVOKE_ALL = Prepared(_revoke.where(_is_row)), Prepared(_revoke)
_REVOKED, _REVOKED_ALL = Prepared(_revoked.where(_is_row)), Prepared(_revoked)
_ended = (
    select(page_sessions.c.id)
    .where(page_sessions.c.date_expires <= bindparam("before"))
    .order_by(page_sessions.c.date_expires)
    .limit(PORTION)
    .with_for_update(skip_locked=True)
)
FORGET = Prepared(delete(page_sessions).where(in_portion(page_sessions.c.id, _ended)))

PASSWORD = Prepared(select(users.c.id, users.c.password).where(users.c.email_folded == bindparam("folded")))
_SET_PASSWORD = Prepared(
    update(users)
    .where(users.c.id == bindparam("user"))
    .values(password=bindparam("hashed", type_=users.c.password.type))
)
IDENTITY = Prepared(
    select(identities.c.user_id).where(
        identities.c.issuer == bindparam("by"), identities.c.subject == bindparam("called")
    )
)
_ADD_IDENTITY = Prepared(
    insert_or(identities)
    .values({column.name: bindparam(column.name, type_=column.type) for column in identities.columns})
    .on_conflict_do_nothing(index_elements=[*identities.primary_key])
)


class PageSessions:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

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
        def work(session: Session) -> None:
            key = None if api_key_digest is None else session.one(_KEY, made=api_key_digest)
            if api_key_digest is not None and key is None:
                raise NotFound("There is no such API key.")
            session.run(
                _ADD,
                digest=digest,
                organization_id=principal.organization_id,
                user_id=principal.user_id,
                api_key_id=None if key is None else key[0],
                agent=plain(agent),
                date_created=micros(now),
                date_seen=micros(now),
                date_expires=micros(expires),
            )

        def again(session: Session) -> None:
            if session.one(_ADDED, hash=digest) != (principal.user_id, micros(now)):
                work(session)

        try:
            await self._executor.write(work, again=again)
        except Taken as error:
            raise Conflict("This session exists already.") from error
        except Dangling as error:
            raise NotFound("The session's organization or user does not exist.") from error

    async def session(self, digest: str, now: datetime, *, seen_since: datetime) -> PageSession | None:
        row = await self._executor.glance(
            lambda session: session.one(BY_DIGEST, hash=digest, now=micros(now), seen_since=micros(seen_since))
        )
        if row is None:
            return None
        found = _session_of(row)
        if found.date_seen <= now - SEEN:

            def work(session: Session) -> int:
                return session.run(_SEEN, row=found.id, now=micros(now))

            with suppress(Unavailable):  # whoever only looks needs no database that can be written to
                await self._executor.write(work, again=work)
        return found

    async def sessions_of(self, user_id: int, now: datetime, *, seen_since: datetime) -> Sequence[PageSession]:
        rows = await self._executor.read(
            lambda session: session.all(OF_USER, user=user_id, now=micros(now), seen_since=micros(seen_since))
        )
        return tuple(map(_session_of, rows))

    async def switch_session(self, digest: str, organization_id: int) -> bool:
        def work(session: Session) -> bool:
            return session.run(_SWITCH, hash=digest, organization=organization_id) > 0

        return await self._executor.write(work, again=work)

    async def revoke_session(self, session_id: int, user_id: int, now: datetime) -> bool:
        values = {"row": session_id, "user": user_id, "now": micros(now)}

        def work(session: Session) -> bool:
            return session.run(_REVOKE, **values) > 0

        def again(session: Session) -> bool:
            return work(session) or session.one(_REVOKED, **values) is not None

        return await self._executor.write(work, again=again)

    async def revoke_sessions(self, user_id: int, now: datetime) -> int:
        values = {"user": user_id, "now": micros(now)}

        def work(session: Session) -> int:
            return session.run(REVOKE_ALL, **values)

        def again(session: Session) -> int:
            """Counts those that may have been revoked the first time, too."""
            work(session)
            return len(session.all(_REVOKED_ALL, **values))

        return await self._executor.write(work, again=again)

    async def prune_sessions(self, before: datetime) -> int:
        def work(session: Session) -> int:
            return session.run(FORGET, before=micros(before))

        forgotten = 0
        while True:
            found = await self._executor.write(work, again=work)
            forgotten += found
            if found < PORTION:
                return forgotten

    async def password(self, email: str) -> tuple[int, str] | None:
        row = await self._executor.glance(lambda session: session.one(PASSWORD, folded=folded(email)))
        return None if row is None or row[1] is None else (row[0], row[1])

    async def set_password(self, user_id: int, hashed: str | None) -> None:
        def work(session: Session) -> None:
            if not session.run(_SET_PASSWORD, user=user_id, hashed=hashed):
                raise NotFound(f"There is no user {user_id}.")

        await self._executor.write(work, again=work)

    async def identity(self, issuer: str, subject: str) -> int | None:
        row = await self._executor.glance(
            lambda session: session.one(IDENTITY, by=plain(issuer), called=plain(subject))
        )
        return None if row is None else row[0]

    async def add_identity(self, issuer: str, subject: str, user_id: int, now: datetime) -> None:
        def work(session: Session) -> None:
            session.run(
                _ADD_IDENTITY,
                issuer=plain(issuer),
                subject=plain(subject),
                user_id=user_id,
                date_created=micros(now),
            )
            row = session.one(IDENTITY, by=plain(issuer), called=plain(subject))
            if row is None or row[0] != user_id:
                raise Conflict(f"Another user signs in as {subject} of {issuer}.")

        try:
            await self._executor.write(work, again=work)
        except Dangling as error:
            raise NotFound(f"There is no user {user_id}.") from error


def _session_of(row: Row) -> PageSession:
    id_, agent, created, seen, expires, key_id, reaches_all, key_expires, *principal = row
    # Without a key it is the user who is here, in all of its organizations.
    who = principal_of(tuple(principal), reaches_all=key_id is None or bool(reaches_all))
    return PageSession(
        id_,
        who,
        agent,
        date_of(created),
        date_of(seen),
        date_of(expires),
        key_id is not None,
        optional_date(key_expires),
    )
