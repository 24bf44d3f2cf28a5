"""Webhooks: who is told of what happens, and what became of it."""

from collections.abc import Mapping, Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from treadle.api.auth import Caller
from treadle.api.bodies import Query, read_json, whole_number
from treadle.api.json_bytes import date_text, encode
from treadle.api.native.documents import JSON, Endpoint, parameter
from treadle.api.native.reading import read_fields
from treadle.api.native.webhook_shapes import (
    MessageShape,
    MessagesShape,
    NewWebhookBody,
    ResentShape,
    WebhookBody,
    WebhookReplyShape,
    WebhookShape,
    WebhooksShape,
)
from treadle.api.plain_route import PlainRoute
from treadle.api.problem_guard import Guard
from treadle.domain.errors import InvalidInput, NotFound
from treadle.domain.events import JsonObject
from treadle.domain.messages import Filter, Message, MessageStatus, Webhook, WebhookKind
from treadle.services.webhooks import DEFAULT_MESSAGES, MAX_MESSAGES, Webhooks, WebhookWish

PATH = "/webhooks"

_TAG = "Webhooks"
_ID = parameter("path", "id", "The webhook's id.", {"type": "integer"}, is_required=True)
_MESSAGE = parameter("path", "message", "The message's id.", {"type": "integer"}, is_required=True)
#: No database counts further.
_LAST_ID: Final = 2**63 - 1
_FILTER_FIELDS: Final = ("types", "repositories", "statuses", "sources")


_LIST = Endpoint(_TAG, "List webhooks", "Takes a MANAGER.", answer=WebhooksShape)
_ADD = Endpoint(
    _TAG,
    "Add a webhook",
    "It is told of what happens from now on. Takes an ADMIN. `secret` of the answer signs, and is told once.",
    answer=WebhookShape,
    body=NewWebhookBody,
    problems=(400, 409, 413, 415),
)
_GET = Endpoint(_TAG, "Get a webhook", answer=WebhookShape, problems=(404,), parameters=(_ID,))
_UPDATE = Endpoint(
    _TAG,
    "Change a webhook",
    "While it is not enabled nothing is put in line for it; what waits goes out once it is again. Takes an ADMIN.",
    answer=WebhookShape,
    body=WebhookBody,
    problems=(400, 404, 409, 413, 415),
    parameters=(_ID,),
)
_REMOVE = Endpoint(
    _TAG, "Remove a webhook", "With its messages. Takes an ADMIN.", problems=(404, 409), parameters=(_ID,)
)
_ROTATE = Endpoint(
    _TAG,
    "Give a webhook another secret",
    "For a day both sign: a receiver that knows one of them takes everything. Takes an ADMIN.",
    answer=WebhookShape,
    problems=(404, 409),
    parameters=(_ID,),
)
_TEST = Endpoint(
    _TAG,
    "Test a webhook",
    "Sends `webhook.test` once, now, and says what came back.",
    answer=WebhookReplyShape,
    problems=(404,),
    parameters=(_ID,),
)
_MESSAGES = Endpoint(
    _TAG,
    "List a webhook's messages",
    "Newest first.",
    answer=MessagesShape,
    problems=(400, 404),
    parameters=(
        _ID,
        parameter("query", "status", "Only those.", {"type": "string", "enum": [each.value for each in MessageStatus]}),
        parameter("query", "before", "Those with a smaller id: `next` of the page before.", {"type": "integer"}),
        parameter(
            "query",
            "limit",
            "How many at most.",
            {"type": "integer", "minimum": 1, "maximum": MAX_MESSAGES, "default": DEFAULT_MESSAGES},
        ),
    ),
)
_RESEND = Endpoint(
    _TAG,
    "Send a message again",
    "One that was delivered or is dead.",
    answer=MessageShape,
    problems=(404, 409),
    parameters=(_ID, _MESSAGE),
)
_RESEND_DEAD = Endpoint(
    _TAG, "Send all dead messages again", "In their order.", answer=ResentShape, problems=(404,), parameters=(_ID,)
)


