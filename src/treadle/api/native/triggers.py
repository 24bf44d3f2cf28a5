"""Triggers and their hooks: who sets what becomes of deliveries."""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from treadle.api.auth import Caller
from treadle.api.bodies import Query, read_json
from treadle.api.json_bytes import date_text, encode
from treadle.api.native.documents import JSON, Endpoint, parameter
from treadle.api.native.plan_bodies import plan_within
from treadle.api.native.reading import read_fields
from treadle.api.native.trigger_shapes import (
    DeliveriesShape,
    DeliveryShape,
    HookShape,
    HooksShape,
    NewHookBody,
    NewTriggerBody,
    TriggerBody,
    TriggerShape,
    TriggersShape,
)
from treadle.api.plain_route import PlainRoute
from treadle.api.problem_guard import Guard
from treadle.domain.errors import InvalidInput, NotFound
from treadle.domain.events import JsonObject
from treadle.domain.plan import Plan
from treadle.domain.triggers import HookKind, StoredDelivery, Trigger, TriggerKind
from treadle.services.triggers import MAX_LISTED_DELIVERIES, HookShown, TriggerChange, TriggerDraft, Triggers

TRIGGERS, HOOKS = "/triggers", "/hooks"

_DEFAULT_DELIVERIES: Final = 50
_LAST_ID: Final = 2**63 - 1
_TAG: Final = "Triggers"
_ID = parameter("path", "id", "The trigger's id.", {"type": "string"}, is_required=True)
_HOOK = parameter("path", "id", "The hook's id.", {"type": "string"}, is_required=True)
_DELIVERY = parameter("path", "delivery", "The delivery's id.", {"type": "integer"}, is_required=True)
_LIMIT = parameter(
    "query",
    "limit",
    "How many at most.",
    {"type": "integer", "minimum": 1, "maximum": MAX_LISTED_DELIVERIES, "default": _DEFAULT_DELIVERIES},
)
_BEFORE = parameter("query", "before", "Deliveries with a smaller id.", {"type": "integer"})

_LIST = Endpoint(_TAG, "List triggers", "All of it takes a MANAGER.", answer=TriggersShape)
_ADD = Endpoint(
    _TAG,
    "Add a trigger",
    "With its hook: of a repository there is one for its forge, and each trigger URL is one of its own. The secret of "
    "one that is new is told here and never again. Runs are in your name, with the rights that you have then.",
    answer=TriggerShape,
    body=NewTriggerBody,
    problems=(400, 404, 409, 413, 415),
)
_GET = Endpoint(_TAG, "Get a trigger", answer=TriggerShape, problems=(404,), parameters=(_ID,))
_UPDATE = Endpoint(
    _TAG,
    "Change a trigger",
    "Its runs are yours from then on.",
    answer=TriggerShape,
    body=TriggerBody,
    problems=(400, 404, 413, 415),
    parameters=(_ID,),
)
_REMOVE = Endpoint(
    _TAG, "Remove a trigger", "The last one of a hook takes the hook along.", problems=(404,), parameters=(_ID,)
)
_DELIVERIES = Endpoint(
    _TAG,
    "List what a trigger's hook took in",
    "Newest first, of the last 30 days.",
    answer=DeliveriesShape,
    problems=(400, 404),
    parameters=(_ID, _LIMIT, _BEFORE),
)
_REDELIVER = Endpoint(
    _TAG,
    "Work a delivery off again",
    "What has followed from it already does not follow again.",
    answer=DeliveryShape,
    problems=(404,),
    parameters=(_ID, _DELIVERY),
)
_HOOKS = Endpoint(_TAG, "List hooks", answer=HooksShape)
_ADD_HOOK = Endpoint(
    _TAG,
    "Add a hook",
    "With its secret, unless the repository has one for that forge already.",
    answer=HookShape,
    body=NewHookBody,
    problems=(400, 404, 409, 413, 415),
)
_ROTATE = Endpoint(
    _TAG,
    "Give a hook another secret",
    "The one before counts too for 24 hours.",
    answer=HookShape,
    problems=(404, 409),
    parameters=(_HOOK,),
)
_REMOVE_HOOK = Endpoint(_TAG, "Remove a hook", "With its triggers.", problems=(404,), parameters=(_HOOK,))


