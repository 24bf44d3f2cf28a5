"""The organization's budgets: what its runs may cost, and have."""

from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from starlette.requests import Request
from starlette.responses import Response

from treadle.api.auth import Caller
from treadle.api.bodies import read_json
from treadle.api.json_bytes import date_text, encode
from treadle.api.native.documents import JSON, Endpoint
from treadle.api.native.reading import read_fields
from treadle.api.plain_route import PlainRoute
from treadle.api.problem_guard import Guard
from treadle.domain.errors import InvalidInput
from treadle.services.budgets import BudgetChange, BudgetReport, Budgets
from treadle.services.run_rules import MAX_COST_USD

PATH = "/budget"

#: Decimals of dollars in answers.
DECIMALS = 6

#: The body's fields, by those of the change.
_FIELDS = {"defaultMaxCostUsd": "default_max_cost_usd", "monthlyCostUsd": "monthly_cost_usd"}
_NAMES = {field: name for name, field in _FIELDS.items()}
_TAG = "Usage and budgets"


class _Shape(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class BudgetShape(_Shape):
    """US dollars. `spentUsd`: by what models answered in `month` (UTC) to `asOf`; `remainingUsd` null: there is no
    cap."""

    default_max_cost_usd: float | None
    monthly_cost_usd: float | None
    month: str = Field(examples=["2026-11"])
    spent_usd: float
    remaining_usd: float | None
    as_of: datetime
    month_ends: datetime


class BudgetBody(_Shape):
    """null takes a cap away; what is left out stays."""

    default_max_cost_usd: float | None = Field(
        None, gt=0, le=MAX_COST_USD, description="Of a run that names no budget.", examples=[2.5]
    )
    monthly_cost_usd: float | None = Field(
        None, ge=0, le=MAX_COST_USD, description="Of all runs in a calendar month (UTC).", examples=[100]
    )


SHAPES: Sequence[type[BaseModel]] = (BudgetShape, BudgetBody)

_GET = Endpoint(_TAG, "Get the organization's budgets", "For every member.", answer=BudgetShape)
_SET = Endpoint(
    _TAG,
    "Set the organization's budgets",
    "For ADMINs. The default counts for runs that are made from now on; the month's cap at once, also for those that "
    "are at work.",
    answer=BudgetShape,
    body=BudgetBody,
    problems=(400, 413, 415),
)


class BudgetHandlers:
    """The handlers."""

    def __init__(self, budgets: Budgets, *, max_request_bytes: int) -> None:
        self._budgets = budgets
        self._max_request_bytes = max_request_bytes

    async def get(self, _request: Request, caller: Caller) -> Response:
        return _answer(await self._budgets.report(caller.principal))

    async def set(self, request: Request, caller: Caller) -> Response:
        change = _change(await read_json(request, self._max_request_bytes))
        try:
            return _answer(await self._budgets.set(caller.principal, change))
        except InvalidInput as error:
            raise InvalidInput({_NAMES.get(path, path): said for path, said in error.faults.items()}) from None


def budget_routes(guard: Guard, handlers: BudgetHandlers) -> Sequence[PlainRoute]:
    return [
        PlainRoute(PATH, guard.behind(handlers.get), methods=["GET"], **_GET.options()),
        PlainRoute(PATH, guard.behind(handlers.set), methods=["PUT"], **_SET.options()),
    ]


def _change(body: bytes) -> BudgetChange:
    sent = read_fields(body, _FIELDS)
    faults, values = dict[str, list[str]](), dict[str, float | None]()
    for name, value in sent.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            values[_FIELDS[name]] = value
        elif value is None:
            values[_FIELDS[name]] = None
        else:
            faults[name] = ["Must be a number, or null."]
    if faults:
        raise InvalidInput(faults)
    return BudgetChange(**values, given=frozenset(values))


def _answer(report: BudgetReport) -> Response:
    remaining = report.remaining_usd
    return Response(
        encode(
            {
                "defaultMaxCostUsd": report.default_max_cost_usd,
                "monthlyCostUsd": report.monthly_cost_usd,
                "month": report.month,
                "spentUsd": round(report.spent_usd, DECIMALS),
                "remainingUsd": None if remaining is None else round(remaining, DECIMALS),
                "asOf": date_text(report.as_of),
                "monthEnds": date_text(report.month_ends),
            }
        ),
        media_type=JSON,
    )
