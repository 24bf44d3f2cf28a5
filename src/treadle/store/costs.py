"""The bill: what model time cost, by organization, month and user, counted with the step that it is added to."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import bindparam, func, select
from sqlalchemy.dialects.postgresql import insert as insert_or  # SQLite's dialect writes its ON CONFLICT the same way

from treadle.domain.months import month_of
from treadle.domain.run import Usage
from treadle.ports.trust import MonthCost
from treadle.store.prepared import Prepared
from treadle.store.session import Executor, Session
from treadle.store.tables import monthly_costs, runs

_ADDED = ("input_tokens", "output_tokens", "cost_usd")
_add = insert_or(monthly_costs).from_select(
    ["organization_id", "month", "user_id", *_ADDED],
    select(
        runs.c.organization_id,
        bindparam("in_month", type_=monthly_costs.c.month.type).label("month"),
        runs.c.user_id,
        *(bindparam(f"more_{name}", type_=monthly_costs.c[name].type).label(name) for name in _ADDED),
    ).where(runs.c.id == bindparam("run")),
)
_ADD = Prepared(
    _add.on_conflict_do_update(
        index_elements=[*monthly_costs.primary_key],
        set_={name: monthly_costs.c[name] + _add.excluded[name] for name in _ADDED},
    )
)
_MONTH = Prepared(
    select(func.coalesce(func.sum(monthly_costs.c.cost_usd), 0.0)).where(
        monthly_costs.c.organization_id == bindparam("organization"), monthly_costs.c.month == bindparam("in_month")
    )
)
_months = (
    select(monthly_costs.c.month, monthly_costs.c.user_id, *(monthly_costs.c[name] for name in _ADDED))
    .where(
        monthly_costs.c.organization_id == bindparam("organization"),
        monthly_costs.c.month >= bindparam("first"),
        monthly_costs.c.month <= bindparam("last"),
    )
    .order_by(monthly_costs.c.month.desc(), monthly_costs.c.cost_usd.desc(), monthly_costs.c.user_id)
)
_MONTHS = Prepared(_months)
_MONTHS_OF_USER = Prepared(_months.where(monthly_costs.c.user_id == bindparam("user")))


def charge(session: Session, run_id: int, usage: Usage, now: datetime) -> None:
    """Adds what a step of the run has used to the month's bill."""
    session.run(
        _ADD,
        run=run_id,
        in_month=month_of(now),
        more_input_tokens=usage.input_tokens,
        more_output_tokens=usage.output_tokens,
        more_cost_usd=usage.cost_usd,
    )


def month_cost(session: Session, organization_id: int, now: datetime) -> float:
    """US dollars, in the month of `now`."""
    row = session.one(_MONTH, organization=organization_id, in_month=month_of(now))
    return 0.0 if row is None else float(row[0])


class Costs:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def month_cost(self, organization_id: int, now: datetime) -> float:
        return await self._executor.glance(lambda session: month_cost(session, organization_id, now))

    async def month_costs(
        self, organization_id: int, user_id: int | None, *, first: str, last: str
    ) -> Sequence[MonthCost]:
        asked = _MONTHS if user_id is None else _MONTHS_OF_USER
        rows = await self._executor.read(
            lambda session: session.all(asked, organization=organization_id, user=user_id, first=first, last=last)
        )
        return tuple(
            MonthCost(month, user, Usage(int(read), int(written), float(cost)))
            for month, user, read, written, cost in rows
        )