class WebhookHandlers:
    """The handlers."""

    def __init__(self, webhooks: Webhooks, *, max_request_bytes: int) -> None:
        self._webhooks = webhooks
        self._max_request_bytes = max_request_bytes

    async def list(self, _request: Request, caller: Caller) -> Response:
        return _json({"webhooks": list(map(webhook_json, await self._webhooks.list(caller.principal)))})

    async def add(self, request: Request, caller: Caller) -> Response:
        sent = read_fields(await read_json(request, self._max_request_bytes), ("name", "kind", "target", "filter"))
        wish, faults = _wish(sent), _missing(sent, ("name", "target"))
        kind = str(sent.get("kind", WebhookKind.WEBHOOK.value))
        if kind not in [each.value for each in WebhookKind]:
            faults["kind"] = [f"Must be one of {', '.join(WebhookKind)}."]
        if faults:
            raise InvalidInput(faults)
        made, secret = await self._webhooks.add(caller.principal, WebhookKind(kind), wish)
        return _json({**webhook_json(made), "secret": secret})

    async def get(self, request: Request, caller: Caller) -> Response:
        return _json(webhook_json(await self._webhooks.get(caller.principal, _id(request, "id"))))

    async def update(self, request: Request, caller: Caller) -> Response:
        known = ("name", "target", "filter", "isEnabled")
        wish = _wish(read_fields(await read_json(request, self._max_request_bytes), known))
        return _json(webhook_json(await self._webhooks.update(caller.principal, _id(request, "id"), wish)))

    async def remove(self, request: Request, caller: Caller) -> Response:
        await self._webhooks.remove(caller.principal, _id(request, "id"))
        return Response(status_code=204)

    async def rotate(self, request: Request, caller: Caller) -> Response:
        changed, secret = await self._webhooks.rotate(caller.principal, _id(request, "id"))
        return _json({**webhook_json(changed), "secret": secret})

    async def test(self, request: Request, caller: Caller) -> Response:
        reply = await self._webhooks.test(caller.principal, _id(request, "id"))
        return _json({"isDelivered": reply.error is None, "status": reply.status, "error": reply.error})

    async def messages(self, request: Request, caller: Caller) -> Response:
        query, status = Query(request), request.query_params.get("status")
        limit = query.number("limit", default=DEFAULT_MESSAGES, least=1, most=MAX_MESSAGES)
        before = query.number("before", default=0, least=1, most=_LAST_ID)
        if status is not None and status not in [each.value for each in MessageStatus]:
            query.faults["status"] = [f"Must be one of {', '.join(MessageStatus)}."]
        query.check()
        found = await self._webhooks.messages(
            caller.principal,
            _id(request, "id"),
            None if status is None else MessageStatus(status),
            before=before or None,
            limit=limit,
        )
        return _json({"messages": [*map(message_json, found)], "next": found[-1].id if len(found) == limit else None})

    async def resend(self, request: Request, caller: Caller) -> Response:
        found = await self._webhooks.resend(caller.principal, _id(request, "id"), _id(request, "message"))
        return _json(message_json(found))

    async def resend_dead(self, request: Request, caller: Caller) -> Response:
        return _json({"count": await self._webhooks.resend_dead(caller.principal, _id(request, "id"))})


def webhook_routes(guard: Guard, handlers: WebhookHandlers) -> Sequence[PlainRoute]:
    one, messages = f"{PATH}/{{id}}", f"{PATH}/{{id}}/messages"
    return [
        PlainRoute(PATH, guard.behind(handlers.list), methods=["GET"], **_LIST.options()),
        PlainRoute(PATH, guard.behind(handlers.add), methods=["POST"], **_ADD.options()),
        PlainRoute(one, guard.behind(handlers.get), methods=["GET"], **_GET.options()),
        PlainRoute(one, guard.behind(handlers.update), methods=["PATCH"], **_UPDATE.options()),
        PlainRoute(one, guard.behind(handlers.remove), methods=["DELETE"], **_REMOVE.options()),
        PlainRoute(f"{one}/rotate", guard.behind(handlers.rotate), methods=["POST"], **_ROTATE.options()),
        PlainRoute(f"{one}/test", guard.behind(handlers.test), methods=["POST"], **_TEST.options()),
        PlainRoute(messages, guard.behind(handlers.messages), methods=["GET"], **_MESSAGES.options()),
        PlainRoute(
            f"{messages}/{{message}}/resend", guard.behind(handlers.resend), methods=["POST"], **_RESEND.options()
        ),
        PlainRoute(
            f"{one}/resend-dead", guard.behind(handlers.resend_dead), methods=["POST"], **_RESEND_DEAD.options()
        ),
    ]


