"""Schedules: what is started at which times."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeVar

from anyio import to_thread
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from starlette.requests import Request
from starlette.responses import Response

from treadle.api.auth import Caller
from treadle.api.bodies import Query, read_json, whole_number
from treadle.api.json_bytes import date_text, encode
from treadle.api.native.documents import JSON, Endpoint, parameter
from treadle.api.native.reading import read_fields
from treadle.api.native.repeating import MAX_IDEMPOTENCY_KEY, repeatable_of
from treadle.api.native.schedule_targets import TargetReader
from treadle.api.plain_route import PlainRoute
from treadle.api.problem_guard import Guard
from treadle.domain.errors import InvalidInput, NotFound
from treadle.domain.events import JsonObject
from treadle.domain.schedule import Firing, Missed, Overlap, Schedule
from treadle.services.schedules import MAX_FIRINGS, MAX_SCHEDULE_PAGE, ScheduleRequest, Schedules

PATH = "/schedules"

_TAG = "Schedules"
_ID = parameter("path", "id", "The schedule's id.", {"type": "integer"}, is_required=True)
_KEY = parameter(
    "header",
    "Idempotency-Key",
    "A repeat with the same key, within 24 hours, answers with the same firing.",
    {"type": "string", "maxLength": MAX_IDEMPOTENCY_KEY},
)
_LIMIT = parameter("query", "limit", f"At most {MAX_FIRINGS}.", {"type": "integer", "default": 50})
_TEXTS: Final = ("name", "cron", "timeZone")
_FIELDS: Final = (*_TEXTS, "missed", "overlap", "isEnabled")

E = TypeVar("E", bound=StrEnum)


class _Shape(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class FiringShape(_Shape):
    """One time, and what became of it: `started`, `starting`, `waiting`, `skipped`, `missed` or `failed`."""

    date_due: datetime
    date_fired: datetime
    outcome: str = Field(examples=["started"])
    detail: str | None
    run_id: int | None
    batch_id: int | None
    script_run_id: int | None


class ScheduleShape(_Shape):
    """`target`: as it was set, with its `kind`. `coming`: the next times."""

    id: int
    name: str
    cron: str = Field(examples=["0 6 * * MON-FRI"])
    time_zone: str = Field(examples=["Europe/Paris"])
    missed: str = Field(examples=["once"])
    overlap: str = Field(examples=["skip"])
    target: dict[str, object]
    is_enabled: bool
    user_id: int
    date_next: datetime | None
    coming: list[datetime]
    date_created: datetime
    date_updated: datetime


class SchedulesShape(_Shape):
    """`next`: the `after` of the next page; null at the end."""

    schedules: list[ScheduleShape]
    next: str | None


class FiringsShape(_Shape):
    """The latest first."""

    firings: list[FiringShape]


class ScheduleBody(_Shape):
    """One of `plan`, `batch` and `script` says what is started. What is left out stays, or is the default."""

    name: str | None = None
    cron: str | None = Field(
        None, description="Minute, hour, day of the month, month, weekday; or @daily and the like."
    )
    time_zone: str | None = Field(None, description="Of the IANA database; UTC unless set.")
    missed: str | None = Field(
        None, description="`once` (default), `skip` or `all`: times at which no process was there."
    )
    overlap: str | None = Field(
        None, description="`skip` (default) or `wait`: times at which what was started before is still at work."
    )
    is_enabled: bool | None = None
    plan: dict[str, object] | None = Field(None, description="As the body of `POST /plans/start`.")
    batch: dict[str, object] | None = Field(None, description="As the body of `POST /batches`.")
    script: dict[str, object] | None = Field(None, description="`script`: its id or name; `inputs`.")


SHAPES: Sequence[type[BaseModel]] = (FiringShape, ScheduleShape, SchedulesShape, FiringsShape, ScheduleBody)

_LIST = Endpoint(
    _TAG,
    "List schedules",
    "By their names: your own; for MANAGERs and ADMINs everybody's.",
    answer=SchedulesShape,
    problems=(400,),
    parameters=(
        parameter("query", "limit", f"At most {MAX_SCHEDULE_PAGE}.", {"type": "integer", "default": MAX_SCHEDULE_PAGE}),
        parameter("query", "after", "Those behind this name: `next` of the page before.", {"type": "string"}),
    ),
)
_ADD = Endpoint(
    _TAG,
    "Add a schedule",
    "It starts things in your name, with the rights that you have at that time. No time is served twice, and what it "
    "starts never runs beside what it started before.",
    answer=ScheduleShape,
    body=ScheduleBody,
    problems=(400, 404, 409, 413, 415),
)
_GET = Endpoint(_TAG, "Get a schedule", answer=ScheduleShape, problems=(404,), parameters=(_ID,))
_UPDATE = Endpoint(
    _TAG,
    "Change a schedule",
    "Times that have come before are not made up for by another expression.",
    answer=ScheduleShape,
    body=ScheduleBody,
    problems=(400, 404, 409, 413, 415),
    parameters=(_ID,),
)
_REMOVE = Endpoint(_TAG, "Remove a schedule", "What it has started goes on.", problems=(404,), parameters=(_ID,))
_FIRE = Endpoint(
    _TAG,
    "Have a schedule fire now",
    "Once what it started before has ended.",
    answer=FiringShape,
    problems=(400, 404, 409),
    parameters=(_ID, _KEY),
)
_FIRINGS = Endpoint(
    _TAG, "List a schedule's firings", answer=FiringsShape, problems=(400, 404), parameters=(_ID, _LIMIT)
)


class ScheduleHandlers:
    """The handlers. `targets`: how each kind of target is read."""

    def __init__(self, schedules: Schedules, targets: Mapping[str, TargetReader], *, max_request_bytes: int) -> None:
        self._schedules = schedules
        self._targets = targets
        self._max_request_bytes = max_request_bytes

    async def list(self, request: Request, caller: Caller) -> Response:
        query = Query(request)
        limit = query.number("limit", default=MAX_SCHEDULE_PAGE, least=1, most=MAX_SCHEDULE_PAGE)
        query.check()
        found = await self._schedules.list(caller.principal, limit=limit, after=request.query_params.get("after", ""))
        following = found[-1].name if len(found) == limit else None
        return _json({"schedules": [self._shown(each) for each in found], "next": following})

    async def add(self, request: Request, caller: Caller) -> Response:
        wanted = await self._read(request)
        return _json(self._shown(await self._schedules.add(caller.principal, wanted)))

    async def get(self, request: Request, caller: Caller) -> Response:
        return _json(self._shown(await self._schedules.get(caller.principal, _id(request))))

    async def update(self, request: Request, caller: Caller) -> Response:
        wanted = await self._read(request)
        return _json(self._shown(await self._schedules.update(caller.principal, _id(request), wanted)))

    async def remove(self, request: Request, caller: Caller) -> Response:
        await self._schedules.remove(caller.principal, _id(request))
        return Response(status_code=204)

    async def fire(self, request: Request, caller: Caller) -> Response:
        id_ = _id(request)
        repeatable = repeatable_of(request, "firing", {"schedule": id_})
        return _json(_firing(await self._schedules.fire(caller.principal, id_, repeatable=repeatable)))

    async def firings(self, request: Request, caller: Caller) -> Response:
        limit = whole_number(request.query_params.get("limit", "50"))
        if limit is None:
            raise InvalidInput({"limit": ["Must be a whole number."]})
        found = await self._schedules.firings(caller.principal, _id(request), limit=limit)
        return _json({"firings": [_firing(each) for each in found]})

    async def _read(self, request: Request) -> ScheduleRequest:
        sent = read_fields(await read_json(request, self._max_request_bytes), (*_FIELDS, *self._targets))
        faults: dict[str, list[str]] = {}
        texts = {name: _text(sent, name, faults) for name in _TEXTS}
        enabled = sent.get("isEnabled")
        if enabled is not None and not isinstance(enabled, bool):
            faults["isEnabled"] = ["Must be true or false."]
        kinds = [kind for kind in self._targets if sent.get(kind) is not None]
        target: JsonObject | None = None
        if len(kinds) > 1:
            faults[kinds[1]] = [f"Give one of {', '.join(self._targets)}."]
        elif kinds:
            try:
                # Not on the loop: to read the YAML of a plan may take seconds.
                target = await to_thread.run_sync(self._targets[kinds[0]], sent[kinds[0]])
            except InvalidInput as error:
                faults |= {f"{kinds[0]}.{path}": list(said) for path, said in error.faults.items()}
        wanted = ScheduleRequest(
            name=texts["name"],
            cron=texts["cron"],
            time_zone=texts["timeZone"],
            missed=_member(sent, "missed", Missed, faults),
            overlap=_member(sent, "overlap", Overlap, faults),
            kind=kinds[0] if kinds else None,
            target=target,
            is_enabled=enabled if isinstance(enabled, bool) else None,
        )
        if faults:
            raise InvalidInput(faults, "The schedule is not valid.")
        return wanted

    def _shown(self, schedule: Schedule) -> JsonObject:
        return {
            "id": schedule.id,
            "name": schedule.name,
            "cron": schedule.cron,
            "timeZone": schedule.time_zone,
            "missed": schedule.missed,
            "overlap": schedule.overlap,
            "target": schedule.target,
            "isEnabled": schedule.is_enabled,
            "userId": schedule.user_id,
            "dateNext": _date(schedule.date_next),
            "coming": [date_text(each) for each in self._schedules.coming(schedule)],
            "dateCreated": date_text(schedule.date_created),
            "dateUpdated": date_text(schedule.date_updated),
        }


def schedule_routes(guard: Guard, handlers: ScheduleHandlers) -> Sequence[PlainRoute]:
    behind, one = guard.behind, f"{PATH}/{{id}}"
    return [
        PlainRoute(PATH, behind(handlers.list), methods=["GET"], **_LIST.options()),
        PlainRoute(PATH, behind(handlers.add), methods=["POST"], **_ADD.options()),
        PlainRoute(one, behind(handlers.get), methods=["GET"], **_GET.options()),
        PlainRoute(one, behind(handlers.update), methods=["PATCH"], **_UPDATE.options()),
        PlainRoute(one, behind(handlers.remove), methods=["DELETE"], **_REMOVE.options()),
        PlainRoute(f"{one}/fire", behind(handlers.fire), methods=["POST"], **_FIRE.options()),
        PlainRoute(f"{one}/firings", behind(handlers.firings), methods=["GET"], **_FIRINGS.options()),
    ]


def _id(request: Request) -> int:
    found = whole_number(request.path_params["id"])
    if found is None:
        raise NotFound("There is no such schedule.")
    return found


def _text(sent: Mapping[str, object], name: str, faults: dict[str, list[str]]) -> str | None:
    value = sent.get(name)
    if value is None or isinstance(value, str):
        return value
    faults[name] = ["Must be text."]
    return None


def _member(sent: Mapping[str, object], name: str, of: type[E], faults: dict[str, list[str]]) -> E | None:
    value = sent.get(name)
    if value is None:
        return None
    try:
        return of(str(value))
    except ValueError:
        faults[name] = [f"Must be one of {', '.join(of)}."]
        return None


def _firing(firing: Firing) -> JsonObject:
    return {
        "dateDue": date_text(firing.date_due),
        "dateFired": date_text(firing.date_fired),
        "outcome": firing.outcome,
        "detail": firing.detail,
        "runId": firing.run_id,
        "batchId": firing.batch_id,
        "scriptRunId": firing.script_run_id,
    }


def _date(date: datetime | None) -> str | None:
    return None if date is None else date_text(date)


def _json(shown: JsonObject) -> Response:
    return Response(encode(shown), media_type=JSON)
