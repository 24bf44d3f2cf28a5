"""Chores: background work that is due at a time, claimed with a lease."""

from datetime import datetime, timedelta
from operator import itemgetter

from sqlalchemy import ColumnElement, and_, bindparam, case, delete, func, literal_column, null, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or  # SQLite's dialect writes its ON CONFLICT the same way

from treadle.domain.states import RUN_TERMINAL
from treadle.ports.chores import Chore, ChoreKind
from treadle.store.automation_tables import chores, run_watchers
from treadle.store.prepared import Prepared, among
from treadle.store.session import Executor, Session
from treadle.store.tables import runs
from treadle.store.values import micros, plain

_ONE: ColumnElement[int] = literal_column("1")
_ZERO: ColumnElement[int] = literal_column("0")

_due = chores.c.date_due
_ends = chores.c.date_lease_ends
_insert = insert_or(chores).values(
    kind=bindparam("kind", type_=chores.c.kind.type),
    subject=bindparam("subject", type_=chores.c.subject.type),
    date_due=bindparam("due", type_=_due.type),
    lease=_ZERO,
    tries=_ZERO,
)


def _earlier(other: ColumnElement[int]) -> ColumnElement[int]:
    """Of two dates, of which that in the row may be none."""
    kept = func.coalesce(_due, other)
    return case((kept < other, kept), else_=other)


_PLAN = Prepared(
    _insert.on_conflict_do_update(
        index_elements=[*chores.primary_key], set_={"date_due": _earlier(_insert.excluded.date_due)}
    )
)

_NOW = bindparam("now", type_=_due.type)
#: Of a list of kinds whose length differs, so written as one text between bars: `|batch|script|`.
_IS_ONE_OF = bindparam("kinds", type_=chores.c.kind.type).contains(literal_column("'|'") + chores.c.kind + "|")
_free = (
    select(chores.c.kind, chores.c.subject, _due)
    .where(_ends.is_(null()), _due <= _NOW, _IS_ONE_OF)
    .order_by(_due)
    .limit(_ONE)
)
_forsaken = select(chores.c.kind, chores.c.subject, _ends).where(_ends <= _NOW, _IS_ONE_OF).order_by(_ends).limit(_ONE)
_FREE = Prepared(_free.with_for_update(skip_locked=True))
_FORSAKEN = Prepared(_forsaken.with_for_update(skip_locked=True))
#: Each look, and what takes what it finds.
_LOOKS = ((Prepared(_free), _FREE), (Prepared(_forsaken), _FORSAKEN))

_THE_ONE = and_(
    chores.c.kind == bindparam("which", type_=chores.c.kind.type),
    chores.c.subject == bindparam("about", type_=chores.c.subject.type),
)
_HELD = and_(_THE_ONE, chores.c.lease == bindparam("held", type_=chores.c.lease.type), _ends.is_not(null()))

_TAKE = Prepared(
    update(chores)
    .where(_THE_ONE)
    .values(
        lease=chores.c.lease + 1,
        worker=bindparam("by", type_=chores.c.worker.type),
        date_due=null(),
        date_lease_ends=bindparam("until", type_=_ends.type),
        tries=case((_ends.is_not(null()), chores.c.tries + 1), else_=chores.c.tries),  # whoever had it is gone
    )
    .returning(chores.c.lease, chores.c.tries)
)
_KEEP = Prepared(update(chores).where(_HELD).values(date_lease_ends=bindparam("until", type_=_ends.type)))
_AGAIN = Prepared(
    update(chores)
    .where(_HELD)
    .values(
        date_due=_earlier(bindparam("due", type_=_due.type)),
        date_lease_ends=null(),
        worker=null(),
        tries=case((bindparam("failed", type_=chores.c.tries.type) == _ONE, chores.c.tries + 1), else_=_ZERO),
    )
)
_OVER = Prepared(delete(chores).where(_HELD, _due.is_(null())))

