"""Lists of runs: a page is merged from one index range a status, so that its cost does not grow with the table."""

from collections.abc import Sequence
from functools import lru_cache

from sqlalchemy import Integer, bindparam, func, select, union_all

from treadle.domain.run import Run, Step
from treadle.domain.states import RunStatus
from treadle.ports import RunFilter
from treadle.store.prepared import Prepared, among, constant
from treadle.store.run_rows import LISTED_STEP_COLUMNS, RUN_COLUMNS, STEP_COLUMNS, run_of, step_of
from treadle.store.session import Session
from treadle.store.tables import runs, steps

#: Above every id.
_LAST = 1 << 62
#: Runs whose steps are fetched by one statement; SQLite takes at most 32,766 parameters.
_STEPS_OF = 1024

# Ordered and limited: counted plainly, SQLite reads an index of all runs, not knowing that this one is short.
_new = select(runs.c.id).where(runs.c.status == constant(RunStatus.NEW)).order_by(runs.c.id).limit(_LAST)
QUEUE_DEPTH = Prepared(select(func.count()).select_from(_new.subquery()))


@lru_cache(maxsize=128)  # 2 x 2^5: one for each set of statuses
def page_statement(statuses: frozenset[RunStatus], *, is_of_user: bool, has_source: bool = False) -> Prepared:
    branches = []
    for status in sorted(statuses):
        found = (
            select(runs.c.id)
            .where(
                runs.c.organization_id == bindparam("organization"),
                runs.c.status == constant(status),
                runs.c.id < bindparam("before"),
            )
            .order_by(runs.c.id.desc())
            .limit(bindparam("reach", type_=Integer))
        )
        if is_of_user:
            found = found.where(runs.c.user_id == bindparam("user"))
        if has_source:
            found = found.where(runs.c.source == bindparam("asked_by"))
        branches.append(select(found.subquery().c.id))
    merged = union_all(*branches).subquery()
    page = (
        select(merged.c.id)
        .order_by(merged.c.id.desc())
        .limit(bindparam("limit", type_=Integer))
        .offset(bindparam("skip", type_=Integer))
    )
    return Prepared(select(*RUN_COLUMNS).where(runs.c.id.in_(page)).order_by(runs.c.id.desc()))


@lru_cache(maxsize=128)
def _count_statement(statuses: frozenset[RunStatus], *, is_of_user: bool, has_source: bool) -> Prepared:
    found = select(func.count()).where(
        runs.c.organization_id == bindparam("organization"), among(runs.c.status, statuses)
    )
    if is_of_user:
        found = found.where(runs.c.user_id == bindparam("user"))
    if has_source:
        found = found.where(runs.c.source == bindparam("asked_by"))
    return Prepared(found)


def count_runs(session: Session, which: RunFilter) -> int:
    statuses = frozenset(RunStatus) if which.statuses is None else which.statuses
    if not statuses:
        return 0
    counted = _count_statement(statuses, is_of_user=which.user_id is not None, has_source=which.source is not None)
    count: int = session.all(counted, **_values(which))[0][0]
    return count


def _values(which: RunFilter) -> dict[str, object]:
    source = which.source
    return {
        "organization": which.organization_id,
        "user": which.user_id,
        "asked_by": None if source is None else source.value,
    }


@lru_cache(maxsize=32)
def _steps_statement(count: int, *, with_outputs: bool) -> Prepared:
    wanted = [bindparam(f"run{number}", type_=runs.c.id.type) for number in range(count)]
    columns = STEP_COLUMNS if with_outputs else LISTED_STEP_COLUMNS
    return Prepared(
        select(steps.c.run_id, *columns).where(steps.c.run_id.in_(wanted)).order_by(steps.c.run_id, steps.c.position)
    )


def list_runs(
    session: Session, which: RunFilter, *, limit: int, before: int | None, skip: int, with_outputs: bool
) -> Sequence[Run]:
    statuses = frozenset(RunStatus) if which.statuses is None else which.statuses
    if not statuses:
        return ()
    statement = page_statement(statuses, is_of_user=which.user_id is not None, has_source=which.source is not None)
    rows = session.all(
        statement,
        **_values(which),
        before=_LAST if before is None else before,
        reach=skip + limit,
        limit=limit,
        skip=skip,
    )
    found = steps_of(session, [row[0] for row in rows], with_outputs=with_outputs)
    return tuple(run_of(row, found.get(row[0], ())) for row in rows)


def steps_of(session: Session, run_ids: Sequence[int], *, with_outputs: bool) -> dict[int, list[Step]]:
    """By the runs' ids."""
    found: dict[int, list[Step]] = {}
    for start in range(0, len(run_ids), _STEPS_OF):
        wanted = run_ids[start : start + _STEPS_OF]
        count = 1 << (len(wanted) - 1).bit_length()  # few statements to compile: the rest is filled up
        padded = [*wanted, *[wanted[-1]] * (count - len(wanted))]
        values = {f"run{number}": run_id for number, run_id in enumerate(padded)}
        for row in session.all(_steps_statement(count, with_outputs=with_outputs), **values):
            found.setdefault(row[0], []).append(step_of(row[1:]))
    return found
