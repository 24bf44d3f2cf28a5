"""Scripts on the service: stored with their versions, run, looked at. `script_chores.py` executes them."""

import json
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from treadle.domain.errors import AlreadyFinished, Conflict, InvalidInput, NotFound
from treadle.domain.events import JsonObject
from treadle.domain.identity import Principal
from treadle.domain.permissions import Permission, may, require
from treadle.domain.script_runs import Script, ScriptLogLine, ScriptRun, ScriptRunDraft, ScriptRunStatus, ScriptVersion
from treadle.ports import Clock, Idempotency
from treadle.ports.script_runs import ScriptFilter, ScriptStore
from treadle.ports.scripting import MAX_SCRIPT_BYTES, MAX_SCRIPT_INPUTS_BYTES, ScriptFailure, ScriptFault, ScriptHost
from treadle.services.audit import Audit
from treadle.services.audit_actions import Action
from treadle.services.chores import Chores
from treadle.services.kept_addresses import address_faults, line_with_credentials
from treadle.services.run_rules import text_fault
from treadle.services.runs import IDEMPOTENCY_SPAN, Repeatable

#: Of an organization, without those that are archived.
MAX_SCRIPTS = 500

#: Versions that are kept of a script: the last ones.
MAX_SCRIPT_VERSIONS = 100

#: Runs of scripts of an organization that have not ended, at once.
MAX_SCRIPT_RUNS = 100

#: Runs of scripts of an organization that have ended: so many are kept, with their journals and logs.
KEPT_SCRIPT_RUNS = 1_000

#: Of a script's name and its description, in characters.
MAX_SCRIPT_NAME = 100
MAX_SCRIPT_DESCRIPTION = 2_000

#: Runs, and lines of a log, that one call lists at most, and unless it says so.
MAX_SCRIPT_PAGE = 1_000
DEFAULT_SCRIPT_PAGE = 100

#: What a run is called whose source was sent along.
AD_HOC: Final = "script.star"

_NAME: Final = re.compile(r"(?!\d+\Z)[A-Za-z0-9][A-Za-z0-9._-]*\Z")

_Faults = dict[str, list[str]]