class TriggerHandlers:
    """The handlers."""

    def __init__(self, triggers: Triggers, *, max_request_bytes: int, allow_local: bool) -> None:
        self._triggers = triggers
        self._max_request_bytes = max_request_bytes
        self._allow_local = allow_local

    async def list(self, _request: Request, caller: Caller) -> Response:
        found = await self._triggers.list(caller.principal)
        return _json({"triggers": [_trigger(trigger, hook) for trigger, hook in found]})

    async def add(self, request: Request, caller: Caller) -> Response:
        sent = read_fields(
            await read_json(request, self._max_request_bytes),
            ("name", "kind", "repositoryId", "hook", "settings", "plan", "isEnabled"),
        )
        draft = TriggerDraft(
            _text(sent, "name"),
            TriggerKind(_one_of(sent, "kind", tuple(TriggerKind))),
            _number(sent, "repositoryId"),
            _uuid(_text(sent, "hook")) if sent.get("hook") is not None else None,
            sent.get("settings"),
            await self._plan(sent.get("plan")),
            _flag(sent, "isEnabled", default=True),
        )
        return _json(_trigger(*await self._triggers.create(caller.principal, draft)))

    async def get(self, request: Request, caller: Caller) -> Response:
        return _json(_trigger(*await self._triggers.get(caller.principal, _id(request, "Trigger"))))

    async def update(self, request: Request, caller: Caller) -> Response:
        sent = read_fields(await read_json(request, self._max_request_bytes), ("name", "settings", "plan", "isEnabled"))
        settings = sent.get("settings")
        if settings is not None and not isinstance(settings, dict):
            raise InvalidInput({"settings": ["Must be an object."]})
        change = TriggerChange(
            _text(sent, "name") if sent.get("name") is not None else None,
            settings,
            await self._plan(sent.get("plan")),
            "plan" in sent,
            _flag(sent, "isEnabled", default=True) if sent.get("isEnabled") is not None else None,
        )
        return _json(_trigger(*await self._triggers.update(caller.principal, _id(request, "Trigger"), change)))

    async def remove(self, request: Request, caller: Caller) -> Response:
        await self._triggers.remove(caller.principal, _id(request, "Trigger"))
        return Response(status_code=204)

    async def deliveries(self, request: Request, caller: Caller) -> Response:
        query = Query(request)
        limit = query.number("limit", default=_DEFAULT_DELIVERIES, least=1, most=MAX_LISTED_DELIVERIES)
        before = query.number("before", default=0, least=1, most=_LAST_ID)
        query.check()
        uuid = _id(request, "Trigger")
        found = await self._triggers.deliveries(caller.principal, uuid, limit=limit, before=before or None)
        following = found[-1].id if len(found) == limit else None
        return _json({"deliveries": [_delivery(each) for each in found], "next": following})

    async def redeliver(self, request: Request, caller: Caller) -> Response:
        number = request.path_params["delivery"]
        if not (number.isascii() and number.isdecimal() and int(number[:20]) <= _LAST_ID):
            raise NotFound("Delivery not found.")
        return _json(_delivery(await self._triggers.redeliver(caller.principal, _id(request, "Trigger"), int(number))))

    async def hooks(self, _request: Request, caller: Caller) -> Response:
        return _json({"hooks": [_hook(each) for each in await self._triggers.hooks(caller.principal)]})

    async def add_hook(self, request: Request, caller: Caller) -> Response:
        sent = read_fields(await read_json(request, self._max_request_bytes), ("kind", "repositoryId"))
        kind = HookKind(_one_of({"kind": "url", **sent}, "kind", tuple(HookKind)))
        return _json(_hook(await self._triggers.create_hook(caller.principal, kind, _number(sent, "repositoryId"))))

    async def rotate(self, request: Request, caller: Caller) -> Response:
        return _json(_hook(await self._triggers.rotate_hook(caller.principal, _id(request, "Hook"))))

    async def remove_hook(self, request: Request, caller: Caller) -> Response:
        await self._triggers.remove_hook(caller.principal, _id(request, "Hook"))
        return Response(status_code=204)

    async def _plan(self, value: object) -> Plan | None:
        return None if value is None else await plan_within(value, allow_local=self._allow_local)


