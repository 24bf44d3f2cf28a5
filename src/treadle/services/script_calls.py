"""What stored scripts may do, with the rights that whoever started them has at that moment. Each answer is in the
journal before the script has it, and what a call makes has an id of the script's run and the call's number."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from treadle.domain.errors import AlreadyFinished, Forbidden, InvalidInput, KillRequested, NotFound, TooLarge
from treadle.domain.events import JsonObject as Fields
from treadle.domain.identity import Principal
from treadle.domain.repository import Repository
from treadle.domain.run import FollowUp, Run, StoredFile
from treadle.domain.script_runs import ScriptRun
from treadle.domain.states import RunStatus
from treadle.ports import Clock
from treadle.ports.chores import ChoreKind
from treadle.ports.script_runs import ScriptStore
from treadle.ports.scripting import MAX_SCRIPT_ANSWER_BYTES, Answer, JsonValue, Pending, ScriptCall
from treadle.scripting.wire import to_script
from treadle.services.chores import Chores
from treadle.services.files import Files
from treadle.services.repositories import Repositories
from treadle.services.run_rules import text_fault
from treadle.services.runs import PAGE, DiffForm, RunRequest, Runs
from treadle.services.script_starts import ScriptStarts

_GONE: Final = "Whoever started the script has no role in the organization any more."


class CallStore(ScriptStore, Protocol):
    """Of the store, what is needed here."""

    async def principal_in(self, organization_id: int, user_id: int) -> Principal | None: ...


@dataclass(frozen=True, slots=True)
class Dialect:
    """Runs and repositories as the API tells of them, and a run as it takes it."""

    process: Callable[[Run, bytes | None], bytes]
    processes: Callable[[Sequence[Run]], bytes]  # what stands between the brackets
    repository: Callable[[Repository], Fields]
    read_start: Callable[[bytes], RunRequest]


@dataclass(frozen=True, slots=True)
class CallServices:
    """The use cases that calls are made of."""

    runs: Runs
    starts: ScriptStarts
    files: Files
    repositories: Repositories
    chores: Chores
    dialect: Dialect


class ScriptCalls:
    """Syscalls of one run of a script."""

    def __init__(self, script_run: ScriptRun, store: CallStore, on: CallServices, clock: Clock) -> None:
        self._script_run = script_run
        self._store = store
        self._on = on
        self._clock = clock
        self._calls: Mapping[str, Callable[[Principal, ScriptCall], Awaitable[JsonValue | Pending]]] = {
            "codegeneration.start": self._start,
            "codegeneration.get": self._get,
            "codegeneration.list": self._list,
            "codegeneration.await": self._wait,
            "codegeneration.diff": self._diff,
            "codegeneration.resume": self._resume,
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
        """Raises KillRequested where the script's run has ended meanwhile."""
        principal = await self._store.principal_in(self._script_run.organization_id, self._script_run.user_id)
        if principal is None or principal.role is None:
            raise Forbidden(_GONE)
        result = await self._calls[call.name](principal, call)
        if isinstance(result, Pending):
            return result
        answer = Answer(call.number, call.name, call.digest, result)
        if len(json.dumps(result)) > MAX_SCRIPT_ANSWER_BYTES:
            raise TooLarge(f"The answer is larger than {MAX_SCRIPT_ANSWER_BYTES >> 20} MiB.")
        kept = await self._store.answer_call(self._script_run.id, answer, call.arguments, self._clock.now())
        if kept is None:
            raise KillRequested("The run of the script has ended.")
        return kept.result

    async def _start(self, principal: Principal, call: ScriptCall) -> JsonValue:
        uuid = self._script_run.uuid_of(call.number)
        return await self._told(await self._on.starts.start(principal, call.arguments, uuid))

    async def _get(self, principal: Principal, call: ScriptCall) -> JsonValue:
        return await self._told(await self._run(principal, call))

    async def _list(self, principal: Principal, call: ScriptCall) -> JsonValue:
        status, limit = call.arguments.get("status"), call.arguments.get("limit")
        faults: dict[str, list[str]] = {}
        if status is not None and status not in set(RunStatus):
            faults["status"] = [f"Must be one of {', '.join(RunStatus)}."]
        if limit is None:
            limit = PAGE
        if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= PAGE:
            faults["limit"] = [f"Must be a number from 1 to {PAGE:,}."]
        if faults or not isinstance(limit, int):
            raise InvalidInput(faults)
        statuses = frozenset({RunStatus(str(status))}) if status is not None else None
        found = await self._on.runs.list(principal, statuses=statuses, limit=limit)
        return to_script(json.loads(b"[%b]" % self._on.dialect.processes(found)))

    async def _wait(self, principal: Principal, call: ScriptCall) -> JsonValue | Pending:
        run = await self._run(principal, call)
        if run.is_finished:
            return await self._told(run)
        await self._on.chores.watch_run(run.id, ChoreKind.SCRIPT, self._script_run.id, self._clock.now())
        return Pending(str(run.uuid))

    async def _diff(self, principal: Principal, call: ScriptCall) -> JsonValue:
        run, content = await self._on.runs.diff(principal, _id(call, "run"), DiffForm.STRUCTURED)
        if content is not None:
            _refuse_larger(content.size)
            return to_script(json.loads(await content.read()))
        if any(step.commit_sha for step in run.steps):
            raise NotFound("The diff of this run is not there yet, or is not kept any more.")
        return {"files": []}

    async def _resume(self, principal: Principal, call: ScriptCall) -> JsonValue:
        text = _text(call, "text")
        if said := text_fault(text) if text.strip() else "Must not be blank.":
            raise InvalidInput({"text": [said]})
        run = await self._run(principal, call)
        uuid = self._script_run.uuid_of(call.number)
        return await self._told(await self._on.runs.resume(run, FollowUp(text), principal=principal, step_id=uuid))

    async def _kill(self, principal: Principal, call: ScriptCall) -> JsonValue:
        with suppress(AlreadyFinished):  # maybe by an earlier execution of this very call
            await self._on.runs.kill(principal, _id(call, "run"))
        return await self._told(await self._run(principal, call))

    async def _upload(self, principal: Principal, call: ScriptCall) -> JsonValue:
        content = _text(call, "text").encode()

        async def chunks() -> AsyncIterator[bytes]:
            yield content

        uuid = self._script_run.uuid_of(call.number)
        name = _text(call, "name")
        return _file(await self._on.files.upload(principal, name, None, chunks(), uuid=uuid))

    async def _files(self, principal: Principal, call: ScriptCall) -> JsonValue:
        del call
        return [_file(one) for one in await self._on.files.list(principal, limit=PAGE)]

    async def _file(self, principal: Principal, call: ScriptCall) -> JsonValue:
        return _file(await self._on.files.get(principal, _id(call, "file")))

    async def _repositories(self, principal: Principal, call: ScriptCall) -> JsonValue:
        del call
        found: list[Repository] = []
        while True:
            page, total = await self._on.repositories.page(principal, limit=PAGE, skip=len(found))
            found += page
            if not page or len(found) >= total:
                return to_script([self._on.dialect.repository(one) for one in found])

    async def _run(self, principal: Principal, call: ScriptCall) -> Run:
        return await self._on.runs.get(principal, _id(call, "run"))

    async def _told(self, run: Run) -> JsonValue:
        """With its diff where the API has it in a process too."""
        diff: bytes | None = None
        if run.generate_diff and run.is_finished and (content := await self._on.runs.diff_of(run)) is not None:
            _refuse_larger(content.size)
            with suppress(NotFound):  # pruned at this very moment
                diff = await content.read()
        return to_script(json.loads(self._on.dialect.process(run, diff)))


def _refuse_larger(size: int) -> None:
    if size > MAX_SCRIPT_ANSWER_BYTES:
        raise TooLarge(f"The diff is larger than the {MAX_SCRIPT_ANSWER_BYTES >> 20} MiB that an answer may have.")


def _id(call: ScriptCall, of: str) -> UUID:
    try:
        return UUID(_text(call, "id"))
    except ValueError:
        raise NotFound(f"There is no such {of}.") from None


def _text(call: ScriptCall, name: str) -> str:
    value = call.arguments[name]
    if not isinstance(value, str):
        raise InvalidInput({name: ["Must be a string."]})
    return value


def _file(stored: StoredFile) -> JsonValue:
    return {
        "id": str(stored.id),
        "name": stored.name,
        "content_type": stored.content_type,
        "size": stored.size,
        "sha256": stored.sha256,
    }
