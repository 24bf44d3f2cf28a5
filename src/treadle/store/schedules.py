"""Schedules, and what became of each of their times."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Integer, bindparam, delete, func, literal_column, or_, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or  # SQLite's dialect writes its ON CONFLICT the same way

from treadle.domain.errors import Conflict, NotFound
from treadle.domain.identity import Principal
from treadle.domain.schedule import Firing, Missed, Outcome, Overlap, Schedule
from treadle.ports import Idempotency
from treadle.ports.chores import ChoreKind
from treadle.ports.schedules import ScheduleDraft
from treadle.ports.trust import AuditEntry
from treadle.store import chores
from treadle.store.audit import add_entry
from treadle.store.automation_tables import firings, schedules
from treadle.store.prepared import Prepared, Row, insert_into
from treadle.store.run_creation import earlier_use
from treadle.store.session import Executor, Session, Taken
from treadle.store.values import date_of, json_of, micros, optional_date, plain

_COLUMNS = tuple(
    schedules.c[name]
    for name in (
        "id", "uuid", "organization_id", "user_id", "name", "cron", "time_zone", "missed", "overlap", "target",
        "is_enabled", "date_next", "date_created", "date_updated",
    )
)  # fmt: skip
_GIVEN = tuple(column.name for column in _COLUMNS[1:])
_SET = ("name", "cron", "time_zone", "missed", "overlap", "target", "is_enabled", "date_next", "date_updated")
_the_one = schedules.c.id == bindparam("row")
_ADD = Prepared(insert_into(schedules, *_GIVEN).returning(*_COLUMNS))
_BY_UUID = Prepared(select(*_COLUMNS).where(schedules.c.uuid == bindparam("called")))
_ONE = Prepared(select(*_COLUMNS).where(_the_one))
_COUNT = Prepared(
    select(func.count()).select_from(schedules).where(schedules.c.organization_id == bindparam("organization"))
)
_all = (
    select(*_COLUMNS)
    .where(schedules.c.organization_id == bindparam("organization"), schedules.c.name > bindparam("after"))
    .order_by(schedules.c.name)
    .limit(bindparam("limit", type_=Integer))
)
_ALL = Prepared(_all)
_OF_USER = Prepared(_all.where(schedules.c.user_id == bindparam("user")))
_UPDATE = Prepared(
    update(schedules)
    .where(_the_one, schedules.c.date_updated == bindparam("seen", type_=schedules.c.date_updated.type))
    .values({name: bindparam(name, type_=schedules.c[name].type) for name in _SET})
    .returning(*_COLUMNS)
)
#: Before any of its firings is touched, as whoever writes one locks the two in this order.
_LOCK = Prepared(select(schedules.c.id).where(_the_one).with_for_update())
_REMOVE = Prepared(delete(schedules).where(_the_one))
_REMOVE_FIRINGS = Prepared(delete(firings).where(firings.c.schedule_id == bindparam("row")))
_ADVANCE = Prepared(
    update(schedules)
    .where(_the_one, schedules.c.date_next == bindparam("due"))
    .values(date_next=bindparam("following", type_=schedules.c.date_next.type))
)

_FIRED = tuple(column.name for column in firings.columns)
_put = insert_or(firings).values({name: bindparam(name, type_=firings.c[name].type) for name in _FIRED})
_ADD_FIRING = Prepared(_put.on_conflict_do_nothing(index_elements=[*firings.primary_key]))
_FIRING = Prepared(
    select(*firings.columns).where(firings.c.schedule_id == bindparam("row"), firings.c.date_due == bindparam("at"))
)
_CHANGED = ("outcome", "detail", "run_id", "batch_id", "script_run_id")
_UPDATE_FIRING = Prepared(
    update(firings)
    .where(firings.c.schedule_id == bindparam("row"), firings.c.date_due == bindparam("at"))
    .values({name: bindparam(name, type_=firings.c[name].type) for name in _CHANGED})
)
_latest = (
    select(*firings.columns)
    .where(firings.c.schedule_id == bindparam("row"))
    .order_by(firings.c.date_due.desc())
    .limit(bindparam("limit", type_=Integer))
)
_LATEST = Prepared(_latest)
#: As `chores._IS_ONE_OF`: the outcomes between bars.
_LATEST_OF = Prepared(
    _latest.where(
        bindparam("outcomes", type_=firings.c.outcome.type).contains(
            literal_column("'|'") + firings.c.outcome + literal_column("'|'")
        )
    )
)
_PRUNE = Prepared(
    delete(firings).where(
        firings.c.schedule_id == bindparam("row"),
        firings.c.date_due < bindparam("before"),
        ~or_(
            firings.c.outcome == literal_column(f"'{Outcome.STARTING}'"),
            firings.c.outcome == literal_column(f"'{Outcome.WAITING}'"),
        ),
    )
)


class Schedules:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def add_schedule(
        self, draft: ScheduleDraft, organization_id: int, user_id: int, *, uuid: UUID, now: datetime, most: int
    ) -> Schedule:
        def work(session: Session) -> Schedule:
            session.lock(f"schedules {organization_id}", wait=True)
            if session.all(_COUNT, organization=organization_id)[0][0] >= most:
                raise Conflict(f"The organization has {most} schedules already.", hint="Remove one that is not needed.")
            made = _schedule_of(
                session.all(
                    _ADD,
                    uuid=str(uuid),
                    organization_id=organization_id,
                    user_id=user_id,
                    date_created=micros(now),
                    **_values(draft, now),
                )[0]
            )
            _plan(session, made)
            return made

        def again(session: Session) -> Schedule:
            row = session.one(_BY_UUID, called=str(uuid))
            return work(session) if row is None else _schedule_of(row)

        try:
            return await self._executor.write(work, again=again)
        except Taken:
            raise _taken(draft.name) from None

    async def schedule(self, schedule_id: int) -> Schedule:
        row = await self._executor.glance(lambda session: session.one(_ONE, row=schedule_id))
        if row is None:
            raise NotFound("There is no such schedule.")
        return _schedule_of(row)

    async def schedules(
        self, organization_id: int, *, limit: int, after: str = "", user_id: int | None = None
    ) -> Sequence[Schedule]:
        asked = _ALL if user_id is None else _OF_USER
        given = {"organization": organization_id, "after": after, "limit": limit, "user": user_id}
        rows = await self._executor.read(lambda session: session.all(asked, **given))
        return tuple(map(_schedule_of, rows))

    async def update_schedule(self, known: Schedule, draft: ScheduleDraft, now: datetime) -> Schedule | None:
        # Later than the one before, whatever the clock says: by this date a change knows what it is a change of.
        values = _values(draft, max(now, known.date_updated + timedelta(microseconds=1)))

        def work(session: Session) -> Schedule | None:
            row = session.one(_UPDATE, row=known.id, seen=micros(known.date_updated), **values)
            if row is None:
                return None
            changed = _schedule_of(row)
            _plan(session, changed)
            return changed

        try:
            return await self._executor.write(work, again=work)
        except Taken:
            raise _taken(draft.name) from None

    async def remove_schedule(self, schedule_id: int) -> bool:
        def work(session: Session) -> bool:
            session.one(_LOCK, row=schedule_id)
            session.run(_REMOVE_FIRINGS, row=schedule_id)
            return session.run(_REMOVE, row=schedule_id) > 0

        return await self._executor.write(work)

    async def add_firings(
        self, schedule_id: int, found: Sequence[Firing], *, due: datetime, following: datetime | None
    ) -> bool:
        def work(session: Session) -> bool:
            if session.run(_ADVANCE, row=schedule_id, due=micros(due), following=micros(following)) == 0:
                return False
            session.many(_ADD_FIRING, [_firing_values(each) for each in found])
            if following is not None:
                chores.plan(session, ChoreKind.SCHEDULE, schedule_id, following)
            return True

        return await self._executor.write(work)

    async def add_firing(
        self,
        firing: Firing,
        *,
        asked_by: Principal | None = None,
        idempotency: Idempotency | None = None,
        audit: AuditEntry | None = None,
    ) -> Firing:
        due = micros(firing.date_due)

        def work(session: Session) -> Firing:
            if session.one(_LOCK, row=firing.schedule_id) is None:
                raise NotFound("There is no such schedule.")
            if asked_by is not None and idempotency is not None:
                # A key keeps a UUID: a firing has none, and of its schedule's its time is its own.
                earlier = earlier_use(session, asked_by, UUID(int=due), idempotency, firing.date_fired)
                if earlier is not None:
                    row = session.one(_FIRING, row=firing.schedule_id, at=earlier.int)
                    if row is None:
                        raise NotFound("What this Idempotency-Key started is not kept any more.")
                    return _firing_of(row)
            if session.run(_ADD_FIRING, **_firing_values(firing)) and audit is not None:
                add_entry(session, audit)
            chores.plan(session, ChoreKind.SCHEDULE, firing.schedule_id, firing.date_fired)
            return firing

        return await self._executor.write(work, again=work)

    async def update_firing(self, firing: Firing) -> None:
        values = _firing_values(firing)
        asked = {"row": firing.schedule_id, "at": values["date_due"], **{name: values[name] for name in _CHANGED}}
        await self._executor.write(
            lambda session: session.run(_UPDATE_FIRING, **asked),
            again=lambda session: session.run(_UPDATE_FIRING, **asked),
        )

    async def firings(
        self, schedule_id: int, *, limit: int, outcomes: frozenset[Outcome] | None = None
    ) -> Sequence[Firing]:
        asked = _LATEST if outcomes is None else _LATEST_OF
        named = f"|{'|'.join(sorted(outcomes or ()))}|"
        rows = await self._executor.read(
            lambda session: session.all(asked, row=schedule_id, limit=limit, outcomes=named)
        )
        return tuple(map(_firing_of, rows))

    async def prune_firings(self, schedule_id: int, before: datetime) -> int:
        return await self._executor.write(lambda session: session.run(_PRUNE, row=schedule_id, before=micros(before)))


def _plan(session: Session, schedule: Schedule) -> None:
    if schedule.date_next is not None:
        chores.plan(session, ChoreKind.SCHEDULE, schedule.id, schedule.date_next)


def _taken(name: str) -> Conflict:
    return Conflict(f"There is a schedule called {name} already.")


def _values(draft: ScheduleDraft, now: datetime) -> dict[str, object]:
    return {
        "name": plain(draft.name),
        "cron": plain(draft.cron),
        "time_zone": plain(draft.time_zone),
        "missed": str(draft.missed),
        "overlap": str(draft.overlap),
        "target": json_of(draft.target),
        "is_enabled": draft.is_enabled,
        "date_next": micros(draft.date_next),
        "date_updated": micros(now),
    }


def _firing_values(firing: Firing) -> dict[str, object]:
    return {
        "schedule_id": firing.schedule_id,
        "date_due": micros(firing.date_due),
        "date_fired": micros(firing.date_fired),
        "outcome": str(firing.outcome),
        "detail": plain(firing.detail),
        "run_id": firing.run_id,
        "batch_id": firing.batch_id,
        "script_run_id": firing.script_run_id,
    }


def _schedule_of(row: Row) -> Schedule:
    id_, uuid, organization, user, name, cron, zone, missed, overlap, target, enabled, following, created, updated = row
    return Schedule(
        id_,
        UUID(uuid),
        organization,
        user,
        name,
        cron,
        zone,
        Missed(missed),
        Overlap(overlap),
        json.loads(target),
        bool(enabled),
        optional_date(following),
        date_of(created),
        date_of(updated),
    )


def _firing_of(row: Row) -> Firing:
    schedule_id, due, fired, outcome, detail, run_id, batch_id, script_run_id = row
    return Firing(schedule_id, date_of(due), date_of(fired), Outcome(outcome), detail, run_id, batch_id, script_run_id)
