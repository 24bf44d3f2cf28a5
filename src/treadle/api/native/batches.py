"""Batches: one plan on many repositories."""

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from treadle.api.auth import Caller
from treadle.api.bodies import Query, read_json, whole_number
from treadle.api.downloads import attachment
from treadle.api.json_bytes import encode
from treadle.api.native import batch_documents as documents
from treadle.api.native.batch_requests import read_batch, read_concurrency
from treadle.api.native.documents import JSON
from treadle.api.native.plan_bodies import plan_within
from treadle.api.native.repeating import repeatable_of
from treadle.api.plain_route import PlainRoute
from treadle.api.problem_guard import Guard
from treadle.domain.batch import MAX_BATCH_ITEMS, Batch, ItemStatus
from treadle.domain.errors import InvalidInput, NotFound
from treadle.domain.permissions import Permission, require
from treadle.services.batch_report import ReportForm, batch_json, item_json, report
from treadle.services.batches import DEFAULT_BATCH_PAGE, MAX_BATCH_PAGE, Batches, BatchRequest

PATH = "/batches"
ONE = f"{PATH}/{{id}}"

SHAPES: Sequence[type[BaseModel]] = documents.SHAPES

#: No database counts further.
_LAST_ID: Final = 2**63 - 1
_MEDIA: Final = {
    ReportForm.CSV: "text/csv; charset=utf-8",
    ReportForm.JSON: JSON,
    ReportForm.MARKDOWN: "text/markdown; charset=utf-8",
}


class BatchHandlers:
    """The handlers."""

    def __init__(self, batches: Batches, *, max_request_bytes: int, allow_local: bool) -> None:
        self._batches = batches
        self._max_request_bytes = max_request_bytes
        self._allow_local = allow_local

    async def start(self, request: Request, caller: Caller) -> Response:
        require(caller.principal, Permission.RUN)
        body = read_batch(await read_json(request, self._max_request_bytes))
        repeatable = repeatable_of(request, "batch", body.sent)
        wanted = BatchRequest(
            plan=await plan_within(body.plan, allow_local=self._allow_local),
            reach=body.reach,
            variables=body.variables,
            name=body.name,
            concurrency=body.concurrency,
            stop_after_failures=body.stop_after_failures,
            max_cost_usd=body.max_cost_usd,
        )
        return _answer(await self._batches.start(caller.principal, wanted, repeatable))

    async def list(self, request: Request, caller: Caller) -> Response:
        query = Query(request)
        limit = query.number("limit", default=DEFAULT_BATCH_PAGE, least=1, most=MAX_BATCH_PAGE)
        before = query.number("before", default=0, least=1, most=_LAST_ID)
        query.check()
        found = await self._batches.list(caller.principal, limit=limit, before=before or None)
        following = found[-1].id if len(found) == limit else None
        shown = [batch_json(batch, whole=False) for batch in found]
        return Response(encode({"batches": shown, "next": following}), media_type=JSON)

    async def get(self, request: Request, caller: Caller) -> Response:
        return _answer(await self._seen(request, caller))

    async def change(self, request: Request, caller: Caller) -> Response:
        which = _which(request)
        concurrency = read_concurrency(await read_json(request, self._max_request_bytes))
        return _answer(await self._batches.set_concurrency(caller.principal, which, concurrency))

    async def items(self, request: Request, caller: Caller) -> Response:
        query = Query(request)
        limit = query.number("limit", default=DEFAULT_BATCH_PAGE, least=1, most=MAX_BATCH_PAGE)
        after = query.number("after", default=0, least=0, most=MAX_BATCH_ITEMS)
        names = query.texts("status")
        if odd := [name for name in names if name not in set(ItemStatus)]:
            query.faults["status"] = [f"{odd[0][:50]!a} is none of {', '.join(ItemStatus)}."]
        query.check()
        statuses = frozenset(map(ItemStatus, names)) or None
        batch = await self._seen(request, caller)
        found = await self._batches.items(batch, statuses=statuses, limit=limit, after=after)
        following = found[-1].position if len(found) == limit else None
        return Response(encode({"items": list(map(item_json, found)), "next": following}), media_type=JSON)

    async def report(self, request: Request, caller: Caller) -> Response:
        given = request.query_params.get("format", ReportForm.JSON)
        if given not in set(ReportForm):
            raise InvalidInput({"format": [f"Must be one of {', '.join(ReportForm)}."]})
        form, batch = ReportForm(given), await self._seen(request, caller)
        headers = {
            "Content-Type": _MEDIA[form],
            "Content-Disposition": attachment(f"batch-{batch.id}.{form}"),
            "Cache-Control": "private, no-store",
            "X-Content-Type-Options": "nosniff",
        }
        return StreamingResponse(report(self._batches, batch, form), headers=headers)

    async def retry(self, request: Request, caller: Caller) -> Response:
        return _answer(await self._batches.retry(caller.principal, _which(request)))

    async def kill(self, request: Request, caller: Caller) -> Response:
        return _answer(await self._batches.kill(caller.principal, _which(request)))

    async def _seen(self, request: Request, caller: Caller) -> Batch:
        return await self._batches.get(caller.principal, _which(request))


def batch_routes(guard: Guard, handlers: BatchHandlers) -> Sequence[PlainRoute]:
    behind = guard.behind
    return [
        PlainRoute(PATH, behind(handlers.start), methods=["POST"], **documents.START.options()),
        PlainRoute(PATH, behind(handlers.list), methods=["GET"], **documents.LIST.options()),
        PlainRoute(ONE, behind(handlers.get), methods=["GET"], **documents.GET.options()),
        PlainRoute(ONE, behind(handlers.change), methods=["PATCH"], **documents.CHANGE.options()),
        PlainRoute(f"{ONE}/items", behind(handlers.items), methods=["GET"], **documents.ITEMS.options()),
        PlainRoute(f"{ONE}/report", behind(handlers.report), methods=["GET"], **_report_options()),
        PlainRoute(f"{ONE}/retry", behind(handlers.retry), methods=["POST"], **documents.RETRY.options()),
        PlainRoute(f"{ONE}/kill", behind(handlers.kill), methods=["POST"], **documents.KILL.options()),
    ]


def _report_options() -> dict[str, Any]:
    options = documents.REPORT.options()
    text = {"schema": {"type": "string"}}
    options["responses"][200]["content"] = {
        JSON: {"schema": {"type": "object"}},
        "text/csv": text,
        "text/markdown": text,
    }
    return options


def _which(request: Request) -> int | UUID:
    """Raises NotFound for what is no id."""
    given = request.path_params["id"]
    number = whole_number(given)
    if number is not None:
        return number
    try:
        return UUID(given)
    except ValueError:
        raise NotFound("Batch not found.") from None


def _answer(batch: Batch) -> Response:
    return Response(encode(batch_json(batch)), media_type=JSON)
