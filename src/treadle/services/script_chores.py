"""What advances a run of a script: its chore. Each is one execution from the start, with the journal of the earlier
ones; one that waits for a run ends until that has ended, and costs nothing meanwhile."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import structlog

from treadle.domain.errors import KillRequested, NotFound, Unavailable
from treadle.domain.events import JsonObject
from treadle.domain.script_runs import ScriptRun, ScriptRunStatus
from treadle.ports import Clock
from treadle.ports.chores import Chore
from treadle.ports.scripting import (
    Execution,
    JsonValue,
    ScriptEnd,
    ScriptFailure,
    ScriptFault,
    ScriptHost,
    ScriptLine,
    ScriptOutcome,
)
from treadle.services.script_calls import CallServices, CallStore, ScriptCalls

log = structlog.get_logger(__name__)

#: A script whose interpreter dies so many times, one after another, fails.
MAX_SCRIPT_DEATHS = 3

_ENDS: Final[Mapping[ScriptEnd, ScriptRunStatus]] = {
    ScriptEnd.SUCCESS: ScriptRunStatus.SUCCESS,
    ScriptEnd.FAILED: ScriptRunStatus.FAILED,
}


class ScriptChores:
    """The handler of scripts' chores."""

    def __init__(self, store: CallStore, host: ScriptHost, on: CallServices, clock: Clock) -> None:
        self._store = store
        self._host = host
        self._on = on
        self._clock = clock

    async def __call__(self, chore: Chore) -> datetime | None:
        """Raises what may be tried again."""
        try:
            script_run = await self._store.script_run_by_id(chore.subject)
        except NotFound:
            return None
        if not await self._store.begin_script_run(script_run.id, self._clock.now()):
            return None
        try:
            outcome = await self._execute(script_run)
        except KillRequested:
            return None
        await self._settle(script_run, outcome, chore.tries)
        return None

    async def _execute(self, script_run: ScriptRun) -> ScriptOutcome:
        async def tell(line: ScriptLine) -> None:
            await self._store.tell_script_line(script_run.id, line, self._clock.now())

        execution = Execution(
            script_run.source,
            _inputs(script_run.inputs),
            name=script_run.name,
            journal=await self._store.journal(script_run.id),
            printed=script_run.log_lines,
        )
        calls = ScriptCalls(script_run, self._store, self._on, self._clock)
        return await self._host.run(execution, calls, tell)

    async def _settle(self, script_run: ScriptRun, outcome: ScriptOutcome, tries: int) -> None:
        """Writes down how it ended, or what it waits for: `watch_run` has it go on, and may have planned it already."""
        if outcome.end is ScriptEnd.PENDING:
            await self._store.wait_script_run(script_run.id, _waits_for(outcome))
            return
        failure = outcome.failure
        if failure is not None and failure.fault is ScriptFault.BROKEN and tries + 1 < MAX_SCRIPT_DEATHS:
            raise Unavailable(f"The interpreter of a script died: {failure.message}")
        details = _details(script_run.name, failure) if failure is not None else None
        log.info("a run of a script has ended", script_run=script_run.id, status=str(outcome.end), details=details)
        await self._store.end_script_run(
            script_run.id, _ENDS[outcome.end], self._clock.now(), outputs=outcome.output, details=details
        )


def _details(name: str, failure: ScriptFailure) -> str:
    """Its sentence, and the lines of the calls on the way."""
    calls = [f"  called from {name}:{line}, {function}" for function, line in failure.trace[:-1]]
    return "\n".join([failure.sentence(name), *calls])


def _waits_for(outcome: ScriptOutcome) -> JsonObject:
    call, pending = outcome.waits_in, outcome.pending
    return {
        "call": call.number if call is not None else None,
        "name": call.name if call is not None else None,
        "line": call.line if call is not None else None,
        "run": pending.run_id if pending is not None else None,
    }


def _inputs(inputs: JsonObject) -> dict[str, JsonValue]:
    """As the port's JSON has them: they were read from JSON, and are."""
    return {name: _value(value) for name, value in inputs.items()}


def _value(value: object) -> JsonValue:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Mapping():
            return {str(name): _value(one) for name, one in value.items()}
        case list() | tuple():
            return [_value(one) for one in value]
        case _:
            return str(value)
