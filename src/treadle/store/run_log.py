"""A run's log: the events that tell a reader what was asked, said and done, in pages."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlalchemy import ColumnElement, Integer, Select, and_, bindparam, func, literal_column, null, or_, select

from treadle.domain.events import LOG_TYPES, Event, EventType, JsonValue
from treadle.domain.states import RunStatus
from treadle.store.events import event_of
from treadle.store.prepared import Prepared
from treadle.store.session import Executor, Session
from treadle.store.tables import events

#: How the data of a `run.finished` begins that tells of no failure, as `values.event_json` writes it.
_SUCCEEDED = f'{{"status":"{RunStatus.SUCCESS}"'

#: The start of a tool call is looked for among so many starts before its end, at most, a few at a time.
STARTS, STARTS_AT_ONCE = 2_000, 100


def _text(value: str) -> ColumnElement[str]:
    return literal_column(f"'{value}'")


_IS_ENTRY = or_(
    events.c.type.in_([_text(type_) for type_ in sorted(LOG_TYPES)]),
    and_(
        events.c.type == _text(EventType.RUN_FINISHED),
        events.c.step.is_(null()),
        func.substr(events.c.data, literal_column("1"), literal_column(str(len(_SUCCEEDED)))) != _text(_SUCCEEDED),
    ),
)
_COLUMNS = (events.c.number, events.c.type, events.c.data, events.c.date, events.c.step, events.c.phase)
_COUNT = Prepared(select(func.count()).where(events.c.run_id == bindparam("run"), _IS_ENTRY))


def _page(*, reverse: bool) -> Prepared:
    found: Select[int, str, str, int, int, str] = (
        select(*_COLUMNS)
        .where(events.c.run_id == bindparam("run"), _IS_ENTRY)
        .order_by(events.c.number.desc() if reverse else events.c.number)
        .limit(bindparam("limit", type_=Integer))
        .offset(bindparam("skip", type_=Integer))
    )
    return Prepared(found)


_PAGES = {reverse: _page(reverse=reverse) for reverse in (False, True)}
_STARTS = Prepared(
    select(*_COLUMNS)
    .where(
        events.c.run_id == bindparam("run"),
        events.c.type == _text(EventType.TOOL_STARTED),
        events.c.number < bindparam("before"),
    )
    .order_by(events.c.number.desc())
    .limit(bindparam("limit", type_=Integer))
)


class RunLog:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def log(
        self, run_id: int, *, limit: int, skip: int = 0, reverse: bool = False
    ) -> tuple[Sequence[Event], int]:
        def work(session: Session) -> tuple[Sequence[Event], int]:
            rows = session.all(_PAGES[reverse], run=run_id, limit=limit, skip=skip)
            total: int = session.all(_COUNT, run=run_id)[0][0]
            return _with_starts(session, run_id, [event_of(run_id, row) for row in rows]), total

        return await self._executor.read(work)


def _with_starts(session: Session, run_id: int, found: Sequence[Event]) -> Sequence[Event]:
    """Ends of tool calls get what their starts say. Calls of one id are told apart by their order: the start of each
    is the last before it."""
    ends = sorted((event for event in found if event.type is EventType.TOOL_FINISHED), key=lambda event: -event.number)
    starts: dict[int, Mapping[str, JsonValue]] = {}
    before, looked = ends[0].number if ends else 0, 0
    while len(starts) < len(ends) and looked < STARTS:
        page = session.all(_STARTS, run=run_id, before=before, limit=STARTS_AT_ONCE)
        for start in (event_of(run_id, row) for row in page):
            for end in ends:
                is_it = end.number > start.number and end.data.get("id") == start.data.get("id")
                if is_it and end.number not in starts:
                    starts[end.number] = start.data
        if len(page) < STARTS_AT_ONCE:
            break
        before, looked = page[-1][0], looked + len(page)
    return [_joined(event, starts.get(event.number)) for event in found]


def _joined(event: Event, start: Mapping[str, JsonValue] | None) -> Event:
    if start is None:
        return event
    return replace(event, data={"tool": start.get("tool"), "input": start.get("input"), **event.data})
