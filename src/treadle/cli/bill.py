"""What `treadle usage`, `treadle budget` and `treadle admin usage` do."""

import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from treadle import AsyncClient, Budget
from treadle.cli import output
from treadle.cli.lines import when
from treadle.cli.options import dollars_of
from treadle.cli.remote import work_with
from treadle.domain.money import dollars
from treadle.ports.page import UsageRow
from treadle.sdk import UsageRow as Told
from treadle.services.usage import UsageReport

#: By the name of the row's key.
_HEAD: Final = ("NAME", "RUNS", "SUCCEEDED", "FAILED", "INPUT", "OUTPUT", "COST")


@dataclass(frozen=True, slots=True)
class Period:
    """What is asked for. None: as the service says."""

    by: str
    first: date | None
    last: date | None
    own: bool = False


class Bill:
    """One command's dealings with a service."""

    def __init__(self, url: str, key: str | None, *, is_json: bool) -> None:
        self._url = url
        self._key = key
        self._is_json = is_json

    def usage(self, period: Period, *, is_csv: bool) -> None:
        async def work(client: AsyncClient) -> None:
            if is_csv:
                found = await client.usage.csv(period.by, first=period.first, last=period.last, own=period.own)
                sys.stdout.buffer.write(found)
                sys.stdout.buffer.flush()
                return
            report = await client.usage(period.by, first=period.first, last=period.last, own=period.own)
            if self._is_json:
                output.as_json(dict(report.raw))
                return
            show_rows(period.by, [*map(_told, report.rows), ("total", *_told(report.total)[1:])], report.left_out)

        self._do(work)

    def budget(self, max_cost: str | None, monthly_cost: str | None) -> None:
        """None: stays as it is; an empty text takes one away."""
        given: dict[str, float | None] = {}
        if max_cost is not None:
            given["default_max_cost_usd"] = dollars_of("--max-cost", max_cost)
        if monthly_cost is not None:
            given["monthly_cost_usd"] = dollars_of("--monthly-cost", monthly_cost)

        async def work(client: AsyncClient) -> None:
            budget = await client.budget.set(**given) if given else await client.budget.get()
            if self._is_json:
                output.as_json(dict(budget.raw))
                return
            output.table(("FIELD", "VALUE"), list(_lines(budget).items()))

        self._do(work)

    def _do(self, work: Callable[[AsyncClient], Coroutine[object, object, None]]) -> None:
        work_with(self._url, self._key, work)


def show_report(report: UsageReport, *, is_json: bool) -> None:
    """As the store has it."""
    rows = [_known(row, report.names) for row in report.rows]
    total = ("total", *_known(report.total, {})[1:])
    if not is_json:
        show_rows(report.by, [*rows, total], report.left_out)
        return
    names = ("key", "name", "runs", "succeeded", "failed", "inputTokens", "outputTokens", "costUsd")

    def shown(row: UsageRow) -> dict[str, object]:
        values = (row.key, row.name or report.names.get(row.key), row.runs, row.succeeded, row.failed)
        return dict(zip(names, (*values, row.usage.input_tokens, row.usage.output_tokens, _exact(row)), strict=True))

    output.as_json(
        {
            "by": report.by,
            "first": report.first.isoformat(),
            "last": report.last.isoformat(),
            "rows": [shown(row) for row in report.rows],
            "total": shown(report.total),
            "leftOut": report.left_out,
        }
    )


def show_rows(by: str, rows: Sequence[Sequence[str]], left_out: bool) -> None:
    """The last one is the total."""
    output.table((by.upper(), *_HEAD), rows)
    if left_out:
        output.note("There are more; the total has them all.")


def _told(row: Told) -> tuple[str, ...]:
    used = row.usage
    counts = (row.runs, row.succeeded, row.failed, used.input_tokens, used.output_tokens)
    return row.key, row.name or "", *map(str, counts), _money(used.cost_usd)


def _known(row: UsageRow, names: Mapping[str, str]) -> tuple[str, ...]:
    used = row.usage
    counts = (row.runs, row.succeeded, row.failed, used.input_tokens, used.output_tokens)
    return row.key, row.name or names.get(row.key, ""), *map(str, counts), _money(used.cost_usd)


def _exact(row: UsageRow) -> float:
    return round(row.usage.cost_usd, 6)


def _money(amount: float) -> str:
    """To a hundredth of a cent."""
    return dollars(round(amount, 4))


def _lines(budget: Budget) -> dict[str, str]:
    def cap(amount: float | None) -> str:
        return "" if amount is None else dollars(amount)

    return {
        "run": cap(budget.default_max_cost_usd),
        "month": cap(budget.monthly_cost_usd),
        f"spent in {budget.month}": dollars(budget.spent_usd),
        "remaining": cap(budget.remaining_usd),
        "month ends": when(budget.month_ends),
    }
