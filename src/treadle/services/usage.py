"""What runs cost and used, by day, user or repository, for whoever may see them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol

from treadle.domain.errors import InvalidInput
from treadle.domain.identity import Principal
from treadle.domain.months import month_end, months_from
from treadle.domain.permissions import Permission, may, require
from treadle.domain.run import Usage as Used
from treadle.ports import Clock, IdentityStore
from treadle.ports.directory import MemberStore
from treadle.ports.page import UsageBy, UsageRow, UsageStore
from treadle.ports.trust import CostStore

#: Days of a report.
DEFAULT_PERIOD_DAYS = 30
MAX_PERIOD_DAYS = 366

#: Runs, or steps, that a report lists: the costliest.
MAX_ROWS = 1_000


class Store(UsageStore, IdentityStore, MemberStore, CostStore, Protocol):
    """Of the store, what is needed here."""


@dataclass(frozen=True, slots=True)
class UsageReport:
    """`first` and `last`: whole days in UTC, both in it; by month, whole months. `rows`: by day every day of them, by
    month every month, ascending; else those with any runs, the costliest first. `total`: of all, also of what is
    `left_out`. `names`: of the users in `rows`, by their keys; one that is no member any more has none."""

    first: date
    last: date
    by: UsageBy
    rows: Sequence[UsageRow]
    total: UsageRow
    is_whole_organization: bool
    names: Mapping[str, str] = field(default_factory=dict)
    left_out: bool = False  # there are more than MAX_ROWS


class UsageReports:
    """A MEMBER sees its own; whoever sees everybody's runs, the organization's."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def report(
        self,
        principal: Principal,
        *,
        by: UsageBy = UsageBy.DAY,
        first: date | None = None,
        last: date | None = None,
        is_own: bool = False,
    ) -> UsageReport:
        """Without dates the last DEFAULT_PERIOD_DAYS, today among them. `is_own`: the caller's own alone, whatever it
        may see. Raises InvalidInput (paths `first`, `last`), Forbidden."""
        require(principal, Permission.RUN)
        is_whole = not is_own and may(principal, Permission.RUNS_OF_OTHERS)
        user_id = None if is_whole else principal.user_id
        return await self._report(principal.organization_id, user_id, by, first, last)

    async def of_organization(
        self, organization_id: int, *, by: UsageBy = UsageBy.DAY, first: date | None = None, last: date | None = None
    ) -> UsageReport:
        """The same for the operator at the machine. Raises InvalidInput, NotFound."""
        await self._store.organization(organization_id)
        return await self._report(organization_id, None, by, first, last)

    async def _report(
        self, organization_id: int, user_id: int | None, by: UsageBy, first: date | None, last: date | None
    ) -> UsageReport:
        end = last or self._clock.now().astimezone(UTC).date()
        start = first or _before(end, DEFAULT_PERIOD_DAYS - 1)
        if start > end:
            raise InvalidInput({"first": ["Must not be after the last day."]})
        if (end - start).days >= MAX_PERIOD_DAYS:
            raise InvalidInput({"first": [f"The period may have {MAX_PERIOD_DAYS} days at most."]})
        if end >= date.max:
            raise InvalidInput({"last": ["Is too late."]})
        if by is UsageBy.MONTH:
            start, end = start.replace(day=1), _last_of_month(end)
        period = {"since": _midnight(start), "until": _midnight(end + timedelta(days=1))}
        is_grouped = by in {UsageBy.USER, UsageBy.REPOSITORY}
        grouped = by if is_grouped else UsageBy.DAY
        rows = await self._store.usage(organization_id, user_id, **period, by=grouped)
        names, left_out = dict[str, str](), False
        total = _sum(rows)
        if by is UsageBy.DAY:
            rows = _every_day(rows, start, end)
        elif by is UsageBy.MONTH:
            rows = _every_month(rows, await self._bill(organization_id, user_id, start, end), start, end)
            total = _sum(rows)
        elif by is UsageBy.USER:
            names = {str(user.id): user.name for user, _ in await self._store.users(organization_id)}
        elif not is_grouped:
            rows = await self._store.usage_of_each(organization_id, user_id, **period, by=by, limit=MAX_ROWS + 1)
            rows, left_out = rows[:MAX_ROWS], len(rows) > MAX_ROWS
        return UsageReport(start, end, by, rows, total, user_id is None, names, left_out)

    async def _bill(self, organization_id: int, user_id: int | None, first: date, last: date) -> Mapping[str, Used]:
        """What models answered, by month."""
        found = dict[str, Used]()
        for cost in await self._store.month_costs(
            organization_id, user_id, first=f"{first:%Y-%m}", last=f"{last:%Y-%m}"
        ):
            found[cost.month] = found.get(cost.month, Used()) + cost.usage
        return found


def _before(day: date, days: int) -> date:
    return day - timedelta(days=min(days, (day - date.min).days))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _every_day(rows: Sequence[UsageRow], first: date, last: date) -> Sequence[UsageRow]:
    known = {row.key: row for row in rows}
    days = [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]
    return tuple(known.get(day) or UsageRow(day, 0, 0, 0, Used()) for day in days)


def _every_month(days: Sequence[UsageRow], bill: Mapping[str, Used], first: date, last: date) -> Sequence[UsageRow]:
    """Runs and their time by when they were made, money and tokens as the bill has them."""
    found = list[UsageRow]()
    for month in months_from(first, last):
        made = _sum([row for row in days if row.key.startswith(month)])
        used = replace(bill.get(month, Used()), duration_ms=made.usage.duration_ms)
        found.append(replace(made, key=month, usage=used))
    return found


def _last_of_month(day: date) -> date:
    return month_end(_midnight(day)).date() - timedelta(days=1)


def _sum(rows: Sequence[UsageRow]) -> UsageRow:
    return UsageRow(
        "",
        sum(row.runs for row in rows),
        sum(row.succeeded for row in rows),
        sum(row.failed for row in rows),
        sum((row.usage for row in rows), Used()),
    )
