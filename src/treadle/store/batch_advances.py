"""Batches as their chore advances them: what is started, what has ended, and what is counted of it."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import and_, bindparam, func, literal_column, select, update

from treadle.domain.batch import (
    BATCH_TERMINAL,
    ITEM_OPEN,
    Batch,
    BatchStatus,
    ItemStatus,
)
from treadle.domain.events import EventType
from treadle.domain.messages import MessageType
from treadle.ports.batches import ItemEnd, OpenItem, ToStart
from treadle.store import batch_rows
from treadle.store.automation_tables import batch_items, batches
from treadle.store.batch_rows import COUNTED, any_of, by_id, missing, open_item_of, to_start, word
from treadle.store.batch_telling import tell
from treadle.store.known import loaded, mapping, number
from treadle.store.prepared import Prepared
from treadle.store.session import Executor, Session
from treadle.store.tables import events, runs
from treadle.store.values import micros, plain

_IS_IT = batches.c.id == bindparam("batch")
_LOCK = Prepared(select(batches.c.status, batches.c.attempt).where(_IS_IT).with_for_update())
_COUNT = Prepared(
    update(batches)
    .where(_IS_IT)
    .values(
        {
            **{
                name: batches.c[name] + bindparam(f"more_{name}", type_=batches.c[name].type)
                for name in COUNTED.values()
            },
            "cost_usd": batches.c.cost_usd + bindparam("more_cost", type_=batches.c.cost_usd.type),
            "failure_details": func.coalesce(
                batches.c.failure_details, bindparam("reason", type_=batches.c.failure_details.type)
            ),
            "date_updated": bindparam("now", type_=batches.c.date_updated.type),
        }
    )
)
_END = {
    status: Prepared(
        update(batches)
        .where(_IS_IT, batches.c.status == word(BatchStatus.RUNNING))
        .values(
            status=word(status),
            failure_details=bindparam("details", type_=batches.c.failure_details.type),
            last_event=batches.c.last_event + 1,
            date_updated=bindparam("now", type_=batches.c.date_updated.type),
            date_completed=bindparam("now", type_=batches.c.date_updated.type),
        )
        .returning(batches.c.last_event)
    )
    for status in BATCH_TERMINAL
}
_ONE = and_(
    batch_items.c.batch_id == bindparam("batch"),
    batch_items.c.position == bindparam("place", type_=batch_items.c.position.type),
)
_TAKE = Prepared(
    update(batch_items)
    .where(_ONE, batch_items.c.status == word(ItemStatus.NOT_STARTED))
    .values(
        status=word(ItemStatus.STARTING), date_started=bindparam("now", type_=batch_items.c.date_started.type)
    )
)  # fmt: skip
_STARTED = Prepared(
    update(batch_items)
    .where(
        _ONE,
        batch_items.c.attempt == bindparam("tried", type_=batch_items.c.attempt.type),
        batch_items.c.status == word(ItemStatus.STARTING),
    )
    .values(status=word(ItemStatus.RUNNING), run_id=bindparam("run", type_=batch_items.c.run_id.type))
)
_END_ITEM = Prepared(
    update(batch_items)
    .where(_ONE, any_of(batch_items.c.status, ITEM_OPEN))
    .values(
        status=bindparam("became", type_=batch_items.c.status.type),
        failure_details=bindparam("details", type_=batch_items.c.failure_details.type),
        cost_usd=batch_items.c.cost_usd + bindparam("cost", type_=batch_items.c.cost_usd.type),
        changed_files=bindparam("changed", type_=batch_items.c.changed_files.type),
        date_completed=bindparam("now", type_=batch_items.c.date_completed.type),
    )
)
_END_WAITING = Prepared(
    update(batch_items)
    .where(batch_items.c.batch_id == bindparam("batch"), batch_items.c.status == word(ItemStatus.NOT_STARTED))
    .values(
        status=bindparam("became", type_=batch_items.c.status.type),
        date_completed=bindparam("now", type_=batch_items.c.date_completed.type),
    )
)
# Of a run that left a diff it is among the last events.
_CHANGED = Prepared(
    select(events.c.data)
    .select_from(
        batch_items.join(runs, and_(runs.c.id == batch_items.c.run_id, runs.c.has_diff)).join(
            events, events.c.run_id == runs.c.id
        )
    )
    .where(_ONE, events.c.type == literal_column(f"'{EventType.DIFF_READY}'"))
    .order_by(events.c.number.desc())
    .limit(literal_column("1"))
)


class BatchAdvances:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def batch_by_id(self, batch_id: int) -> Batch:
        return await self._executor.read(lambda session: by_id(session, batch_id))

    async def open_items(self, batch_id: int) -> Sequence[OpenItem]:
        rows = await self._executor.read(lambda session: session.all(batch_rows.OPEN, batch=batch_id))
        return tuple(map(open_item_of, rows))

    async def take_items(self, batch_id: int, count: int, now: datetime) -> Sequence[ToStart]:
        def work(session: Session) -> Sequence[ToStart]:
            found = [to_start(row) for row in session.all(batch_rows.WAITING, batch=batch_id, limit=count)]
            # Of one that somebody else has taken or ended in this moment nothing may be started.
            return [one for one in found if session.run(_TAKE, batch=batch_id, place=one.position, now=micros(now))]

        return await self._executor.write(work)

    async def item_started(self, batch_id: int, item: ToStart, run_id: int) -> None:
        def work(session: Session) -> None:
            session.run(_STARTED, batch=batch_id, place=item.position, tried=item.attempt, run=run_id)

        await self._executor.write(work, again=work)

    async def end_items(self, batch_id: int, ends: Sequence[ItemEnd], now: datetime) -> None:
        def work(session: Session) -> None:
            if session.one(_LOCK, batch=batch_id) is None:
                raise missing()
            counted, cost = dict.fromkeys(COUNTED, 0), 0.0
            for end in ends:
                changed = session.one(_CHANGED, batch=batch_id, place=end.position)
                if session.run(
                    _END_ITEM,
                    batch=batch_id,
                    place=end.position,
                    became=end.status.value,
                    details=plain(end.failure_details),
                    cost=end.cost_usd,
                    changed=_files_of(changed[0]) if changed is not None else None,
                    now=micros(now),
                ):
                    counted[end.status] += 1
                    cost += end.cost_usd
            _count(session, batch_id, counted, now, cost=cost)

        await self._executor.write(work, again=work)

    async def end_waiting(self, batch_id: int, status: ItemStatus, reason: str | None, now: datetime) -> None:
        def work(session: Session) -> None:
            if session.one(_LOCK, batch=batch_id) is None:
                raise missing()
            ended = session.run(_END_WAITING, batch=batch_id, became=status.value, now=micros(now))
            _count(session, batch_id, {status: ended}, now, reason=reason)

        await self._executor.write(work, again=work)

    async def end_batch(self, batch_id: int, status: BatchStatus, details: str | None, now: datetime) -> None:
        def work(session: Session) -> None:
            row = session.one(_END[status], batch=batch_id, details=plain(details), now=micros(now))
            if row is not None:
                tell(session, by_id(session, batch_id), row[0], MessageType.BATCH_FINISHED, now)

        await self._executor.write(work, again=work)


def _count(
    session: Session,
    batch_id: int,
    counted: Mapping[ItemStatus, int],
    now: datetime,
    *,
    cost: float = 0.0,
    reason: str | None = None,
) -> None:
    more = {f"more_{name}": counted.get(status, 0) for status, name in COUNTED.items()}
    session.run(_COUNT, batch=batch_id, **more, more_cost=cost, reason=plain(reason), now=micros(now))


def _files_of(data: str) -> int:
    """How many a diff is of, by its event."""
    return number(mapping(loaded(data)).get("files"), 0)
