"""Sessions of CLIs on people's own machines, and their logs. A log's number is counted up in its session's row, which
that locks: no number is left out or given twice, and for a page there is nothing to count."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy import Integer, bindparam, delete, func, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or  # SQLite's dialect writes its ON CONFLICT the same way

from treadle.domain.errors import Conflict, NotFound, TooLarge
from treadle.domain.events import JsonObject
from treadle.domain.identity import FIRST_LOCAL_SESSION, LocalSession
from treadle.ports.directory import SessionLog
from treadle.store.prepared import Prepared, Row, in_portion, insert_into
from treadle.store.session import Dangling, Executor, Session
from treadle.store.tables import local_session_logs, local_sessions
from treadle.store.values import date_of, json_of, micros, plain

#: Log entries that one transaction removes: others wait for it to write.
PORTION = 500

#: What a column for ids can hold.
_LARGEST = (1 << 63) - 1

_COLUMNS = (
    local_sessions.c.id, local_sessions.c.session_id, local_sessions.c.organization_id, local_sessions.c.user_id,
    local_sessions.c.status, local_sessions.c.date_created, local_sessions.c.date_updated,
)  # fmt: skip

_OPEN = Prepared(
    insert_or(local_sessions)
    .values(
        {
            column.name: bindparam(column.name, type_=column.type)
            for column in local_sessions.columns
            if column.identity is None
        }
    )
    .on_conflict_do_nothing(index_elements=[local_sessions.c.organization_id, local_sessions.c.session_id])
)
_in_organization = select(*_COLUMNS).where(local_sessions.c.organization_id == bindparam("organization"))
_BY_NAME = Prepared(_in_organization.where(local_sessions.c.session_id == bindparam("called")))
_BY_ID = Prepared(_in_organization.where(local_sessions.c.id == bindparam("row")))

# Each twice, so that each list has an index of its own.
_page = (
    _in_organization.order_by(local_sessions.c.id.desc())
    .limit(bindparam("limit", type_=Integer))
    .offset(bindparam("skip", type_=Integer))
)
_count = (
    select(func.count())
    .select_from(local_sessions)
    .where(local_sessions.c.organization_id == bindparam("organization"))
)
_is_of_user = local_sessions.c.user_id == bindparam("user")
ALL, COUNT = Prepared(_page), Prepared(_count)
OF_USER, COUNT_OF_USER = Prepared(_page.where(_is_of_user)), Prepared(_count.where(_is_of_user))

_that_one = update(local_sessions).where(local_sessions.c.id == bindparam("row"))
_now = bindparam("now", type_=local_sessions.c.date_updated.type)
_SET_STATUS = Prepared(
    _that_one.values(status=bindparam("said", type_=local_sessions.c.status.type), date_updated=_now)
)
_NUMBER = Prepared(
    _that_one.where(local_sessions.c.last_log < bindparam("most", type_=Integer))
    .values(last_log=local_sessions.c.last_log + 1, date_updated=_now)
    .returning(local_sessions.c.last_log)
)
_LAST = Prepared(select(local_sessions.c.last_log).where(local_sessions.c.id == bindparam("row")))

_ADD_LOG = Prepared(insert_into(local_session_logs))
_LOG = Prepared(
    select(local_session_logs.c.data, local_session_logs.c.date).where(
        local_session_logs.c.local_session == bindparam("row"), local_session_logs.c.number == bindparam("number")
    )
)
_logs = (
    select(local_session_logs.c.number, local_session_logs.c.data, local_session_logs.c.date)
    .where(local_session_logs.c.local_session == bindparam("row"))
    .limit(bindparam("limit", type_=Integer))
)
FORWARD = Prepared(
    _logs.where(local_session_logs.c.number > bindparam("passed_over")).order_by(local_session_logs.c.number)
)
BACKWARD = Prepared(
    _logs.where(local_session_logs.c.number <= bindparam("upto")).order_by(local_session_logs.c.number.desc())
)


_STALE = local_sessions.c.date_updated < bindparam("before")
_OLD = Prepared(select(local_sessions.c.id).where(_STALE).order_by(local_sessions.c.id).limit(literal_column("1")))
_IF_OLD = Prepared(select(local_sessions.c.id).where(local_sessions.c.id == bindparam("row"), _STALE).with_for_update())
_FIRST_LOGS = (
    select(local_session_logs.c.number)
    .where(local_session_logs.c.local_session == bindparam("row"))
    .order_by(local_session_logs.c.number)
    .limit(literal_column(str(PORTION)))
)
_REMOVE_LOGS = Prepared(
    delete(local_session_logs).where(
        local_session_logs.c.local_session == bindparam("row"), in_portion(local_session_logs.c.number, _FIRST_LOGS)
    )
)
_REMOVE = Prepared(delete(local_sessions).where(local_sessions.c.id == bindparam("row")))


class LocalSessions:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def open_local_session(
        self, session_id: str, organization_id: int, user_id: int, now: datetime
    ) -> LocalSession:
        def work(session: Session) -> LocalSession:
            session.run(
                _OPEN,
                session_id=plain(session_id),
                organization_id=organization_id,
                user_id=user_id,
                status="ACTIVE",
                last_log=0,
                date_created=micros(now),
                date_updated=micros(now),
            )
            row = session.one(_BY_NAME, organization=organization_id, called=plain(session_id))
            return _session_of(row, session_id)

        try:
            found = await self._executor.write(work, again=work)
        except Dangling as error:
            raise NotFound(f"There is no organization {organization_id} or no user {user_id}.") from error
        if found.user_id != user_id:
            raise Conflict(f"Another user has a session {session_id}.")
        return found

    async def local_session(
        self, organization_id: int, *, session_id: str | None = None, id_: int | None = None
    ) -> LocalSession:
        def look(session: Session) -> LocalSession:
            if session_id is not None:
                row = session.one(_BY_NAME, organization=organization_id, called=plain(session_id))
            else:
                row = session.one(_BY_ID, organization=organization_id, row=_row_of(id_ or 0))
            return _session_of(row, session_id or id_)

        return await self._executor.glance(look)

    async def local_sessions(
        self, organization_id: int, user_id: int | None, *, limit: int, skip: int = 0
    ) -> tuple[Sequence[LocalSession], int]:
        page, count = (ALL, COUNT) if user_id is None else (OF_USER, COUNT_OF_USER)

        def look(session: Session) -> tuple[list[Row], int]:
            rows = session.all(page, organization=organization_id, user=user_id, limit=limit, skip=skip)
            return rows, session.all(count, organization=organization_id, user=user_id)[0][0]

        rows, total = await self._executor.read(look)
        return tuple(_session_of(row, None) for row in rows), total

    async def set_local_session_status(self, id_: int, status: str, now: datetime) -> None:
        def work(session: Session) -> None:
            if not session.run(_SET_STATUS, row=_row_of(id_), said=plain(status), now=micros(now)):
                raise _unknown(id_)

        await self._executor.write(work, again=work)

    async def add_local_session_log(self, id_: int, data: JsonObject, now: datetime, *, most: int) -> int:
        text, row_id, number = json_of(data), _row_of(id_), 0

        def work(session: Session) -> int:
            nonlocal number
            row = session.one(_NUMBER, row=row_id, most=most, now=micros(now))
            if row is None:
                if session.one(_LAST, row=row_id) is None:
                    raise _unknown(id_)
                raise TooLarge(f"This session has {most:,} log entries already, which is the most that are kept.")
            number = int(row[0])
            session.run(_ADD_LOG, local_session=row_id, number=number, data=text, date=micros(now))
            return number

        def again(session: Session) -> int:
            """Nobody else was given its number, if it is there with this."""
            is_there = session.one(_LOG, row=row_id, number=number) == (text, micros(now))
            return number if is_there else work(session)

        return await self._executor.write(work, again=again)

    async def local_session_logs(
        self, id_: int, *, limit: int, skip: int = 0, reverse: bool = False
    ) -> tuple[Sequence[SessionLog], int]:
        row_id = _row_of(id_)

        def look(session: Session) -> tuple[list[Row], int]:
            last = session.one(_LAST, row=row_id)
            if last is None:
                raise _unknown(id_)
            if reverse:
                return session.all(BACKWARD, row=row_id, upto=last[0] - skip, limit=limit), last[0]
            return session.all(FORWARD, row=row_id, passed_over=skip, limit=limit), last[0]

        rows, total = await self._executor.read(look)
        return tuple(SessionLog(number, json.loads(data), date_of(date)) for number, data, date in rows), total

    async def prune_local_sessions(self, before: datetime) -> int:
        removed = 0
        while (
            row := await self._executor.glance(lambda session: session.one(_OLD, before=micros(before)))
        ) is not None:
            done = _Removed(is_over=False)
            while not done.is_over:  # a portion at a time: others write in between
                done = await self._executor.write(partial(_remove_some, row_id=row[0], before=before))
            removed += done.is_gone
            if not done.is_gone:  # somebody reported to it just now
                break
        return removed


@dataclass(frozen=True, slots=True)
class _Removed:
    is_over: bool
    is_gone: bool = False


def _remove_some(session: Session, *, row_id: int, before: datetime) -> _Removed:
    if session.one(_IF_OLD, row=row_id, before=micros(before)) is None:
        return _Removed(is_over=True)
    if session.run(_REMOVE_LOGS, row=row_id):
        return _Removed(is_over=False)
    session.run(_REMOVE, row=row_id)
    return _Removed(is_over=True, is_gone=True)


def _row_of(id_: int) -> int:
    """The row's own id, which is 0 and nobody's for what cannot be one."""
    found = id_ - FIRST_LOCAL_SESSION
    return found if 0 < found <= _LARGEST else 0


def _unknown(name: str | int | None) -> NotFound:
    return NotFound(f"There is no local session {name}.")


def _session_of(row: Row | None, name: str | int | None) -> LocalSession:
    """Raises NotFound; `name`: what it was looked for by."""
    if row is None:
        raise _unknown(name)
    id_, session_id, organization_id, user_id, status, created, updated = row
    return LocalSession(
        FIRST_LOCAL_SESSION + id_,
        session_id,
        organization_id,
        user_id,
        status,
        date_of(created),
        date_of(updated),
    )
