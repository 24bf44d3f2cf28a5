"""Reads of long traces: the outline of a run, and searches of its events."""

import json
from collections.abc import Sequence

from sqlalchemy import Integer, Text, bindparam, literal_column, select

from treadle.domain.events import EventType
from treadle.domain.states import Phase
from treadle.ports.trace import MARKED, FoundEvents, Mark
from treadle.store.events import event_of
from treadle.store.prepared import Prepared
from treadle.store.run_search import holds
from treadle.store.session import Executor, Session
from treadle.store.tables import events
from treadle.store.values import date_of

#: Events that one search looks at, at most.
MAX_SEARCHED_EVENTS = 20_000

# The data are not read: of an event with a long text a database keeps them apart.
_OUTLINE = Prepared(
    select(events.c.number, events.c.type, events.c.date, events.c.step, events.c.phase)
    .where(
        events.c.run_id == bindparam("run"),
        events.c.type.in_([literal_column(f"'{type_}'") for type_ in sorted(MARKED)]),
    )
    .order_by(events.c.number)
)
_FIND = Prepared(
    select(events.c.number, events.c.type, events.c.data, events.c.date, events.c.step, events.c.phase)
    .where(
        events.c.run_id == bindparam("run"),
        events.c.number < bindparam("before"),
        events.c.number >= bindparam("first"),
        holds(events.c.data, bindparam("part", type_=Text)),
    )
    .order_by(events.c.number.desc())
    .limit(bindparam("limit", type_=Integer))
)


class RunTraces:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def outline(self, run_id: int) -> Sequence[Mark]:
        def work(session: Session) -> Sequence[Mark]:
            return [
                Mark(number, EventType(type_), date_of(date), step, None if phase is None else Phase(phase))
                for number, type_, date, step, phase in session.all(_OUTLINE, run=run_id)
            ]

        return await self._executor.read(work)

    async def find_events(self, run_id: int, text: str, *, before: int, limit: int) -> FoundEvents:
        # As the data are kept: JSON in ASCII, where a quotation mark or an umlaut is an escape.
        part = json.dumps(text)[1:-1].lower()
        first = max(1, before - MAX_SEARCHED_EVENTS)

        def work(session: Session) -> FoundEvents:
            rows = session.all(_FIND, run=run_id, before=before, first=first, part=part, limit=limit)
            found = [event_of(run_id, row) for row in rows]
            if len(found) == limit:
                return FoundEvents(found, found[-1].number if found[-1].number > 1 else None)
            return FoundEvents(found, first if first > 1 else None)

        return await self._executor.read(work)
