"""Renewals of licenses: who shows a refresh token, and what it was used up for."""

from datetime import datetime, timedelta

from sqlalchemy import and_, bindparam, delete, null, or_, select
from sqlalchemy.dialects.postgresql import insert as insert_or  # SQLite's dialect writes its ON CONFLICT the same way

from treadle.ports.renewals import Renewal
from treadle.store.prepared import Prepared
from treadle.store.session import Executor, Session
from treadle.store.tables import license_renewals
from treadle.store.values import micros

_token, _holder, _ends, _follows = (license_renewals.c[name] for name in ("token", "holder", "date_ends", "follows"))
_OF = _token == bindparam("of", type_=_token.type)
_IS_HELD = _holder == bindparam("by", type_=_holder.type)

_insert = insert_or(license_renewals).values(
    token=bindparam("of", type_=_token.type),
    holder=bindparam("by", type_=_holder.type),
    date_ends=bindparam("until", type_=_ends.type),
    follows=null(),
)
_CLAIM = Prepared(
    _insert.on_conflict_do_update(
        index_elements=[_token],
        set_={"holder": _insert.excluded.holder, "date_ends": _insert.excluded.date_ends, "follows": null()},
        where=or_(
            and_(_follows.is_(null()), _ends <= bindparam("now", type_=_ends.type)),
            _follows == bindparam("instead", type_=_follows.type),
        ),
    )
)
_ONE = Prepared(select(_holder, _follows).where(_OF))
_told = insert_or(license_renewals).values(
    token=bindparam("of", type_=_token.type),
    holder=bindparam("by", type_=_holder.type),
    date_ends=bindparam("now", type_=_ends.type),
    follows=bindparam("then", type_=_follows.type),
)
_FINISH = Prepared(
    _told.on_conflict_do_update(
        index_elements=[_token],
        set_={"date_ends": _told.excluded.date_ends, "follows": _told.excluded.follows},
        where=or_(_IS_HELD, _follows.is_(null())),
    )
)
_DROP = Prepared(delete(license_renewals).where(_OF, _IS_HELD, _follows.is_(null())))
_PRUNE = Prepared(delete(license_renewals).where(_ends < bindparam("before", type_=_ends.type)))


class Renewals:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def claim_renewal(
        self, token: str, holder: str, now: datetime, *, seconds: float, instead_of: str | None = None
    ) -> Renewal:
        lasts = timedelta(seconds=seconds) // timedelta(microseconds=1)

        def work(session: Session) -> Renewal:
            clock = _clock(session, now)
            session.run(_CLAIM, of=token, by=holder, until=clock + lasts, now=clock, instead=instead_of)
            row = session.one(_ONE, of=token)
            return Renewal(False) if row is None else Renewal(row[0] == holder and row[1] is None, row[1])

        return await self._executor.write(work, again=work)

    async def renewal(self, token: str) -> str | None:
        row = await self._executor.glance(lambda session: session.one(_ONE, of=token))
        return None if row is None else row[1]

    async def finish_renewal(self, token: str, holder: str, follows: str, now: datetime) -> None:
        def work(session: Session) -> None:
            session.run(_FINISH, of=token, by=holder, then=follows, now=_clock(session, now))

        await self._executor.write(work, again=work)

    async def drop_renewal(self, token: str, holder: str) -> None:
        def work(session: Session) -> None:
            session.run(_DROP, of=token, by=holder)

        await self._executor.write(work, again=work)

    async def prune_renewals(self, before: datetime) -> int:
        return await self._executor.write(lambda session: session.run(_PRUNE, before=micros(before)))


def _clock(session: Session, now: datetime) -> int:
    server = session.time()
    return micros(now) if server is None else server
