"""What an organization's runs of some days used. They are found by their dates, so that a short period is as fast in a
large table as in a small one; what was used is on their steps."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from uuid import UUID

from sqlalchemy import ColumnElement, bindparam, case, func, literal_column, or_, select

from treadle.domain.run import Usage as Used
from treadle.domain.states import RunStatus
from treadle.ports.page import UsageBy, UsageRow
from treadle.store.prepared import Prepared, Row, constant
from treadle.store.session import Executor
from treadle.store.tables import runs, steps
from treadle.store.values import date_of, micros

_DAY = 86_400_000_000  # microseconds

#: Of a step's text, in characters, for its name.
NAMED = 200

_KEYS: dict[UsageBy, ColumnElement[object]] = {
    UsageBy.DAY: runs.c.date_created.op("/")(literal_column(str(_DAY))),
    UsageBy.USER: runs.c.user_id,
    UsageBy.REPOSITORY: runs.c.git_url,
}


@lru_cache(maxsize=8)
def statement(by: UsageBy, *, is_of_user: bool) -> Prepared:
    # Each run's first row counts for the run: one pass, and no run is asked for twice.
    first = or_(steps.c.position == 1, steps.c.position.is_(None))
    key = _KEYS[by].label("key")
    found = (
        select(
            key,
            func.count(case((first, 1))),
            func.count(case((first & (runs.c.status == constant(RunStatus.SUCCESS)), 1))),
            func.count(case((first & (runs.c.status == constant(RunStatus.FAILED)), 1))),
            *(
                func.coalesce(func.sum(column), 0)
                for column in (steps.c.input_tokens, steps.c.output_tokens, steps.c.cost_usd, steps.c.duration_ms)
            ),
        )
        .select_from(runs.outerjoin(steps))
        .where(
            runs.c.organization_id == bindparam("organization"),
            runs.c.date_created >= bindparam("since"),
            runs.c.date_created < bindparam("until"),
        )
        .group_by(literal_column("1"))
    )
    return Prepared(found.where(runs.c.user_id == bindparam("user")) if is_of_user else found)


@lru_cache(maxsize=8)
def statement_of_each(by: UsageBy, *, is_of_user: bool) -> Prepared:
    """By RUN or STEP."""
    is_step = by is UsageBy.STEP
    status = steps.c.status if is_step else runs.c.status
    sums = [
        column if is_step else func.coalesce(func.sum(column), 0)
        for column in (steps.c.input_tokens, steps.c.output_tokens, steps.c.cost_usd, steps.c.duration_ms)
    ]
    named = (
        func.substr(steps.c.text, literal_column("1"), literal_column(str(NAMED)))
        if is_step
        else runs.c.git_url.op("||")(literal_column("' '")).op("||")(runs.c.branch_work)
    )
    found = (
        select(
            runs.c.id,
            runs.c.uuid,
            steps.c.position if is_step else literal_column("0"),
            named,
            status,
            *sums,
        )
        .select_from(runs.join(steps) if is_step else runs.outerjoin(steps))
        .where(
            runs.c.organization_id == bindparam("organization"),
            runs.c.date_created >= bindparam("since"),
            runs.c.date_created < bindparam("until"),
        )
        .order_by(sums[2].desc(), runs.c.id.desc(), literal_column("3"))
        .limit(bindparam("most"))
    )
    if not is_step:
        found = found.group_by(runs.c.id)
    return Prepared(found.where(runs.c.user_id == bindparam("user")) if is_of_user else found)


class UsageFigures:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def usage(
        self, organization_id: int, user_id: int | None, *, since: datetime, until: datetime, by: UsageBy
    ) -> Sequence[UsageRow]:
        asked = statement(by, is_of_user=user_id is not None)
        rows = await self._executor.read(
            lambda session: session.all(
                asked, organization=organization_id, user=user_id, since=micros(since), until=micros(until)
            )
        )
        found = [_row_of(row, by) for row in rows]
        if by is UsageBy.DAY:
            return tuple(sorted(found, key=lambda row: row.key))
        return tuple(sorted(found, key=lambda row: (-row.usage.cost_usd, -row.runs, row.key)))

    async def usage_of_each(
        self, organization_id: int, user_id: int | None, *, since: datetime, until: datetime, by: UsageBy, limit: int
    ) -> Sequence[UsageRow]:
        asked = statement_of_each(by, is_of_user=user_id is not None)
        values = {"organization": organization_id, "user": user_id, "since": micros(since), "until": micros(until)}
        rows = await self._executor.read(lambda session: session.all(asked, **values, most=limit))
        return tuple(_each_of(row) for row in rows)


def _each_of(row: Row) -> UsageRow:
    run_id, uuid, position, name, status, input_tokens, output_tokens, cost_usd, duration_ms = row
    return UsageRow(
        key=f"{run_id}/{position}" if position else str(run_id),
        runs=1,
        succeeded=int(status == RunStatus.SUCCESS),
        failed=int(status == RunStatus.FAILED),
        usage=Used(int(input_tokens), int(output_tokens), float(cost_usd), int(duration_ms)),
        name=name,
        run_uuid=UUID(uuid),
    )


def _row_of(row: Row, by: UsageBy) -> UsageRow:
    key, count, succeeded, failed, input_tokens, output_tokens, cost_usd, duration_ms = row
    said = date_of(key * _DAY).date().isoformat() if by is UsageBy.DAY else str(key)
    # PostgreSQL adds large integers up to a decimal.
    used = Used(int(input_tokens), int(output_tokens), float(cost_usd), int(duration_ms))
    return UsageRow(said, count, succeeded, failed, used)