class Scripts:
    """The use cases around scripts. A MEMBER has its own; what is not the caller's to see is NotFound."""

    def __init__(
        self,
        store: ScriptStore,
        host: ScriptHost,
        chores: Chores,
        clock: Clock,
        *,
        audit: Audit,
        new_uuid: Callable[[], UUID],
    ) -> None:
        self._store = store
        self._host = host
        self._chores = chores
        self._clock = clock
        self._audit = audit
        self._new_uuid = new_uuid

    # ---- stored ones

    async def check(self, principal: Principal, source: str, name: str = AD_HOC) -> ScriptFailure | None:
        """What is wrong with a source; nothing is run. Raises Forbidden."""
        require(principal, Permission.RUN)
        return await self._failure(source, name)

    async def save(
        self,
        principal: Principal,
        name: str,
        source: str,
        description: str | None = None,
        *,
        if_version: int | None = None,
    ) -> Script:
        """A new script, or another version of the one of that name. `if_version`: only while that is its newest; 0:
        only where there is none. Raises InvalidInput naming every fault, Conflict for a name that somebody else's
        script has and for one that was changed meanwhile, Forbidden."""
        require(principal, Permission.RUN)
        faults: _Faults = {}
        if not _NAME.match(name) or len(name) > MAX_SCRIPT_NAME:
            faults["name"] = [
                f"Must be 1 to {MAX_SCRIPT_NAME} letters, digits, dots, dashes and underscores, not digits alone."
            ]
        if description is not None and (said := _description_fault(description)):
            faults["description"] = [said]
        if said := await self._source_fault(source, name):
            faults["source"] = [said]
        if faults:
            raise InvalidInput(faults, "The script is not valid.")
        await self._check_place(principal, name)
        saved = await self._store.save_script(
            principal,
            name,
            source,
            description=description,
            uuid=self._new_uuid(),
            now=self._clock.now(),
            keep=MAX_SCRIPT_VERSIONS,
            most=MAX_SCRIPTS,
            if_version=if_version,
        )
        await self._audit.note(
            Action.SCRIPT_SAVED, principal=principal, target=saved.id, detail={"name": name, "version": saved.version}
        )
        return saved

    async def list(self, principal: Principal) -> Sequence[Script]:
        """By their names: the organization's, or the caller's own. Raises Forbidden."""
        require(principal, Permission.RUN)
        return await self._store.scripts(_seen_by(principal))

    async def get(self, principal: Principal, which: int | str) -> Script:
        """By its id or its name. Raises NotFound, Forbidden."""
        require(principal, Permission.RUN)
        found = await self._store.script(which, _seen_by(principal))
        if found.is_archived:
            raise NotFound("There is no such script.")
        return found

    async def version(self, script: Script, version: int | None = None) -> ScriptVersion:
        """Of one that the caller was already let see; None: the newest. Raises NotFound."""
        return await self._store.script_version(script.id, version if version is not None else script.version)

    async def versions(self, principal: Principal, which: int | str) -> Sequence[ScriptVersion]:
        """The newest first. Raises NotFound, Forbidden."""
        return await self._store.script_versions((await self.get(principal, which)).id)

    async def archive(self, principal: Principal, which: int | str) -> None:
        """Its runs go on, and stay. Raises NotFound, Forbidden."""
        found = await self.get(principal, which)
        await self._store.archive_script(found.id, self._clock.now())
        await self._audit.note(Action.SCRIPT_REMOVED, principal=principal, target=found.id, detail={"name": found.name})

    # ---- runs

    async def start(
        self,
        principal: Principal,
        which: int | str,
        inputs: JsonObject,
        *,
        version: int | None = None,
        repeatable: Repeatable | None = None,
        uuid: UUID | None = None,
    ) -> ScriptRun:
        """A run of a stored script, or the one that the same Idempotency-Key or `uuid` made. Raises InvalidInput,
        NotFound, Forbidden, IdempotencyMismatch, and Conflict where too many have not ended."""
        require(principal, Permission.RUN)
        if (earlier := await self._started_with(principal, repeatable)) is not None:
            return earlier
        script = await self.get(principal, which)
        found = await self.version(script, version)
        draft = ScriptRunDraft(script.name, found.source, inputs, script.id, found.version)
        return await self._start(principal, draft, {}, repeatable, uuid)

    async def start_source(
        self, principal: Principal, source: str, inputs: JsonObject, *, repeatable: Repeatable | None = None
    ) -> ScriptRun:
        """A run of a source that is not stored. Raises as `start` does."""
        require(principal, Permission.RUN)
        if (earlier := await self._started_with(principal, repeatable)) is not None:
            return earlier
        said = await self._source_fault(source, AD_HOC)
        faults: _Faults = {"source": [said]} if said else {}
        return await self._start(principal, ScriptRunDraft(AD_HOC, source, inputs), faults, repeatable, None)

    async def run(self, principal: Principal, which: int | UUID) -> ScriptRun:
        """Raises NotFound, Forbidden."""
        require(principal, Permission.RUN)
        return await self._store.script_run(which, _seen_by(principal))

    async def runs(
        self, principal: Principal, *, script: int | str | None = None, limit: int, before: int | None = None
    ) -> Sequence[ScriptRun]:
        """Newest first, without sources, inputs and outputs. Raises NotFound for the script, Forbidden."""
        require(principal, Permission.RUN)
        seen_by = _seen_by(principal)
        script_id = None if script is None else (await self._store.script(script, seen_by)).id
        return await self._store.script_runs(seen_by, script_id=script_id, limit=limit, before=before)

    async def log(
        self, principal: Principal, which: int | UUID, *, after: int, limit: int
    ) -> tuple[ScriptRun, Sequence[ScriptLogLine]]:
        """The run as it was before its log was read: of one that has ended nothing follows. Raises NotFound."""
        run = await self.run(principal, which)
        return run, await self._store.script_log(run.id, after=after, limit=limit)

    async def kill(self, principal: Principal, which: int | UUID) -> ScriptRun:
        """Killed at once; the runs that it started go on. Raises NotFound, AlreadyFinished, Forbidden."""
        run = await self.run(principal, which)
        if not await self._store.end_script_run(run.id, ScriptRunStatus.KILLED, self._clock.now()):
            run = await self.run(principal, run.id)
            raise AlreadyFinished(f"The run of the script has ended: {run.status}.")
        await self._audit.note(Action.SCRIPT_KILLED, principal=principal, target=run.id, detail={"name": run.name})
        return await self.run(principal, run.id)

    async def is_over(self, organization_id: int, script_run_id: int) -> bool:
        """Also of one that is not kept any more."""
        try:
            return (await self._store.script_run(script_run_id, ScriptFilter(organization_id))).is_finished
        except NotFound:
            return True

    async def _started_with(self, principal: Principal, repeatable: Repeatable | None) -> ScriptRun | None:
        """As `Runs.started_with`."""
        use = _idempotency(repeatable, self._clock.now())
        uuid = await self._store.key_use(principal, use) if use is not None else None
        if uuid is None:
            return None
        try:
            return await self._store.script_run(uuid, ScriptFilter(principal.organization_id))
        except NotFound:
            raise NotFound("What this Idempotency-Key started is not kept any more.") from None

    async def _start(
        self,
        principal: Principal,
        draft: ScriptRunDraft,
        faults: _Faults,
        repeatable: Repeatable | None,
        uuid: UUID | None,
    ) -> ScriptRun:
        said = inputs_fault(draft.inputs)
        faults |= {"inputs": [said]} if said else address_faults(draft.inputs, "inputs")
        if faults:
            raise InvalidInput(faults)
        now = self._clock.now()
        made, _ = await self._store.add_script_run(
            draft,
            principal,
            uuid=uuid or self._new_uuid(),
            now=now,
            keep=KEPT_SCRIPT_RUNS,
            most_alive=MAX_SCRIPT_RUNS,
            idempotency=_idempotency(repeatable, now),
            audit=self._audit.entry(
                Action.SCRIPT_STARTED, principal=principal, detail={"name": draft.name, "version": draft.version}
            ),
        )
        self._chores.bell.ring()
        return made

    async def _source_fault(self, source: str, name: str) -> str | None:
        try:
            size = len(source.encode())
        except UnicodeEncodeError:
            return "Must be Unicode text."
        if size > MAX_SCRIPT_BYTES:
            return f"Must be at most {MAX_SCRIPT_BYTES >> 10} KiB."
        if said := text_fault(source):
            return said
        failure = await self._failure(source, name)
        return None if failure is None else failure.sentence(name)

    async def _failure(self, source: str, name: str) -> ScriptFailure | None:
        return await self._host.check(source, name) or _credentials_failure(source)

    async def _check_place(self, principal: Principal, name: str) -> None:
        everybodys = ScriptFilter(principal.organization_id)
        try:
            known = await self._store.script(name, everybodys)
        except NotFound:
            known = None
        if known is not None and known.user_id != principal.user_id and not may(principal, Permission.RUNS_OF_OTHERS):
            raise Conflict(f"There is a script called {name} already, of somebody else's.", hint="Choose another name.")


