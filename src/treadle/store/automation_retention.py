"""What automation leaves, and its removal once it is over and old: batches, runs of scripts, threads, counts of checks,
firings, deliveries, and share links that open nothing. Nothing goes whose run, or whose chore, is still to come to its
end, or came to it lately."""

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Delete, Select, bindparam, delete, exists, literal_column, not_, or_, select

from treadle.domain.schedule import Outcome
from treadle.ports.chores import ChoreKind
from treadle.store.automation_tables import (
    batch_items,
    batches,
    check_tries,
    chores,
    deliveries,
    firings,
    script_calls,
    script_logs,
    script_runs,
    threads,
)
from treadle.store.prepared import Prepared
from treadle.store.session import Executor, Session
from treadle.store.tables import runs, share_links
from treadle.store.values import micros

#: How many one transaction removes: others wait for it to write.
PORTION = 20

_BEFORE = bindparam("before", type_=runs.c.date_completed.type)
_RECEIVED_BEFORE = bindparam("received_before", type_=deliveries.c.date_received.type)


def _is_over(run_id: ColumnElement[int]) -> ColumnElement[bool]:
    """Of what has no run too."""
    lately = or_(runs.c.date_completed.is_(None), runs.c.date_completed >= _BEFORE)
    return not_(exists().where(runs.c.id == run_id, lately))


def _is_done(kind: ChoreKind, subject: ColumnElement[int]) -> ColumnElement[bool]:
    return not_(exists().where(chores.c.kind == literal_column(f"'{kind}'"), chores.c.subject == subject))


@dataclass(frozen=True, slots=True)
class _Kind:
    """`found`: the keys of those that go, whose rows nobody else is writing. `removed`: by these keys, in this
    order."""

    found: Prepared
    removed: tuple[Prepared, ...]
    keys: tuple[str, ...]


def _kind(found: Select[Any], *removed: Delete, keys: tuple[str, ...] = ("row",)) -> _Kind:
    some = found.limit(literal_column(str(PORTION))).with_for_update(skip_locked=True)
    return _Kind(Prepared(some), tuple(map(Prepared, removed)), keys)


def _row(column: ColumnElement[int]) -> ColumnElement[bool]:
    return column == bindparam("row", type_=column.type)


_IS_SETTLED = firings.c.outcome.not_in(
    [literal_column(f"'{outcome}'") for outcome in (Outcome.STARTING, Outcome.WAITING)]
)
_has_recent_batch = exists().where(
    batches.c.id == firings.c.batch_id, or_(batches.c.date_completed.is_(None), batches.c.date_completed >= _BEFORE)
)
_has_recent_script = exists().where(
    script_runs.c.id == firings.c.script_run_id,
    or_(script_runs.c.date_completed.is_(None), script_runs.c.date_completed >= _BEFORE),
)
#: Firings first: as long as one is there, so is what it started.
_KINDS = (
    _kind(
        select(firings.c.schedule_id, firings.c.date_due).where(
            firings.c.date_fired < _BEFORE,
            _IS_SETTLED,
            _is_over(firings.c.run_id),
            not_(_has_recent_batch),
            not_(_has_recent_script),
        ),
        delete(firings).where(
            _row(firings.c.schedule_id), firings.c.date_due == bindparam("at", type_=firings.c.date_due.type)
        ),
        keys=("row", "at"),
    ),
    _kind(
        select(batches.c.id).where(
            batches.c.date_completed < _BEFORE,
            _is_done(ChoreKind.BATCH, batches.c.id),
            not_(exists().where(firings.c.batch_id == batches.c.id)),
            not_(exists().where(batch_items.c.batch_id == batches.c.id, not_(_is_over(batch_items.c.run_id)))),
        ),
        delete(batch_items).where(_row(batch_items.c.batch_id)),
        delete(batches).where(_row(batches.c.id)),
    ),
    _kind(
        select(script_runs.c.id).where(
            script_runs.c.date_completed < _BEFORE,
            _is_done(ChoreKind.SCRIPT, script_runs.c.id),
            not_(exists().where(firings.c.script_run_id == script_runs.c.id)),
        ),
        delete(script_calls).where(_row(script_calls.c.script_run_id)),
        delete(script_logs).where(_row(script_logs.c.script_run_id)),
        delete(script_runs).where(_row(script_runs.c.id)),
    ),
    _kind(
        select(threads.c.id).where(
            threads.c.date_updated < _BEFORE, _is_done(ChoreKind.ANSWER, threads.c.id), _is_over(threads.c.run_id)
        ),
        delete(threads).where(_row(threads.c.id)),
    ),
    _kind(
        select(check_tries.c.branch, check_tries.c.name).where(
            check_tries.c.date_updated < _BEFORE, _is_over(check_tries.c.run_id)
        ),
        delete(check_tries).where(
            check_tries.c.branch == bindparam("row", type_=check_tries.c.branch.type),
            check_tries.c.name == bindparam("named", type_=check_tries.c.name.type),
        ),
        keys=("row", "named"),
    ),
    _kind(
        select(deliveries.c.id).where(
            deliveries.c.date_received < _RECEIVED_BEFORE,
            deliveries.c.date_done.is_not(None),
            _is_done(ChoreKind.DELIVERY, deliveries.c.id),
            _is_over(deliveries.c.run_id),
        ),
        delete(deliveries).where(_row(deliveries.c.id)),
    ),
    _kind(
        select(share_links.c.id).where(or_(share_links.c.date_expires < _BEFORE, share_links.c.date_revoked < _BEFORE)),
        delete(share_links).where(_row(share_links.c.id)),
    ),
)


class AutomationRetention:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def prune_automation(self, before: datetime, *, received_before: datetime) -> int:
        dates = {"before": micros(before), "received_before": micros(received_before)}
        removed = 0
        for kind in _KINDS:
            count = PORTION
            while count == PORTION:  # a portion at a time: others write in between
                count = await self._executor.write(partial(_remove, kind=kind, dates=dates))
                removed += count
        return removed


def _remove(session: Session, *, kind: _Kind, dates: dict[str, int]) -> int:
    found = session.all(kind.found, **dates)
    for row in found:
        for statement in kind.removed:
            session.run(statement, **dict(zip(kind.keys, row, strict=True)))
    return len(found)