_watch = insert_or(run_watchers).values(
    {column: bindparam(column.name, type_=column.type) for column in run_watchers.columns}
)
_WATCH = Prepared(_watch.on_conflict_do_nothing(index_elements=[*run_watchers.primary_key]))
#: The run's row is locked: its end and this take turns.
_HAS_ENDED = Prepared(select(among(runs.c.status, RUN_TERMINAL)).where(runs.c.id == bindparam("run")).with_for_update())
_WATCHERS = Prepared(
    select(run_watchers.c.kind, run_watchers.c.subject)
    .where(run_watchers.c.run_id == bindparam("run"))
    .order_by(run_watchers.c.kind, run_watchers.c.subject)
)
_FORGET = Prepared(delete(run_watchers).where(run_watchers.c.run_id == bindparam("run")))


def plan(session: Session, kind: ChoreKind, subject: int, due: datetime) -> None:
    """Within whatever else the transaction does; best as its last, as it locks the chore's row."""
    session.run(_PLAN, kind=str(kind), subject=subject, due=micros(due))


def wake_watchers(session: Session, run_id: int, now: datetime) -> None:
    """Of a run that ends in this transaction."""
    watchers = session.all(_WATCHERS, run=run_id)
    for kind, subject in watchers:
        session.run(_PLAN, kind=kind, subject=subject, due=micros(now))
    if watchers:
        session.run(_FORGET, run=run_id)


class Chores:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def plan_chore(self, kind: ChoreKind, subject: int, due: datetime) -> None:
        def work(session: Session) -> None:
            plan(session, kind, subject, due)

        await self._executor.write(work, again=work)

    async def claim_chore(
        self, worker: str, now: datetime, *, lease_seconds: float, kinds: frozenset[ChoreKind]
    ) -> Chore | None:
        asked = {"kinds": f"|{'|'.join(sorted(kinds))}|", "now": micros(now)}

        def look(session: Session) -> list[Prepared]:
            """What may take one; first what takes that which has waited longest."""
            found = [(row[2], take) for one, take in _LOOKS if (row := session.one(one, **asked)) is not None]
            return [take for _, take in sorted(found, key=itemgetter(0))]

        def take(session: Session, takes: list[Prepared]) -> Chore | None:
            found = next((row for one in takes if (row := session.one(one, **asked)) is not None), None)
            if found is None:
                return None
            kind, subject, _ = found
            until = micros(now + timedelta(seconds=lease_seconds))
            row = session.one(_TAKE, which=kind, about=subject, by=plain(worker), until=until)
            return None if row is None else Chore(ChoreKind(kind), subject, row[0], row[1])

        # Idle processes ask often: a look takes no turn among the writers.
        takes = await self._executor.glance(look)
        return await self._executor.write(lambda session: take(session, takes)) if takes else None

    async def keep_chore(self, chore: Chore, now: datetime, *, lease_seconds: float) -> bool:
        until = micros(now + timedelta(seconds=lease_seconds))
        return await self._executor.write(lambda session: session.run(_KEEP, **_held(chore), until=until) == 1)

    async def end_chore(self, chore: Chore, *, again: datetime | None, failed: bool = False) -> bool:
        def work(session: Session) -> bool:
            if again is None and session.run(_OVER, **_held(chore)) == 1:
                return True
            # Planned meanwhile: that date is in the row, and earlier than this.
            due = _LATEST_DATE if again is None else micros(again)
            return session.run(_AGAIN, **_held(chore), due=due, failed=int(failed)) == 1

        return await self._executor.write(work)

    async def watch_run(self, run_id: int, kind: ChoreKind, subject: int, now: datetime) -> None:
        def work(session: Session) -> None:
            row = session.one(_HAS_ENDED, run=run_id)
            if row is None or row[0]:
                plan(session, kind, subject, now)
            else:
                session.run(_WATCH, run_id=run_id, kind=str(kind), subject=subject)

        await self._executor.write(work, again=work)


_LATEST_DATE = (1 << 62) - 1


def _held(chore: Chore) -> dict[str, object]:
    return {"which": str(chore.kind), "about": chore.subject, "held": chore.lease}