def inputs_fault(inputs: JsonObject) -> str | None:
    """Why a script cannot be given them."""
    try:
        size = len(json.dumps(inputs, ensure_ascii=False, allow_nan=False).encode())
    except UnicodeEncodeError:
        return "Must not hold half of a surrogate pair."
    except (ValueError, RecursionError):
        return "Must be JSON, without Infinity and NaN, and not nested too deeply."
    if size > MAX_SCRIPT_INPUTS_BYTES:
        return f"Must be at most {MAX_SCRIPT_INPUTS_BYTES >> 10} KiB."
    return None


def _credentials_failure(source: str) -> ScriptFailure | None:
    """Whoever may see a script, or a run of it, sees its source."""
    line = line_with_credentials(source)
    if line is None:
        return None
    said, hint = "The line holds an address with credentials.", "Register the repository, which keeps them sealed."
    return ScriptFailure(ScriptFault.SYNTAX, said, line, hint=hint)


def _description_fault(description: str) -> str | None:
    if len(description) > MAX_SCRIPT_DESCRIPTION:
        return f"Must be at most {MAX_SCRIPT_DESCRIPTION:,} characters."
    return text_fault(description)


def _idempotency(repeatable: Repeatable | None, now: datetime) -> Idempotency | None:
    """Apart from the keys of runs."""
    if repeatable is None:
        return None
    return Idempotency(f"script {repeatable.key}", repeatable.digest, now - IDEMPOTENCY_SPAN)


def _seen_by(principal: Principal) -> ScriptFilter:
    sees_all = may(principal, Permission.RUNS_OF_OTHERS)
    return ScriptFilter(principal.organization_id, None if sees_all else principal.user_id)
