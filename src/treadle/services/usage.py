"""What runs cost and used, by day, user or repository, for whoever may see them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Protocol

from treadle.domain.errors import InvalidInput
from treadle.domain.identity import Principal
from treadle.domain.permissions import Permission, may, require
from treadle.domain.run import Usage as Used
from treadle.ports import Clock, IdentityStore
from treadle.ports.page import UsageBy, UsageRow, UsageStore

#: Days of a report.
DEFAULT_PERIOD_DAYS = 30
MAX_PERIOD_DAYS = 366


class Store(UsageStore, IdentityStore, Protocol):
    """Of the store, what is needed here."""


@dataclass(frozen=True, slots=True)
class UsageReport:
    """`first` and `last`: whole days in UTC, both in it. `rows`: by day every day of them, ascending; else those with
    any runs, the costliest first. `names`: of the users in `rows`, by their keys; one that is no member any more has
    none."""

    first: date
    last: date
    by: UsageBy
    rows: Sequence[UsageRow]
    total: UsageRow
    is_whole_organization: bool
    names: Mapping[str, str] = field(default_factory=dict)


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
        end = last or self._clock.now().astimezone(UTC).date()
        start = first or _before(end, DEFAULT_PERIOD_DAYS - 1)
        if start > end:
            raise InvalidInput({"first": ["Must not be after the last day."]})
        if (end - start).days >= MAX_PERIOD_DAYS:
            raise InvalidInput({"first": [f"The period may have {MAX_PERIOD_DAYS} days at most."]})
        if end >= date.max:
            raise InvalidInput({"last": ["Is too late."]})
        is_whole = not is_own and may(principal, Permission.RUNS_OF_OTHERS)
        rows = await self._store.usage(
            principal.organization_id,
            None if is_whole else principal.user_id,
            since=_midnight(start),
            until=_midnight(end + timedelta(days=1)),
            by=by,
        )
        total = _sum(rows)
        names: Mapping[str, str] = {}
        if by is UsageBy.DAY:
            rows = _every_day(rows, start, end)
        elif by is UsageBy.USER:
            names = {str(user.id): user.name for user, _ in await self._store.users(principal.organization_id)}
        return UsageReport(start, end, by, rows, total, is_whole, names)


def _before(day: date, days: int) -> date:
    return day - timedelta(days=min(days, (day - date.min).days))


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _every_day(rows: Sequence[UsageRow], first: date, last: date) -> Sequence[UsageRow]:
    known = {row.key: row for row in rows}
    days = [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]
    return tuple(known.get(day) or UsageRow(day, 0, 0, 0, Used()) for day in days)


def _sum(rows: Sequence[UsageRow]) -> UsageRow:
    return UsageRow(
        "",
        sum(row.runs for row in rows),
        sum(row.succeeded for row in rows),
        sum(row.failed for row in rows),
        sum((row.usage for row in rows), Used()),
    )