def trigger_routes(guard: Guard, handlers: TriggerHandlers) -> Sequence[PlainRoute]:
    one, hook = f"{TRIGGERS}/{{id}}", f"{HOOKS}/{{id}}"
    again = f"{one}/deliveries/{{delivery}}/redeliver"
    return [
        PlainRoute(TRIGGERS, guard.behind(handlers.list), methods=["GET"], **_LIST.options()),
        PlainRoute(TRIGGERS, guard.behind(handlers.add), methods=["POST"], **_ADD.options()),
        PlainRoute(one, guard.behind(handlers.get), methods=["GET"], **_GET.options()),
        PlainRoute(one, guard.behind(handlers.update), methods=["PATCH"], **_UPDATE.options()),
        PlainRoute(one, guard.behind(handlers.remove), methods=["DELETE"], **_REMOVE.options()),
        PlainRoute(f"{one}/deliveries", guard.behind(handlers.deliveries), methods=["GET"], **_DELIVERIES.options()),
        PlainRoute(again, guard.behind(handlers.redeliver), methods=["POST"], **_REDELIVER.options()),
        PlainRoute(HOOKS, guard.behind(handlers.hooks), methods=["GET"], **_HOOKS.options()),
        PlainRoute(HOOKS, guard.behind(handlers.add_hook), methods=["POST"], **_ADD_HOOK.options()),
        PlainRoute(f"{hook}/rotate", guard.behind(handlers.rotate), methods=["POST"], **_ROTATE.options()),
        PlainRoute(hook, guard.behind(handlers.remove_hook), methods=["DELETE"], **_REMOVE_HOOK.options()),
    ]


def _id(request: Request, what: str) -> UUID:
    """The path's. Raises NotFound."""
    try:
        return UUID(request.path_params["id"])
    except ValueError:
        raise NotFound(f"{what} not found.") from None


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InvalidInput({"hook": ["Must be a hook's id."]}) from None


def _text(sent: Mapping[str, object], name: str) -> str:
    value = sent.get(name)
    if not isinstance(value, str):
        raise InvalidInput({name: ["Must be a text."]})
    return value


def _one_of(sent: Mapping[str, object], name: str, known: Sequence[str]) -> str:
    value = sent.get(name)
    if not isinstance(value, str) or value not in known:
        raise InvalidInput({name: [f"Must be one of {', '.join(known)}."]})
    return value


def _number(sent: Mapping[str, object], name: str) -> int | None:
    value = sent.get(name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= _LAST_ID):
        raise InvalidInput({name: ["Must be an id."]})
    return value


def _flag(sent: Mapping[str, object], name: str, *, default: bool) -> bool:
    value = sent.get(name, default)
    if not isinstance(value, bool):
        raise InvalidInput({name: ["Must be true or false."]})
    return value


def _hook(shown: HookShown) -> JsonObject:
    hook = shown.hook
    return {
        "id": str(hook.uuid),
        "kind": str(hook.kind),
        "url": shown.url,
        "repositoryId": hook.repository_id,
        "hint": shown.hint,
        "secret": shown.secret,
        "urlToken": shown.url_token,
        "dateCreated": date_text(hook.date_created),
        "dateDelivered": date_text(hook.date_delivered),
        "dateBeforeEnds": date_text(hook.date_before_ends),
    }


def _trigger(trigger: Trigger, hook: HookShown) -> JsonObject:
    return {
        "id": str(trigger.uuid),
        "name": trigger.name,
        "kind": str(trigger.kind),
        "hook": _hook(hook),
        "settings": trigger.settings.json(),
        "plan": None if trigger.plan is None else trigger.plan.to_json(),
        "isEnabled": trigger.is_enabled,
        "userId": trigger.user_id,
        "dateCreated": date_text(trigger.date_created),
        "dateUpdated": date_text(trigger.date_updated),
    }


def _delivery(each: StoredDelivery) -> JsonObject:
    return {
        "id": each.id,
        "delivery": each.delivery,
        "event": each.event,
        "status": str(each.status),
        "detail": each.detail,
        "runId": each.run_id,
        "dateReceived": date_text(each.date_received),
        "dateDone": date_text(each.date_done),
    }


def _json(value: JsonObject) -> Response:
    return Response(encode(value), media_type=JSON)
