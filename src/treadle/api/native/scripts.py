"""Scripts: stored, run, looked at."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from treadle.api.auth import Caller
from treadle.api.bodies import Query, read_json, whole_number
from treadle.api.json_bytes import date_text, encode
from treadle.api.native import script_documents as documents
from treadle.api.native.documents import JSON
from treadle.api.native.reading import read_fields
from treadle.api.native.repeating import repeatable_of
from treadle.api.plain_route import PlainRoute
from treadle.api.problem_guard import Guard
from treadle.domain.errors import InvalidInput, NotFound
from treadle.domain.events import JsonObject
from treadle.domain.script_runs import Script, ScriptRun
from treadle.ports.scripting import ScriptFailure
from treadle.services.scripts import AD_HOC, DEFAULT_SCRIPT_PAGE, MAX_SCRIPT_NAME, MAX_SCRIPT_PAGE, Scripts

PATH: Final = "/scripts"
ONE: Final = f"{PATH}/{{id}}"
RUNS: Final = "/script-runs"
ONE_RUN: Final = f"{RUNS}/{{id}}"

SHAPES: Sequence[type[BaseModel]] = documents.SHAPES

#: No database counts further.
_LAST_ID: Final = 2**63 - 1
_LAST_NUMBER: Final = 2**31 - 1

_Faults = dict[str, list[str]]


class ScriptHandlers:
    """The handlers."""

    def __init__(self, scripts: Scripts, *, max_request_bytes: int) -> None:
        self._scripts = scripts
        self._max_request_bytes = max_request_bytes

    # ---- stored ones

    async def save(self, request: Request, caller: Caller) -> Response:
        sent = await self._read(request, ("name", "source", "description", "ifVersion"))
        faults: _Faults = {}
        name, source = _text(sent, "name", faults), _text(sent, "source", faults)
        description = _text(sent, "description", faults) if sent.get("description") is not None else None
        if_version = sent.get("ifVersion")
        if if_version is not None and (
            isinstance(if_version, bool) or not isinstance(if_version, int) or not 0 <= if_version <= _LAST_NUMBER
        ):
            faults["ifVersion"] = ["Must be the number of a version, or 0."]
        if faults:
            raise InvalidInput(faults)
        saved = await self._scripts.save(
            caller.principal,
            name,
            source,
            description,
            if_version=if_version if isinstance(if_version, int) else None,
        )
        return _json(_script(saved))

    async def list(self, _request: Request, caller: Caller) -> Response:
        return _json({"scripts": [_script(each) for each in await self._scripts.list(caller.principal)]})

    async def get(self, request: Request, caller: Caller) -> Response:
        query = Query(request)
        version = query.number("version", default=0, least=1, most=_LAST_NUMBER)
        query.check()
        found = await self._scripts.get(caller.principal, _which(request.path_params["id"]))
        source = (await self._scripts.version(found, version or None)).source
        return _json({**_script(found), "source": source})

    async def versions(self, request: Request, caller: Caller) -> Response:
        found = await self._scripts.versions(caller.principal, _which(request.path_params["id"]))
        shown = [
            {
                "version": each.version,
                "source": each.source,
                "userId": each.user_id,
                "dateCreated": date_text(each.date_created),
            }
            for each in found
        ]
        return _json({"versions": shown})

    async def remove(self, request: Request, caller: Caller) -> Response:
        await self._scripts.archive(caller.principal, _which(request.path_params["id"]))
        return Response(status_code=204)

    async def check(self, request: Request, caller: Caller) -> Response:
        sent = await self._read(request, ("source", "name"))
        faults: _Faults = {}
        source = _text(sent, "source", faults)
        name = _text(sent, "name", faults) if sent.get("name") is not None else AD_HOC
        if len(name) > MAX_SCRIPT_NAME:
            faults["name"] = [f"Must be at most {MAX_SCRIPT_NAME} characters."]
        if faults:
            raise InvalidInput(faults)
        failure = await self._scripts.check(caller.principal, source, name)
        return _json({"failure": _failure(failure) if failure is not None else None})

    # ---- runs

    async def start(self, request: Request, caller: Caller) -> Response:
        which = _which(request.path_params["id"])
        sent = await self._read(request, ("inputs", "version"))
        faults: _Faults = {}
        inputs, version = _inputs(sent, faults), sent.get("version")
        if version is not None and (isinstance(version, bool) or not isinstance(version, int) or version < 1):
            faults["version"] = ["Must be the number of a version."]
        if faults:
            raise InvalidInput(faults)
        run = await self._scripts.start(
            caller.principal,
            which,
            inputs,
            version=min(version, _LAST_NUMBER) if isinstance(version, int) else None,
            repeatable=repeatable_of(request, "script", {"script": which, **sent}),
        )
        return _json(_run(run))

    async def start_source(self, request: Request, caller: Caller) -> Response:
        sent = await self._read(request, ("source", "inputs"))
        faults: _Faults = {}
        source, inputs = _text(sent, "source", faults), _inputs(sent, faults)
        if faults:
            raise InvalidInput(faults)
        repeatable = repeatable_of(request, "script", sent)
        return _json(_run(await self._scripts.start_source(caller.principal, source, inputs, repeatable=repeatable)))

    async def runs(self, request: Request, caller: Caller) -> Response:
        query = Query(request)
        limit = query.number("limit", default=DEFAULT_SCRIPT_PAGE, least=1, most=MAX_SCRIPT_PAGE)
        before = query.number("before", default=0, least=1, most=_LAST_ID)
        query.check()
        named = request.query_params.get("script")
        found = await self._scripts.runs(
            caller.principal, script=_which(named) if named else None, limit=limit, before=before or None
        )
        following = found[-1].id if len(found) == limit else None
        return _json({"runs": [_run(each, whole=False) for each in found], "next": following})

    async def run(self, request: Request, caller: Caller) -> Response:
        return _json(_run(await self._scripts.run(caller.principal, _which_run(request))))

    async def log(self, request: Request, caller: Caller) -> Response:
        query = Query(request)
        after = query.number("after", default=0, least=0, most=_LAST_NUMBER)
        limit = query.number("limit", default=DEFAULT_SCRIPT_PAGE, least=1, most=MAX_SCRIPT_PAGE)
        query.check()
        run, found = await self._scripts.log(caller.principal, _which_run(request), after=after, limit=limit)
        shown = [{"number": each.number, "text": each.text, "date": date_text(each.date)} for each in found]
        return _json({"lines": shown, "isOver": run.is_finished and len(found) < limit})

    async def kill(self, request: Request, caller: Caller) -> Response:
        return _json(_run(await self._scripts.kill(caller.principal, _which_run(request))))

    async def _read(self, request: Request, known: Sequence[str]) -> Mapping[str, object]:
        return read_fields(await read_json(request, self._max_request_bytes), known)


def script_routes(guard: Guard, handlers: ScriptHandlers) -> Sequence[PlainRoute]:
    behind = guard.behind
    return [
        PlainRoute(PATH, behind(handlers.save), methods=["POST"], **documents.SAVE.options()),
        PlainRoute(PATH, behind(handlers.list), methods=["GET"], **documents.LIST.options()),
        PlainRoute(f"{PATH}/check", behind(handlers.check), methods=["POST"], **documents.CHECK.options()),
        PlainRoute(ONE, behind(handlers.get), methods=["GET"], **documents.GET.options()),
        PlainRoute(ONE, behind(handlers.remove), methods=["DELETE"], **documents.REMOVE.options()),
        PlainRoute(f"{ONE}/versions", behind(handlers.versions), methods=["GET"], **documents.VERSIONS.options()),
        PlainRoute(f"{ONE}/runs", behind(handlers.start), methods=["POST"], **documents.START.options()),
        PlainRoute(RUNS, behind(handlers.start_source), methods=["POST"], **documents.START_SOURCE.options()),
        PlainRoute(RUNS, behind(handlers.runs), methods=["GET"], **documents.RUNS.options()),
        PlainRoute(ONE_RUN, behind(handlers.run), methods=["GET"], **documents.RUN.options()),
        PlainRoute(f"{ONE_RUN}/logs", behind(handlers.log), methods=["GET"], **documents.LOG.options()),
        PlainRoute(f"{ONE_RUN}/kill", behind(handlers.kill), methods=["POST"], **documents.KILL.options()),
    ]


def _which(given: str) -> int | str:
    """An id, or a name: a name is never of digits alone."""
    number = whole_number(given)
    return number if number is not None else given


def _which_run(request: Request) -> int | UUID:
    given = request.path_params["id"]
    number = whole_number(given)
    if number is not None:
        return number
    try:
        return UUID(given)
    except ValueError:
        raise NotFound("There is no such run of a script.") from None


def _text(sent: Mapping[str, object], name: str, faults: _Faults) -> str:
    value = sent.get(name)
    if isinstance(value, str):
        return value
    faults[name] = ["Must be text." if name in sent else "Is required."]
    return ""


def _inputs(sent: Mapping[str, object], faults: _Faults) -> JsonObject:
    given = sent.get("inputs")
    if given is None:
        return {}
    if isinstance(given, dict):
        return given
    faults["inputs"] = ["Must be an object."]
    return {}


def _script(script: Script) -> JsonObject:
    return {
        "id": script.id,
        "uuid": str(script.uuid),
        "name": script.name,
        "description": script.description,
        "version": script.version,
        "userId": script.user_id,
        "dateCreated": date_text(script.date_created),
        "dateUpdated": date_text(script.date_updated),
    }


def _run(run: ScriptRun, *, whole: bool = True) -> JsonObject:
    return {
        "id": run.id,
        "uuid": str(run.uuid),
        "scriptId": run.script_id,
        "version": run.version,
        "name": run.name,
        "userId": run.user_id,
        "status": run.status,
        "failureDetails": run.failure_details,
        "waitsFor": run.waits_for,
        "calls": run.calls,
        "logLines": run.log_lines,
        "inputs": run.inputs if whole else None,
        "outputs": run.outputs if whole else None,
        "source": run.source if whole else None,
        "dateCreated": date_text(run.date_created),
        "dateStarted": _date(run.date_started),
        "dateCompleted": _date(run.date_completed),
    }


def _failure(failure: ScriptFailure) -> JsonObject:
    return {
        "fault": failure.fault,
        "message": failure.message,
        "line": failure.line,
        "column": failure.column,
        "hint": failure.hint,
    }


def _date(date: datetime | None) -> str | None:
    return None if date is None else date_text(date)


def _json(shown: JsonObject) -> Response:
    return Response(encode(shown), media_type=JSON)
