"""Accounts elsewhere of users here, and the tokens that connect them: each is good for one use, by its hash."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import bindparam, delete, select, update

from treadle.domain.errors import Conflict, NotFound
from treadle.ports.directory import Connection
from treadle.store.prepared import Prepared, Row, in_portion, insert_into, put_into
from treadle.store.session import Dangling, Executor, Session, Taken
from treadle.store.tables import connect_tokens, connections
from treadle.store.values import date_of, micros, plain

#: Expired tokens that a new one takes away with it, at most.
PORTION = 100

_ADD = Prepared(insert_into(connect_tokens, "digest", "organization_id", "user_id", "date_expires"))
_expired = (
    select(connect_tokens.c.digest)
    .where(connect_tokens.c.date_expires <= bindparam("now"))
    .order_by(connect_tokens.c.date_expires)
    .limit(PORTION)
    .with_for_update(skip_locked=True)
)
_FORGET = Prepared(delete(connect_tokens).where(in_portion(connect_tokens.c.digest, _expired)))
_is_that_one = connect_tokens.c.digest == bindparam("hash")
_USE = Prepared(
    update(connect_tokens)
    .where(_is_that_one, connect_tokens.c.date_used.is_(None), connect_tokens.c.date_expires > bindparam("now"))
    .values(date_used=bindparam("now", type_=connect_tokens.c.date_used.type))
    .returning(connect_tokens.c.organization_id, connect_tokens.c.user_id)
)
_USED = Prepared(
    select(connections.c.user_id)
    .join_from(connections, connect_tokens, connections.c.organization_id == connect_tokens.c.organization_id)
    .where(
        _is_that_one,
        connect_tokens.c.date_used == bindparam("now"),
        connections.c.user_id == connect_tokens.c.user_id,
        connections.c.provider == bindparam("of"),
        connections.c.account == bindparam("who"),
        connections.c.date_created == bindparam("now"),
    )
)
_CONNECT = put_into(connections)
_ALL = Prepared(
    select(connections.c.provider, connections.c.account, connections.c.user_id, connections.c.date_created)
    .where(connections.c.organization_id == bindparam("organization"))
    .order_by(connections.c.date_created, connections.c.provider, connections.c.account)
)


class Connections:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def add_connect_token(
        self, digest: str, organization_id: int, user_id: int, now: datetime, expires: datetime
    ) -> None:
        def work(session: Session) -> None:
            session.run(_FORGET, now=micros(now))
            session.run(
                _ADD, digest=digest, organization_id=organization_id, user_id=user_id, date_expires=micros(expires)
            )

        try:
            await self._executor.write(work)
        except Taken as error:
            raise Conflict("This token exists already.") from error
        except Dangling as error:
            raise NotFound(f"There is no organization {organization_id} or no user {user_id}.") from error

    async def use_connect_token(self, digest: str, provider: str, account: str, now: datetime) -> Connection | None:
        provider, account = plain(provider), plain(account)

        def work(session: Session) -> Connection | None:
            row = session.one(_USE, hash=digest, now=micros(now))
            if row is None:
                return None
            session.run(
                _CONNECT,
                organization_id=row[0],
                provider=provider,
                account=account,
                user_id=row[1],
                date_created=micros(now),
            )
            return Connection(provider, account, row[1], now)

        def again(session: Session) -> Connection | None:
            row = session.one(_USED, hash=digest, of=provider, who=account, now=micros(now))
            return work(session) if row is None else Connection(provider, account, row[0], now)

        return await self._executor.write(work, again=again)

    async def connections(self, organization_id: int) -> Sequence[Connection]:
        rows = await self._executor.read(lambda session: session.all(_ALL, organization=organization_id))
        return tuple(_connection_of(row) for row in rows)


def _connection_of(row: Row) -> Connection:
    provider, account, user_id, created = row
    return Connection(provider, account, user_id, date_of(created))
