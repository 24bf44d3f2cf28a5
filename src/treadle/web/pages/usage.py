"""/costs: what runs cost and used over time, by user and by repository; the period is in the address."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from treadle.domain.errors import InvalidInput
from treadle.domain.permissions import Permission, may
from treadle.domain.run import Usage
from treadle.ports.page import UsageBy, UsageRow
from treadle.services.usage import UsageReport
from treadle.web import charts
from treadle.web.door import Visit
from treadle.web.pages.runs.rows import short_address
from treadle.web.site import Site
from treadle.web.text import count, money

PATH = "/costs"

#: What the period may be at a click, in days.
PERIODS = (7, 30, 90, 365)

#: What the view by month shows, with the one that it is.
MONTHS = 12

#: Longer periods are drawn by the week, in days.
DAILY_DAYS = 100

#: Users, and repositories, that are listed: the costliest.
SHOWN_ROWS = 50

_WEEK = 7
_RUNS = ("bar-good", "bar-bad", "bar-rest")


def routes(site: Site) -> Sequence[Route]:
    return [Route(PATH, site.door.page(_Page(site).show), methods=["GET"])]


@dataclass(frozen=True, slots=True)
class _Period:
    """`days` None: two dates of one's own, or months."""

    first: date | None
    last: date | None
    days: int | None = None
    by: UsageBy = UsageBy.DAY


@dataclass(frozen=True, slots=True)
class _Page:
    site: Site

    async def show(self, request: Request, visit: Visit) -> Response:
        """`?days=`, or `?first=&last=`, or `?by=month`; `?whose=own`: the caller's alone, whatever it may see."""
        query, sees_all = request.query_params, may(visit.principal, Permission.RUNS_OF_OTHERS)
        is_own = query.get("whose") == "own" or not sees_all
        trouble, status = None, 200
        try:
            period = self._period(query)
            by_day = await self._report(visit, period, period.by, is_own=is_own)
        except InvalidInput as error:
            trouble, status = " ".join(said for faults in error.faults.values() for said in faults), 400
            period = self._period({})
            by_day = await self._report(visit, period, UsageBy.DAY, is_own=is_own)
        by_user = await self._report(visit, period, UsageBy.USER, is_own=is_own) if not is_own else None
        by_repository = await self._report(visit, period, UsageBy.REPOSITORY, is_own=is_own)
        is_weekly = len(by_day.rows) > DAILY_DAYS
        rows = _weekly(by_day.rows) if is_weekly else by_day.rows
        return self.site.renderer.page(
            "usage.html",
            replace(visit.view, path=PATH),
            status=status,
            trouble=trouble,
            report=by_day,
            rows=rows,
            unit="month" if period.by is UsageBy.MONTH else "week" if is_weekly else "day",
            budget=await self.site.services.budgets.report(visit.principal),
            may_administer=may(visit.principal, Permission.ADMINISTER),
            users=_named(by_user, lambda key, names: names.get(key, "somebody who left")),
            repositories=_named(by_repository, lambda key, _: short_address(key)),
            more_users=max(0, len(by_user.rows) - SHOWN_ROWS) if by_user else 0,
            more_repositories=max(0, len(by_repository.rows) - SHOWN_ROWS),
            cost_chart=_cost_chart(rows),
            runs_chart=_runs_chart(rows),
            periods=PERIODS,
            days=period.days,
            query=_query(period, by_day),
            is_own=is_own,
            sees_all=sees_all,
        )

    def _period(self, query: Mapping[str, str]) -> _Period:
        """Raises InvalidInput."""
        days, first, last, by = (query.get(name, "") for name in ("days", "first", "last", "by"))
        if by:
            return self._months(by)
        if first or last:
            return _Period(_day(first, "first"), _day(last, "last"))
        known = {str(each): each for each in PERIODS}
        if days and days not in known:
            raise InvalidInput({"days": ["There is no such period."]})
        length = known.get(days, 30)
        today = self.site.services.clock.now().date()
        return _Period(today - timedelta(days=length - 1), today, length)

    def _months(self, by: str) -> _Period:
        if by != UsageBy.MONTH:
            raise InvalidInput({"by": ["There is no such view."]})
        today = self.site.services.clock.now().date()
        year, month = divmod(today.year * 12 + today.month - MONTHS, 12)
        return _Period(date(year, month + 1, 1), today, by=UsageBy.MONTH)

    async def _report(self, visit: Visit, period: _Period, by: UsageBy, *, is_own: bool) -> UsageReport:
        return await self.site.services.usage.report(
            visit.principal, by=by, first=period.first, last=period.last, is_own=is_own
        )


def _query(period: _Period, report: UsageReport) -> str:
    """The period, in an address."""
    if period.by is UsageBy.MONTH:
        return "by=month"
    return f"days={period.days}" if period.days else f"first={report.first}&last={report.last}"


def _day(text: str, field: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise InvalidInput({field: ["A day is written as 2026-11-22."]}) from None


def _named(report: UsageReport | None, name: Callable[[str, dict[str, str]], str]) -> Sequence[tuple[str, UsageRow]]:
    if report is None:
        return ()
    return [(name(row.key, dict(report.names)), row) for row in report.rows[:SHOWN_ROWS]]


def _weekly(rows: Sequence[UsageRow]) -> Sequence[UsageRow]:
    """Seven days each, under the first of them; the last one may be shorter."""
    return [_sum(rows[at : at + _WEEK]) for at in range(0, len(rows), _WEEK)]


def _sum(rows: Sequence[UsageRow]) -> UsageRow:
    return UsageRow(
        rows[0].key,
        sum(row.runs for row in rows),
        sum(row.succeeded for row in rows),
        sum(row.failed for row in rows),
        sum((row.usage for row in rows), Usage()),
    )


def _cost_chart(rows: Sequence[UsageRow]) -> Markup:
    total = sum(row.usage.cost_usd for row in rows)
    shown = [
        charts.Bar(_short(row.key), (row.usage.cost_usd,), f"{row.key}: {money(row.usage.cost_usd)}") for row in rows
    ]
    return charts.bars(f"Cost over time, {money(total)} in all", shown, ("bar",), words=_dollars)


def _runs_chart(rows: Sequence[UsageRow]) -> Markup:
    shown = [
        charts.Bar(
            _short(row.key),
            (row.succeeded, row.failed, row.runs - row.succeeded - row.failed),
            f"{row.key}: {row.runs} runs, {row.succeeded} succeeded, {row.failed} failed",
        )
        for row in rows
    ]
    total = sum(row.runs for row in rows)
    return charts.bars(f"Runs over time, {total} in all", shown, _RUNS, words=_whole, least_step=1)


def _short(day: str) -> str:
    if len(day) == len("2026-11"):
        return date.fromisoformat(f"{day}-01").strftime("%b %y")
    return date.fromisoformat(day).strftime("%d %b").lstrip("0")


def _dollars(number: float) -> str:
    return f"${number:,.2f}".removesuffix(".00") if number else "$0"


def _whole(number: float) -> str:
    return count(int(number))
