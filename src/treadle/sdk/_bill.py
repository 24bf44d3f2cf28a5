"""`client.usage` and `client.budget`: what runs cost, and may."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import Enum
from typing import Final
from uuid import UUID

import httpx2

from treadle.sdk._async_driver import AsyncDriver
from treadle.sdk._calls import Call, Request
from treadle.sdk._documented import documented_as
from treadle.sdk._driver import Driver
from treadle.sdk._models import Usage
from treadle.sdk._wire import Fields, JsonValue, WireError

USAGE = "/usage"
BUDGET = "/budget"
CSV = "text/csv"


class Kept(Enum):
    """The cap that is to stay as it is; None is no cap."""

    KEPT = "kept"


KEPT: Final = Kept.KEPT


@dataclass(frozen=True, slots=True)
class UsageRow:
    """`key`: a day, a month, a user's id, a repository's address, a run's id, or a run's and a step's place, `17/2`.
    `name`: what people call it. `process_id`: of a run, or of a step's."""

    key: str
    name: str | None
    process_id: UUID | None
    runs: int
    succeeded: int
    failed: int
    usage: Usage

    @classmethod
    def read(cls, fields: Fields) -> "UsageRow":
        return cls(
            key=fields.text("key"),
            name=fields.optional_text("name"),
            process_id=fields.optional_uuid("processId"),
            runs=fields.integer("runs"),
            succeeded=fields.integer("succeeded"),
            failed=fields.integer("failed"),
            usage=Usage.read(fields),
        )


@dataclass(frozen=True, slots=True)
class UsageReport:
    """`first` and `last` are days in UTC, both in it. `is_whole`: the organization's; else your own. `total` also has
    what is not among the rows, where `left_out` says that there is more; `raw` is the JSON as it came."""

    by: str
    first: date
    last: date
    is_whole: bool
    rows: Sequence[UsageRow]
    total: UsageRow
    left_out: bool
    raw: Mapping[str, JsonValue] = field(repr=False, compare=False)

    @classmethod
    def read(cls, value: object) -> "UsageReport":
        fields = Fields(value, "usage")
        total = fields.optional_object("total")
        if total is None:
            raise WireError("usage.total is missing.")
        return cls(
            by=fields.text("by"),
            first=date.fromisoformat(fields.text("first")),
            last=date.fromisoformat(fields.text("last")),
            is_whole=fields.flag("isWhole"),
            rows=tuple(UsageRow.read(each) for each in fields.objects("rows")),
            total=UsageRow.read(total),
            left_out=fields.flag("leftOut"),
            raw=fields.raw,
        )


@dataclass(frozen=True, slots=True)
class Budget:
    """An organization's, in US dollars; None: no cap. `spent_usd`: by what models answered in `month` to `as_of`."""

    default_max_cost_usd: float | None
    monthly_cost_usd: float | None
    month: str
    spent_usd: float
    remaining_usd: float | None
    as_of: datetime | None
    month_ends: datetime | None
    raw: Mapping[str, JsonValue] = field(repr=False, compare=False)

    @classmethod
    def read(cls, value: object) -> "Budget":
        fields = Fields(value, "budget")
        return cls(
            default_max_cost_usd=fields.optional_number("defaultMaxCostUsd"),
            monthly_cost_usd=fields.optional_number("monthlyCostUsd"),
            month=fields.text("month"),
            spent_usd=fields.number("spentUsd"),
            remaining_usd=fields.optional_number("remainingUsd"),
            as_of=fields.date("asOf"),
            month_ends=fields.date("monthEnds"),
            raw=fields.raw,
        )


def usage(by: str, first: date | str | None, last: date | str | None, *, own: bool) -> Call[UsageReport]:
    params = _period(by, first, last, own=own)
    return Call(Request("GET", USAGE, params=params), lambda response: UsageReport.read(response.json()))


def usage_csv(by: str, first: date | str | None, last: date | str | None, *, own: bool) -> Call[bytes]:
    request = Request("GET", USAGE, accept=CSV, params=(*_period(by, first, last, own=own), ("format", "csv")))
    return Call(request, lambda response: response.content)


def _period(by: str, first: date | str | None, last: date | str | None, *, own: bool) -> tuple[tuple[str, str], ...]:
    given = {"by": by, "first": first, "last": last, "user": "me" if own else None}
    return tuple((name, str(value)) for name, value in given.items() if value is not None)


def budget() -> Call[Budget]:
    return Call(Request("GET", BUDGET), _budget)


def set_budget(default_max_cost_usd: float | Kept | None, monthly_cost_usd: float | Kept | None) -> Call[Budget]:
    given = {"defaultMaxCostUsd": default_max_cost_usd, "monthlyCostUsd": monthly_cost_usd}
    body: dict[str, JsonValue] = {name: value for name, value in given.items() if not isinstance(value, Kept)}
    return Call(Request("PUT", BUDGET, json=body), _budget)


def _budget(response: httpx2.Response) -> Budget:
    return Budget.read(response.json())


class Bill:
    """`client.usage`."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def __call__(
        self, by: str = "day", *, first: date | str | None = None, last: date | str | None = None, own: bool = False
    ) -> UsageReport:
        """What runs cost and used: your organization's, or your own where you may not see others' runs, or with `own`.

        `by` is day, month, user, repository, run or step; `first` and `last` are days in UTC, the last 30 without them.
        Runs count on the day they were made, by month money and tokens by when the model answered. Raises
        BadRequestError.
        """
        return self._driver.call(usage(by, first, last, own=own))

    def csv(
        self, by: str = "day", *, first: date | str | None = None, last: date | str | None = None, own: bool = False
    ) -> bytes:
        """The same as a table for a spreadsheet."""
        return self._driver.call(usage_csv(by, first, last, own=own))


@documented_as(Bill)
class AsyncBill:
    """`client.usage`."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver

    async def __call__(
        self, by: str = "day", *, first: date | str | None = None, last: date | str | None = None, own: bool = False
    ) -> UsageReport:
        return await self._driver.call(usage(by, first, last, own=own))

    async def csv(
        self, by: str = "day", *, first: date | str | None = None, last: date | str | None = None, own: bool = False
    ) -> bytes:
        return await self._driver.call(usage_csv(by, first, last, own=own))


AsyncBill.__call__.__doc__ = Bill.__call__.__doc__


class Budgets:
    """`client.budget`."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def get(self) -> Budget:
        """What your organization's runs may cost, and have cost this month."""
        return self._driver.call(budget())

    def set(
        self, *, default_max_cost_usd: float | Kept | None = KEPT, monthly_cost_usd: float | Kept | None = KEPT
    ) -> Budget:
        """Sets what is given, in US dollars, and takes away what is None: the budget of runs that name none, and what
        all runs may cost in a calendar month. For ADMINs. Raises BadRequestError, PermissionDeniedError."""
        return self._driver.call(set_budget(default_max_cost_usd, monthly_cost_usd))


@documented_as(Budgets)
class AsyncBudgets:
    """`client.budget`."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver

    async def get(self) -> Budget:
        return await self._driver.call(budget())

    async def set(
        self, *, default_max_cost_usd: float | Kept | None = KEPT, monthly_cost_usd: float | Kept | None = KEPT
    ) -> Budget:
        return await self._driver.call(set_budget(default_max_cost_usd, monthly_cost_usd))
