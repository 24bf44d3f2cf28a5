"""Events as rows. Numbers come from the run's row, which the caller has counted up in this transaction."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlalchemy import Integer, bindparam, select

from treadle.domain.events import Draft, Event, EventType
from treadle.domain.states import Phase
from treadle.store import outbox
from treadle.store.prepared import Prepared, Row, insert_into
from treadle.store.session import Executor, Session
from treadle.store.tables import events
from treadle.store.values import date_of, event_json, micros

_INSERT = Prepared(insert_into(events))
_AFTER = Prepared(
    select(events.c.number, events.c.type, events.c.data, events.c.date, events.c.step, events.c.phase)
    .where(events.c.run_id == bindparam("run"), events.c.number > bindparam("after"))
    .order_by(events.c.number)
    .limit(bindparam("limit", type_=Integer))
)


class Batch:
    """Events to be written together, their data as JSON: made once, as its size goes into the run's row first."""

    __slots__ = ("_texts", "drafts", "size")

    def __init__(self, drafts: Sequence[Draft]) -> None:
        self.drafts = drafts
        self._texts = [event_json(draft.data) for draft in drafts]
        self.size = sum(map(len, self._texts))  # bytes: it is ASCII

    def __len__(self) -> int:
        return len(self.drafts)

    def __iter__(self) -> Iterator[tuple[Draft, str]]:
        return zip(self.drafts, self._texts, strict=True)


def write(session: Session, run_id: int, last: int, batch: Batch, now: datetime) -> None:
    """`last`: the number of the last of them. Webhooks that want to know are told; the run's row is locked."""
    written = micros(now)
    first = last - len(batch) + 1
    session.many(
        _INSERT,
        [
            {
                "run_id": run_id,
                "number": number,
                "type": draft.type.value,
                "data": text,
                "date": written if draft.date is None else micros(draft.date),
                "step": draft.step,
                "phase": None if draft.phase is None else draft.phase.value,
            }
            for number, (draft, text) in enumerate(batch, first)
        ],
    )
    outbox.tell_run(session, run_id, first, batch.drafts, now)


def event_of(run_id: int, row: Row) -> Event:
    number, type_, data, date, step, phase = row
    return Event(
        run_id,
        number,
        EventType(type_),
        {} if data == "{}" else json.loads(data),
        date_of(date),
        step,
        None if phase is None else Phase(phase),
    )


class Events:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def events(self, run_id: int, *, after: int = 0, limit: int = 1000) -> Sequence[Event]:
        return await self._executor.read(
            lambda session: [event_of(run_id, row) for row in session.all(_AFTER, run=run_id, after=after, limit=limit)]
        )