def webhook_json(webhook: Webhook) -> JsonObject:
    """As JSON has it, without its secret."""
    return {
        "id": webhook.id,
        "uuid": str(webhook.uuid),
        "name": webhook.name,
        "kind": webhook.kind.value,
        "target": webhook.shown_target,
        "filter": webhook.filter.json(),
        "isEnabled": webhook.is_enabled,
        "secret": None,
        "dateOldSecretEnds": date_text(webhook.date_before_ends),
        "dateCreated": date_text(webhook.date_created),
        "dateUpdated": date_text(webhook.date_updated),
    }


def message_json(message: Message) -> JsonObject:
    """As JSON has it."""
    waits = message.status is MessageStatus.WAITING
    return {
        "id": message.id,
        "uuid": str(message.uuid),
        "lane": message.lane,
        "type": message.type.value,
        "runId": message.run_id,
        "number": message.number,
        "data": message.data,
        "status": message.status.value,
        "tries": message.tries,
        "lastError": message.last_error,
        "dateCreated": date_text(message.date_created),
        "dateNext": date_text(message.date_next) if waits else None,
        "dateDone": date_text(message.date_done),
    }


def _id(request: Request, name: str) -> int:
    found = whole_number(request.path_params[name])
    if found is None:
        raise NotFound("Webhook not found." if name == "id" else "Message not found.")
    return found


def _missing(sent: Mapping[str, object], names: Sequence[str]) -> dict[str, list[str]]:
    return {name: ["Is missing."] for name in names if sent.get(name) is None}


def _wish(sent: Mapping[str, object]) -> WebhookWish:
    """Raises InvalidInput."""
    faults: dict[str, list[str]] = {}
    name, target, is_enabled, wanted = (sent.get(each) for each in ("name", "target", "isEnabled", "filter"))
    for field, text in (("name", name), ("target", target)):
        if not isinstance(text, str | None):
            faults[field] = ["Must be a text."]
    if not isinstance(is_enabled, bool | None):
        faults["isEnabled"] = ["Must be true or false."]
    filter_ = None if wanted is None else _filter(wanted, faults)
    if faults:
        raise InvalidInput(faults)
    return WebhookWish(
        name if isinstance(name, str) else None,
        target if isinstance(target, str) else None,
        filter_,
        is_enabled if isinstance(is_enabled, bool) else None,
    )


def _filter(sent: object, faults: dict[str, list[str]]) -> Filter:
    if not isinstance(sent, Mapping) or any(name not in _FILTER_FIELDS for name in sent):
        faults["filter"] = [f"Must be an object of {', '.join(_FILTER_FIELDS)}."]
        return Filter()
    texts: dict[str, tuple[str, ...]] = {}
    for name in ("types", "statuses", "sources"):
        found = sent.get(name) or []
        if isinstance(found, Sequence) and not isinstance(found, str) and all(isinstance(each, str) for each in found):
            texts[name] = tuple(map(str, found))
        else:
            faults[f"filter.{name}"] = ["Must be a list of texts."]
    ids = sent.get("repositories") or []
    if not isinstance(ids, list) or any(type(each) is not int or not 0 < each < 1 << 62 for each in ids):
        faults["filter.repositories"] = ["Must be a list of ids."]
        ids = []
    return Filter(repositories=tuple(ids), **texts)


def _json(answer: JsonObject) -> Response:
    return Response(encode(answer), media_type=JSON)
