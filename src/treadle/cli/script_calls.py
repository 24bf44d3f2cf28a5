"""The calls of a script that runs here, through the API of a service."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from anyio import to_thread

from treadle import (
    AsyncClient,
    BadRequestError,
    ConflictError,
    ConnectionFailedError,
    NotFoundError,
    PermissionDeniedError,
    Process,
    ScriptRunStatus,
    ServerError,
    StoredFile,
    TooLargeError,
    TreadleApiError,
)
from treadle.cli.script_journal import Journal
from treadle.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, TooLarge, TreadleError
from treadle.ports.scripting import Answer, JsonObject, JsonValue, Pending, ScriptCall
from treadle.scripting.starts import start_faults
from treadle.scripting.wire import step_json, to_script
from treadle.services.kept_addresses import address_faults
from treadle.services.plan_rules import kept_faults
from treadle.services.plan_texts import read_plan_object, read_plan_text

#: How long a script that waits for a run puts up with a service that does not answer.
AWAY_SECONDS: Final = 600.0

_PAUSE: Final = 2.0

#: Between two looks at what the service does, in seconds.
_LOOK: Final = 0.2

#: Arguments of `codegeneration.start` that a process's own fields have no place for.
_OF_THE_SERVICE: Final = frozenset({"repository", "plan"})

_SAID: Final[Mapping[type[TreadleApiError], type[TreadleError]]] = {
    ConflictError: Conflict,
    NotFoundError: NotFound,
    PermissionDeniedError: Forbidden,
    TooLargeError: TooLarge,
}


class RemoteCalls:
    """Syscalls. What starts a run carries a key of the journal's and the call's, so that another execution of the
    script, which finds no answer in the journal, is answered with the same run."""

    def __init__(self, client: AsyncClient, journal: Journal) -> None:
        self._client = client
        self._journal = journal
        self._calls: Mapping[str, Callable[[ScriptCall], Awaitable[JsonValue]]] = {
            "codegeneration.start": self._start,
            "codegeneration.get": self._get,
            "codegeneration.list": self._list,
            "codegeneration.await": self._wait,
            "codegeneration.diff": self._diff,
            "codegeneration.resume": self._by_the_service,
            "codegeneration.kill": self._kill,
            "files.upload": self._upload,
            "files.list": self._files,
            "files.get": self._file,
            "repositories.list": self._repositories,
        }

    @property
    def names(self) -> frozenset[str]:
        """Of the calls that it answers: those of the table of them."""
        return frozenset(self._calls)

    async def call(self, call: ScriptCall) -> JsonValue | Pending:
        try:
            result = await self._calls[call.name](call)
        except BadRequestError as error:
            raise InvalidInput(error.errors, error.message) from error
        except TreadleApiError as error:
            said = _SAID.get(type(error))
            if said is None:
                raise
            raise said(error.message, hint=error.hint) from error
        self._journal.answer(Answer(call.number, call.name, call.digest, result))
        return result

    async def _start(self, call: ScriptCall) -> JsonValue:
        wanted: dict[str, Any] = {name: value for name, value in call.arguments.items() if value is not None}
        if wanted.keys() & _OF_THE_SERVICE:
            await to_thread.run_sync(_refuse_what_is_kept, wanted)
            return await self._by_the_service(call)
        _refuse_unknown(self._client.processes.start, wanted)
        if isinstance(steps := wanted["steps"], list):
            wanted["steps"] = [step_json(step) for step in steps]
        try:
            process = await self._client.processes.start(**wanted, idempotency_key=self._key(call))
        except (TypeError, ValueError) as error:
            raise InvalidInput({}, f"{error}") from error
        return _process(process)

    async def _by_the_service(self, call: ScriptCall) -> JsonValue:
        """What takes more than the API's own operation for it knows: the service runs the one call as a script, so that
        it is the call that stored scripts have."""
        source = f"output({call.name}(**inputs).id)"
        started = await self._client.scripts.run_source(source, call.arguments, idempotency_key=self._key(call))
        ended = await self._client.scripts.wait(started.id, poll=_LOOK)
        if ended.status != ScriptRunStatus.SUCCESS:
            said = ended.failure_details or f"The service's part of it was {ended.status}."
            raise Conflict(said.rpartition(f"{call.name}: ")[2])
        return _process(await self._client.processes.get(str(ended.outputs)))

    def _key(self, call: ScriptCall) -> str:
        return f"{self._journal.id}-{call.number}"

    async def _get(self, call: ScriptCall) -> JsonValue:
        return _process(await self._client.processes.get(_text(call, "id")))

    async def _list(self, call: ScriptCall) -> JsonValue:
        status, limit = call.arguments.get("status"), call.arguments.get("limit")
        if not isinstance(status, str | None) or not isinstance(limit, int | None):
            raise InvalidInput({"status": ["must be a string"], "limit": ["must be a number"]})
        return [_process(one) for one in await self._client.processes.list(status=status, limit=limit)]

    async def _wait(self, call: ScriptCall) -> JsonValue:
        clock = asyncio.get_running_loop().time
        gone_since: float | None = None
        while True:
            try:
                return _process(await self._client.processes.wait(_text(call, "id")))
            except (ConnectionFailedError, ServerError):
                gone_since = gone_since if gone_since is not None else clock()
                if clock() - gone_since > AWAY_SECONDS:
                    raise
                await asyncio.sleep(_PAUSE)

    async def _diff(self, call: ScriptCall) -> JsonValue:
        return to_script((await self._client.processes.diff(_text(call, "id"))).raw)

    async def _kill(self, call: ScriptCall) -> JsonValue:
        with suppress(ConflictError):  # it has ended, maybe by an earlier execution of this very call
            await self._client.processes.kill(_text(call, "id"))
        return await self._get(call)

    async def _upload(self, call: ScriptCall) -> JsonValue:
        text = _text(call, "text").encode()
        return _file(await self._client.files.upload(text, name=_text(call, "name")))

    async def _files(self, call: ScriptCall) -> JsonValue:
        del call
        return [_file(one) for one in await self._client.files.list()]

    async def _file(self, call: ScriptCall) -> JsonValue:
        return _file(await self._client.files.get(_text(call, "id")))

    async def _repositories(self, call: ScriptCall) -> JsonValue:
        del call
        return [to_script(one.raw) async for one in self._client.agents.repositories()]


def _refuse_unknown(start: Callable[..., object], wanted: JsonObject) -> None:
    """Raises InvalidInput naming every argument that `start` does not take, and every one that it needs."""
    parameters = {name: one for name, one in inspect.signature(start).parameters.items() if name != "idempotency_key"}
    faults: dict[str, Sequence[str]] = {
        name: ["is no argument of codegeneration.start"] for name in wanted if name not in parameters
    }
    for name, one in parameters.items():
        if one.default is inspect.Parameter.empty and name not in wanted:
            faults[name] = ["is missing"]
    if faults:
        raise InvalidInput(faults)


def _refuse_what_is_kept(wanted: JsonObject) -> None:
    """Raises InvalidInput for what the service would refuse only when it has kept it, and for a plan that nobody can
    read, which may hold anything."""
    faults = start_faults(wanted)
    if (given := wanted.get("plan")) is not None:
        read = read_plan_text(given, allow_local=True) if isinstance(given, str) else None
        plan = (read or read_plan_object(given, allow_local=True)).plan
        faults |= (
            kept_faults(plan) if plan is not None else {"plan": ["Is not a plan: `treadle plan check` tells why."]}
        )
    if faults := faults or address_faults(wanted):
        raise InvalidInput(faults)


def _text(call: ScriptCall, name: str) -> str:
    value = call.arguments[name]
    if not isinstance(value, str):
        raise InvalidInput({name: ["must be a string"]})
    return value


def _process(process: Process) -> JsonValue:
    return to_script(process.raw)


def _file(file: StoredFile) -> JsonValue:
    return {
        "id": str(file.id),
        "name": file.name,
        "content_type": file.content_type,
        "size": file.size,
        "sha256": file.sha256,
    }
