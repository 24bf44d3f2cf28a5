"""Links to one run, to read without signing in: by the SHA-256 of the token in their address."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import bindparam, select, update

from treadle.domain.errors import Conflict, NotFound
from treadle.ports.page import ShareLink
from treadle.store.prepared import Prepared, Row, insert_into
from treadle.store.session import Dangling, Executor, Session, Taken
from treadle.store.tables import share_links
from treadle.store.values import date_of, micros

_COLUMNS = (
    share_links.c.id, share_links.c.run_id, share_links.c.user_id, share_links.c.date_created,
    share_links.c.date_expires,
)  # fmt: skip
_GIVEN = ("digest", "run_id", "user_id", "date_created", "date_expires")
_ADD = Prepared(insert_into(share_links, *_GIVEN).returning(*_COLUMNS))
_is_that_one = share_links.c.digest == bindparam("hash")
_ADDED = Prepared(select(*_COLUMNS).where(_is_that_one))
_that_count = select(*_COLUMNS).where(
    share_links.c.date_revoked.is_(None), share_links.c.date_expires > bindparam("now")
)
BY_DIGEST = Prepared(_that_count.where(_is_that_one))
OF_RUN = Prepared(_that_count.where(share_links.c.run_id == bindparam("run")).order_by(share_links.c.id.desc()))
_is_row = (share_links.c.id == bindparam("row")) & (share_links.c.run_id == bindparam("run"))
_REVOKE = Prepared(
    update(share_links)
    .where(_is_row, share_links.c.date_revoked.is_(None))
    .values(date_revoked=bindparam("now", type_=share_links.c.date_revoked.type))
)
_REVOKED = Prepared(select(share_links.c.id).where(_is_row, share_links.c.date_revoked == bindparam("now")))


class ShareLinks:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def add_share_link(
        self, digest: str, run_id: int, user_id: int, now: datetime, expires: datetime
    ) -> ShareLink:
        """Conflict, NotFound."""

        def work(session: Session) -> ShareLink:
            rows = session.all(
                _ADD,
                digest=digest,
                run_id=run_id,
                user_id=user_id,
                date_created=micros(now),
                date_expires=micros(expires),
            )
            return _link_of(rows[0])

        def again(session: Session) -> ShareLink:
            row = session.one(_ADDED, hash=digest)
            made = None if row is None else _link_of(row)
            is_ours = made is not None and (made.run_id, made.user_id, made.date_created) == (run_id, user_id, now)
            return made if made is not None and is_ours else work(session)

        try:
            return await self._executor.write(work, again=again)
        except Taken as error:
            raise Conflict("This link exists already.") from error
        except Dangling as error:
            raise NotFound(f"There is no run {run_id} or no user {user_id}.") from error

    async def share_link(self, digest: str, now: datetime) -> ShareLink | None:
        row = await self._executor.glance(lambda session: session.one(BY_DIGEST, hash=digest, now=micros(now)))
        return None if row is None else _link_of(row)

    async def share_links(self, run_id: int, now: datetime) -> Sequence[ShareLink]:
        rows = await self._executor.read(lambda session: session.all(OF_RUN, run=run_id, now=micros(now)))
        return tuple(map(_link_of, rows))

    async def revoke_share_link(self, link_id: int, run_id: int, now: datetime) -> bool:
        values = {"row": link_id, "run": run_id, "now": micros(now)}

        def work(session: Session) -> bool:
            return session.run(_REVOKE, **values) > 0

        def again(session: Session) -> bool:
            return work(session) or session.one(_REVOKED, **values) is not None

        return await self._executor.write(work, again=again)


def _link_of(row: Row) -> ShareLink:
    id_, run_id, user_id, created, expires = row
    return ShareLink(id_, run_id, user_id, date_of(created), date_of(expires))
