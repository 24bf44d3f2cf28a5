"""What is kept of runs that have ended, and its removal. Every removal locks the run's row and judges it again: a run
that lives, or lives again, loses nothing."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)

from treadle.domain.run import Artifact
from treadle.ports import Spent
from treadle.store.prepared import Prepared, Row
from treadle.store.session import Executor, Session
from treadle.store.tables import artifacts, checkpoints, events, runs
from treadle.store.transitions import standing
from treadle.store.values import date_of, micros

#: Most that one transaction removes, in events and in bytes of them: others wait for it to write.
PORTION_EVENTS = 500
PORTION_BYTES = 1 << 20
#: What the parts of a checkpoint are called where they go with a run's artifacts.
CONVERSATION = "conversation"
_EPOCH = date_of(0)
#: How many runs one query looks at, by their ids: what has nothing to give is passed over in no time, but not for ever.
WINDOW = 20_000

_HAS_ENDED = runs.c.date_completed.is_not(None)

# An event's data is ASCII: its length is its bytes.
_length = func.length(events.c.data)
_of_run = events.c.run_id == runs.c.id
_counted = select(func.coalesce(func.sum(_length), 0)).where(_of_run).scalar_subquery()
#: A run of before the schema 0002 was not counted while it went.
_event_bytes: ColumnElement[int] = case((runs.c.event_bytes > 0, runs.c.event_bytes), else_=_counted)
_last_bytes = select(_length).where(_of_run, events.c.number == runs.c.last_event).scalar_subquery()

_IN_WINDOW = (
    runs.c.id > bindparam("after"),
    runs.c.id <= bindparam("upto"),
    runs.c.date_completed < bindparam("before"),
)
_WITH_EVENTS = Prepared(
    select(runs.c.id, runs.c.uuid, runs.c.date_completed, _event_bytes - func.coalesce(_last_bytes, 0))
    .where(*_IN_WINDOW, exists().where(_of_run, events.c.number < runs.c.last_event))
    .order_by(runs.c.id)
    .limit(bindparam("limit", type_=Integer))
)
#: The conversation that a run left for a resume goes with its artifacts.
_of_artifacts = select(func.coalesce(func.sum(artifacts.c.size), 0)).where(artifacts.c.run_id == runs.c.id)
_of_conversation = select(func.coalesce(func.sum(checkpoints.c.size), 0)).where(checkpoints.c.run_id == runs.c.id)
_left_bytes = _of_artifacts.scalar_subquery() + _of_conversation.scalar_subquery()
_HAS_LEFT = or_(
    exists().where(artifacts.c.run_id == runs.c.id),
    exists().where(checkpoints.c.run_id == runs.c.id),
)
_WITH_ARTIFACTS = Prepared(
    select(runs.c.id, runs.c.uuid, runs.c.date_completed, cast(_left_bytes, BigInteger))
    .where(*_IN_WINDOW, _HAS_LEFT)
    .order_by(runs.c.id)
    .limit(bindparam("limit", type_=Integer))
)
_NEWEST = Prepared(select(func.coalesce(func.max(runs.c.id), 0)))

_IS_BEFORE_LAST = (
    events.c.run_id == bindparam("run"),
    events.c.number < select(runs.c.last_event).where(runs.c.id == bindparam("run")).scalar_subquery(),
)
_PORTION = Prepared(
    select(events.c.number, _length)
    .where(*_IS_BEFORE_LAST)
    .order_by(events.c.number)
    .limit(bindparam("limit", type_=Integer))
)
_REMOVE_EVENTS = Prepared(
    delete(events).where(*_IS_BEFORE_LAST, events.c.number <= bindparam("upto")).returning(_length)
)
_removed = bindparam("removed", type_=runs.c.event_bytes.type)
_COUNT_DOWN = Prepared(
    update(runs)
    .where(runs.c.id == bindparam("run"))
    .values(event_bytes=case((runs.c.event_bytes > _removed, runs.c.event_bytes - _removed), else_=0))
)
_REMOVE_ARTIFACTS = Prepared(
    delete(artifacts).where(artifacts.c.run_id == bindparam("run")).returning(*artifacts.columns)
)
_REMOVE_CHECKPOINT = Prepared(
    delete(checkpoints)
    .where(checkpoints.c.run_id == bindparam("run"))
    .returning(checkpoints.c.session_blob, checkpoints.c.patch_blob)
)
_FORGET_DIFF = Prepared(update(runs).where(runs.c.id == bindparam("run"), runs.c.has_diff).values(has_diff=False))

_SIZE_OF_EVENTS = Prepared(select(cast(func.coalesce(func.sum(_event_bytes), 0), BigInteger)).where(_HAS_ENDED))
_SIZE_OF_ARTIFACTS = Prepared(
    select(cast(func.coalesce(func.sum(artifacts.c.size), 0), BigInteger)).join_from(artifacts, runs).where(_HAS_ENDED)
)
_SIZE_OF_CONVERSATIONS = Prepared(
    select(cast(func.coalesce(func.sum(checkpoints.c.size), 0), BigInteger))
    .join_from(checkpoints, runs)
    .where(_HAS_ENDED)
)
_BLOBS_OF_ENDED = Prepared(
    select(artifacts.c.blob, checkpoints.c.session_blob, checkpoints.c.patch_blob)
    .select_from(runs.outerjoin(artifacts).outerjoin(checkpoints, checkpoints.c.run_id == runs.c.id))
    .where(runs.c.uuid == bindparam("uuid"), _HAS_ENDED)
)


class Retention:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def runs_with_events(self, *, before: datetime, after: int = 0, limit: int = 1000) -> Sequence[Spent]:
        return await self._spent(_WITH_EVENTS, before, after, limit)

    async def runs_with_artifacts(self, *, before: datetime, after: int = 0, limit: int = 1000) -> Sequence[Spent]:
        return await self._spent(_WITH_ARTIFACTS, before, after, limit)

    async def prune_events(self, run_id: int) -> int:
        """A portion at a time, and between two of them nothing for as long as one took: on SQLite there is one writer,
        and nobody's turn."""
        removed, clock = 0, asyncio.get_running_loop().time
        while True:
            began = clock()
            upto = await self._executor.read(partial(_end_of_portion, run_id=run_id))
            if upto is None:
                return removed
            count = await self._executor.write(partial(_remove_events, run_id=run_id, upto=upto))
            if not count:  # it lives again, or somebody else is at it
                return removed
            removed += count
            await asyncio.sleep(clock() - began)

    async def prune_artifacts(self, run_id: int) -> Sequence[Artifact]:
        def work(session: Session) -> Sequence[Artifact]:
            if standing(session, run_id).is_alive:
                return ()
            session.run(_FORGET_DIFF, run=run_id)
            blobs = [blob for row in session.all(_REMOVE_CHECKPOINT, run=run_id) for blob in row if blob is not None]
            removed = [_artifact_of(row) for row in session.all(_REMOVE_ARTIFACTS, run=run_id)]
            kept = (Artifact(run_id, CONVERSATION, "application/x-tar", 0, blob, _EPOCH) for blob in blobs)
            return (*removed, *kept)

        return await self._executor.write(work)

    async def blobs_of_ended(self, run_uuids: Sequence[UUID]) -> Mapping[UUID, frozenset[str]]:
        def work(session: Session) -> Mapping[UUID, frozenset[str]]:
            found = {uuid: session.all(_BLOBS_OF_ENDED, uuid=str(uuid)) for uuid in run_uuids}
            return {
                uuid: frozenset(blob for row in rows for blob in row if blob is not None)
                for uuid, rows in found.items()
                if rows
            }

        return await self._executor.read(work)

    async def sizes(self) -> tuple[int, int]:
        def work(session: Session) -> tuple[int, int]:
            kept = _number(session.one(_SIZE_OF_ARTIFACTS)) + _number(session.one(_SIZE_OF_CONVERSATIONS))
            return _number(session.one(_SIZE_OF_EVENTS)), kept

        return await self._executor.read(work)

    async def _spent(self, statement: Prepared, before: datetime, after: int, limit: int) -> Sequence[Spent]:
        newest = await self._executor.read(lambda session: _number(session.one(_NEWEST)))
        found: list[Spent] = []
        while after < newest and len(found) < limit:
            upto = after + WINDOW
            look = partial(_rows, statement, before=micros(before), after=after, upto=upto, limit=limit - len(found))
            found += map(_spent_of, await self._executor.read(look))
            after = upto
        return tuple(found)


def _rows(statement: Prepared, session: Session, **values: int) -> Sequence[Row]:
    return session.all(statement, **values)


def _end_of_portion(session: Session, run_id: int) -> int | None:
    """The number of its last event; None when there is nothing to remove."""
    upto, size = None, 0
    for number, length in session.all(_PORTION, run=run_id, limit=PORTION_EVENTS):
        upto, size = number, size + length
        if size >= PORTION_BYTES:
            break
    return upto


def _remove_events(session: Session, run_id: int, upto: int) -> int:
    if standing(session, run_id).is_alive:
        return 0
    lengths = [row[0] for row in session.all(_REMOVE_EVENTS, run=run_id, upto=upto)]
    session.run(_COUNT_DOWN, run=run_id, removed=sum(lengths))
    return len(lengths)


def _spent_of(row: Row) -> Spent:
    id_, uuid, completed, size = row
    return Spent(id_, UUID(uuid), date_of(completed), max(0, size))


def _artifact_of(row: Row) -> Artifact:
    run_id, name, content_type, size, blob, created = row
    return Artifact(run_id, name, content_type, size, blob, date_of(created))


def _number(row: Row | None) -> int:
    return 0 if row is None else int(row[0])
