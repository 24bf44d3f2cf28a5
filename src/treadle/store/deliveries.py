"""What arrived at hooks: each once, by the id that its sender gave it and by its body."""

import base64
import json
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Integer, Text, bindparam, delete, literal_column, null, select, update

from treadle.domain.triggers import DeliveryStatus, StoredDelivery
from treadle.ports.chores import ChoreKind
from treadle.ports.triggers import Arrival
from treadle.store import chores
from treadle.store.automation_tables import deliveries, hooks
from treadle.store.prepared import Prepared, Row, in_portion, insert_into
from treadle.store.session import Executor, Session, Taken
from treadle.store.values import date_of, json_of, micros, optional_date, plain

#: Deliveries that one transaction removes.
PORTION = 500

_WAITING = literal_column(f"'{DeliveryStatus.WAITING}'", Text)
_COLUMNS = (
    deliveries.c.id, deliveries.c.hook_id, deliveries.c.delivery, deliveries.c.event, deliveries.c.headers,
    deliveries.c.status, deliveries.c.detail, deliveries.c.run_id, deliveries.c.date_received, deliveries.c.date_done,
)  # fmt: skip
_ADD = Prepared(
    insert_into(
        deliveries, "hook_id", "delivery", "digest", "event", "headers", "body", "date_received", status=_WAITING
    ).returning(deliveries.c.id)
)
_KNOWN = Prepared(
    select(deliveries.c.id).where(
        deliveries.c.hook_id == bindparam("hook"), deliveries.c.delivery == bindparam("called")
    )
)
_KNOWN_BODY = Prepared(
    select(deliveries.c.id).where(deliveries.c.hook_id == bindparam("hook"), deliveries.c.digest == bindparam("digest"))
)
_DELIVERED = Prepared(
    update(hooks)
    .where(hooks.c.id == bindparam("hook"))
    .values(date_delivered=bindparam("now", type_=hooks.c.date_delivered.type))
)
_whole = select(*_COLUMNS, deliveries.c.body)
_ONE = Prepared(_whole.where(deliveries.c.id == bindparam("row")))
_OF_HOOK_WAITING = Prepared(
    select(deliveries.c.id)
    .where(deliveries.c.hook_id == bindparam("hook"), deliveries.c.status == _WAITING)
    .order_by(deliveries.c.id)
    .limit(bindparam("limit", type_=Integer))
)
_LIST = Prepared(
    select(*_COLUMNS, literal_column("''"))
    .where(deliveries.c.hook_id == bindparam("hook"), deliveries.c.id < bindparam("before", type_=deliveries.c.id.type))
    .order_by(deliveries.c.id.desc())
    .limit(bindparam("limit", type_=Integer))
)
_ENDED = ("status", "detail", "run_id", "date_done")
_END = Prepared(
    update(deliveries)
    .where(deliveries.c.id == bindparam("row"))
    .values({name: bindparam(name, type_=deliveries.c[name].type) for name in _ENDED})
)
_REPEAT = Prepared(
    update(deliveries)
    .where(deliveries.c.id == bindparam("row"))
    .values(status=_WAITING, detail=null(), date_done=null())
)
_old = (
    select(deliveries.c.id)
    .where(
        deliveries.c.hook_id == bindparam("hook"),
        deliveries.c.status != _WAITING,
        deliveries.c.date_received < bindparam("before", type_=deliveries.c.date_received.type),
    )
    .limit(literal_column(str(PORTION)))
)
_PRUNE = Prepared(delete(deliveries).where(in_portion(deliveries.c.id, _old)))

_LARGEST = (1 << 63) - 1


class Deliveries:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def add_delivery(self, hook_id: int, arrival: Arrival, now: datetime) -> tuple[int, bool]:
        def known(session: Session) -> int | None:
            found = session.one(_KNOWN, hook=hook_id, called=plain(arrival.delivery))
            if found is None and arrival.digest is not None:
                found = session.one(_KNOWN_BODY, hook=hook_id, digest=arrival.digest)
            return None if found is None else int(found[0])

        def work(session: Session) -> tuple[int, bool]:
            if (there := known(session)) is not None:
                return there, False
            rows = session.all(
                _ADD,
                hook_id=hook_id,
                delivery=plain(arrival.delivery),
                digest=arrival.digest,
                event=plain(arrival.event),
                headers=json_of(arrival.headers),
                body=base64.b64encode(arrival.body).decode(),
                date_received=micros(now),
            )
            session.run(_DELIVERED, hook=hook_id, now=micros(now))
            id_ = int(rows[0][0])
            chores.plan(session, ChoreKind.DELIVERY, id_, now)
            return id_, True

        try:
            return await self._executor.write(work, again=work)
        except Taken:  # by another process, in this moment
            return await self._executor.write(work, again=work)

    async def delivery(self, delivery_id: int) -> StoredDelivery | None:
        row = await self._executor.read(lambda session: session.one(_ONE, row=delivery_id))
        return None if row is None else _delivery_of(row)

    async def deliveries(self, hook_id: int, *, limit: int, before: int | None = None) -> Sequence[StoredDelivery]:
        rows = await self._executor.read(
            lambda session: session.all(_LIST, hook=hook_id, limit=limit, before=before or _LARGEST)
        )
        return tuple(map(_delivery_of, rows))

    async def waiting_deliveries(self, hook_id: int, *, limit: int) -> Sequence[int]:
        rows = await self._executor.read(lambda session: session.all(_OF_HOOK_WAITING, hook=hook_id, limit=limit))
        return [row[0] for row in rows]

    async def end_delivery(
        self, delivery_id: int, status: DeliveryStatus, detail: str | None, run_id: int | None, now: datetime
    ) -> None:
        def work(session: Session) -> None:
            said = plain(detail)
            session.run(_END, row=delivery_id, status=str(status), detail=said, run_id=run_id, date_done=micros(now))

        await self._executor.write(work, again=work)

    async def repeat_delivery(self, delivery_id: int, now: datetime) -> None:
        def work(session: Session) -> None:
            if session.run(_REPEAT, row=delivery_id):
                chores.plan(session, ChoreKind.DELIVERY, delivery_id, now)

        await self._executor.write(work, again=work)

    async def prune_deliveries(self, hook_id: int, before: datetime) -> int:
        def work(session: Session) -> int:
            return session.run(_PRUNE, hook=hook_id, before=micros(before))

        return await self._executor.write(work, again=work)


def _delivery_of(row: Row) -> StoredDelivery:
    id_, hook_id, delivery, event, headers, status, detail, run_id, received, done, body = row
    return StoredDelivery(
        id_,
        hook_id,
        delivery,
        event,
        json.loads(headers),
        base64.b64decode(body),
        DeliveryStatus(status),
        detail,
        run_id,
        date_of(received),
        optional_date(done),
    )
