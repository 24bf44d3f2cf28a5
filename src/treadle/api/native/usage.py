"""The bill: what runs used, as JSON or as a table for a spreadsheet."""

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from starlette.requests import Request
from starlette.responses import Response

from treadle.api.auth import Caller
from treadle.api.bodies import preferred
from treadle.api.json_bytes import encode
from treadle.api.native.budgets import DECIMALS
from treadle.api.native.documents import JSON, Endpoint, parameter
from treadle.api.plain_route import PlainRoute
from treadle.api.problem_guard import Guard
from treadle.domain.errors import InvalidInput
from treadle.domain.events import JsonObject
from treadle.ports.page import UsageBy, UsageRow
from treadle.services.usage import MAX_PERIOD_DAYS, UsageReport, UsageReports

PATH = "/usage"
CSV: Final = "text/csv"

_FORMATS: Final = {"json": JSON, "csv": CSV}
_ME: Final = "me"

#: With these a spreadsheet takes a cell for a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


class _Shape(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class UsageRowShape(_Shape):
    """`key`: a day, a month, a user's id, a repository's address, a run's id, or a run's and a step's place, `17/2`.
    `name`: what people call it. `processId`: the run's id in the code-generation API. `costUsd` is US dollars, to a
    millionth; `durationMs` engine time."""

    key: str = Field(examples=["2026-11-22"])
    name: str | None
    process_id: UUID | None
    runs: int
    succeeded: int
    failed: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    duration_ms: int


class UsageReportShape(_Shape):
    """`first` and `last`: days in UTC, both in it. `isWhole`: the organization's; else the caller's own. `total` also
    has what is not among the rows, where `leftOut` says that there is more."""

    by: UsageBy
    first: date
    last: date
    is_whole: bool
    rows: list[UsageRowShape]
    total: UsageRowShape
    left_out: bool


SHAPES: Sequence[type[BaseModel]] = (UsageReportShape,)

_DAY: Mapping[str, Any] = {"type": "string", "format": "date"}
_USAGE = Endpoint(
    "Usage and budgets",
    "Get the bill",
    "A MEMBER sees its own; others the organization's. Runs count on the day they were made, by month money and tokens "
    "by when the model answered. `Accept: text/csv` or `format=csv` gives a table.",
    answer=UsageReportShape,
    problems=(400,),
    parameters=(
        parameter("query", "by", "What has a row.", {"type": "string", "enum": list(UsageBy), "default": "day"}),
        parameter("query", "first", f"The first day; at most {MAX_PERIOD_DAYS} in all. Else 30 days.", _DAY),
        parameter("query", "last", "The last day. Else today, in UTC.", _DAY),
        parameter("query", "user", "`me`: the caller's own, whatever it may see.", {"type": "string", "enum": [_ME]}),
        parameter("query", "format", "Before what `Accept` says.", {"type": "string", "enum": list(_FORMATS)}),
    ),
)


class UsageHandlers:
    """The handler."""

    def __init__(self, reports: UsageReports) -> None:
        self._reports = reports

    async def get(self, request: Request, caller: Caller) -> Response:
        query = request.query_params
        faults = dict[str, list[str]]()
        by = _one_of("by", query.get("by", UsageBy.DAY), list(UsageBy), faults)
        user = _one_of("user", query.get("user", _ME), [_ME], faults)
        form = _one_of("format", query.get("format", "json"), list(_FORMATS), faults)
        first, last = (_day(name, query.get(name), faults) for name in ("first", "last"))
        if faults:
            raise InvalidInput(faults)
        is_own = user == _ME and "user" in query
        report = await self._reports.report(caller.principal, by=UsageBy(by), first=first, last=last, is_own=is_own)
        media_type = _FORMATS[form] if "format" in query else preferred(request.headers.get("accept", ""), (JSON, CSV))
        if media_type == CSV:
            name = f"usage-by-{report.by}-{report.first}-{report.last}.csv"
            headers = {"Content-Disposition": f'attachment; filename="{name}"', "Vary": "Accept"}
            return Response(_table(report), headers=headers, media_type=CSV)
        return Response(encode(_shown(report)), headers={"Vary": "Accept"}, media_type=JSON)


def usage_routes(guard: Guard, handlers: UsageHandlers) -> Sequence[PlainRoute]:
    options = _USAGE.options()
    options["responses"][200]["content"][CSV] = {"schema": {"type": "string"}}
    return [PlainRoute(PATH, guard.behind(handlers.get), methods=["GET"], **options)]


def _one_of(name: str, given: str, known: Sequence[str], faults: dict[str, list[str]]) -> str:
    if given not in known:
        faults[name] = [f"Must be one of {', '.join(known)}."]
    return given


def _day(name: str, given: str | None, faults: dict[str, list[str]]) -> date | None:
    try:
        return date.fromisoformat(given) if given else None
    except ValueError:
        faults[name] = ["Must be a day such as 2026-11-22."]
        return None


def _shown(report: UsageReport) -> JsonObject:
    return {
        "by": report.by,
        "first": report.first.isoformat(),
        "last": report.last.isoformat(),
        "isWhole": report.is_whole_organization,
        "rows": [_row(row, report.names) for row in report.rows],
        "total": _row(report.total, {}),
        "leftOut": report.left_out,
    }


def _row(row: UsageRow, names: Mapping[str, str]) -> JsonObject:
    return {
        "key": row.key,
        "name": row.name if row.name is not None else names.get(row.key),
        "processId": str(row.run_uuid) if row.run_uuid is not None else None,
        "runs": row.runs,
        "succeeded": row.succeeded,
        "failed": row.failed,
        "inputTokens": row.usage.input_tokens,
        "outputTokens": row.usage.output_tokens,
        "costUsd": round(row.usage.cost_usd, DECIMALS),
        "durationMs": row.usage.duration_ms,
    }


def _table(report: UsageReport) -> bytes:
    """The rows, and at the end the total."""
    total = {**_row(report.total, {}), "key": "total"}
    rows = [*(_row(row, report.names) for row in report.rows), total]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(total)
    writer.writerows([_cell(value) for value in row.values()] for row in rows)
    return text.getvalue().encode(errors="backslashreplace")


def _cell(value: object) -> object:
    """A text that would be a formula gets an apostrophe: a step's text is anybody's."""
    if isinstance(value, float):
        return f"{value:.{DECIMALS}f}".rstrip("0").rstrip(".")
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
