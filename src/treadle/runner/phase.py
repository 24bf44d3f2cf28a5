"""One phase of a step: the engine's call, its time limits, its retries."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from uuid import UUID

import structlog

from treadle import command, telemetry
from treadle.domain.errors import EngineNotInstalled, EngineTimedOut, LeaseLost
from treadle.domain.events import Draft, EventType, JsonObject, JsonValue, clip
from treadle.domain.run import EngineName, Step, Usage
from treadle.domain.states import Phase
from treadle.logs import run_context
from treadle.ports import Box, Clock, Enclosed, Engine, EngineCall, EngineReader, Layout, Outcome, Sandbox
from treadle.runner import config_files
from treadle.runner.account import RunAccount, note_cost
from treadle.runner.doors import Doors
from treadle.runner.limits import Limits
from treadle.runner.watching import within_limits
from treadle.services.progress import Progress
from treadle.services.secrets import EngineChoice, RunSecrets

log = structlog.get_logger(__name__)

#: A CLI that lingers after its answer is ended after this many seconds.
LINGER_SECONDS = 3.0

#: What one call may put into the trace, in bytes of its output: an engine in a loop must not fill the database.
MAX_TRACE_BYTES = 64 << 20

_TRACE_FULL = f"The engine wrote more than {MAX_TRACE_BYTES >> 20} MiB in this call; the rest is not in the trace."


@dataclass(frozen=True, slots=True)
class PhaseRequest:
    """What is asked in one phase."""

    step: Step
    phase: Phase
    prompt: str
    lead: str  # put before the prompt when the conversation begins here
    is_structured: bool
    is_read_only: bool
    session: str | None
    repair: int = 0  # which time validation's finding is to be mended; 0: the phase itself


class PhaseRunner:
    """Calls engines for one run. Owns time, retries and the end of the process; an engine owns none of them."""

    def __init__(
        self,
        *,
        box: Box,
        sandbox: Sandbox,
        progress: Progress,
        secrets: RunSecrets,
        clock: Clock,
        limits: Limits,
        new_uuid: Callable[[], UUID],
        reads_rule_files: bool,
        account: RunAccount,
        doors: Doors,
    ) -> None:
        self._box = box
        self._sandbox = sandbox
        self._progress = progress
        self._secrets = secrets
        self._clock = clock
        self._limits = limits
        self._new_uuid = new_uuid
        self._reads_rule_files = reads_rule_files
        self._account = account
        self._doors = doors
        self.unbilled = Usage()  # by the phase that runs, or ran last: what its account was not charged
        self.session: str | None = None  # the conversation that its last attempt left, if there is enough of it

    async def run(self, request: PhaseRequest) -> Outcome:
        """The successful outcome, its usage that of every attempt. Raises the last attempt's EngineError. What is to be
        recorded of its cost is in `unbilled`, however it ends."""
        phase, position = request.phase, request.step.position
        with (
            run_context(phase=phase),
            telemetry.timed(telemetry.PHASE_SECONDS, "phase", phase=phase, step=position) as span,
        ):
            self._account.bill_to(position, phase)
            return await self._run(request, span)

    async def _run(self, request: PhaseRequest, span: telemetry.Span) -> Outcome:
        self.unbilled, self.session = Usage(), request.session
        delays = iter(self._limits.retries)
        attempt, session = 0, request.session
        while True:
            attempt += 1
            chosen = self._doors.stand_in(await self._secrets.engine())
            span.set(engine=chosen.engine.name)
            outcome = await self._attempt(request, chosen, session, attempt)
            if outcome.error is None:
                return replace(outcome, usage=self._account.charged + self.unbilled)
            session = self.session = self._session_after(chosen.engine, outcome.session) or request.session
            delay = next(delays, None) if outcome.error.is_retryable else None
            if delay is None:
                raise outcome.error
            telemetry.count(telemetry.RETRIES, engine=chosen.engine.name, reason=outcome.error.code)
            log.warning(
                "the engine is called again", engine=chosen.engine.name, reason=outcome.error.code, seconds=delay
            )
            await self._progress.record(
                self._draft(
                    request,
                    EventType.ENGINE_RETRY,
                    {"reason": outcome.error.message, "attempt": attempt + 1, "delaySeconds": delay, "by": "runner"},
                )
            )
            await self._clock.sleep(delay)

    async def _attempt(self, request: PhaseRequest, chosen: EngineChoice, session: str | None, attempt: int) -> Outcome:
        box = replace(self._box, is_read_only=request.is_read_only)
        prompt = request.prompt if session else request.lead + request.prompt
        call = EngineCall(
            prompt=prompt,
            layout=self._sandbox.layout(box),
            credential=chosen.credential,
            session=session,
            new_session=self._new_uuid(),
            phase=request.phase,
            step_text=request.step.text,
            is_structured=request.is_structured,
            is_read_only=request.is_read_only,
            is_commitable=request.step.is_commitable,
            endpoint=chosen.endpoint,
            model=chosen.model,
            attempt=attempt,
            reads_rule_files=self._reads_rule_files,
            repair=request.repair,
        )
        text, cut = clip(prompt)
        said: dict[str, JsonValue] = {"prompt": text, "attempt": attempt, "engine": chosen.engine.name}
        if cut:
            said["clipped"] = cut
        if request.repair:
            said["repair"] = request.repair
        await self._progress.note(self._draft(request, EventType.PHASE_STARTED, said))
        reader = chosen.engine.reader(call)
        started = asyncio.get_running_loop().time()
        try:
            with telemetry.span("engine call", engine=chosen.engine.name, attempt=attempt) as span:
                code, stderr, timed_out = await self._call(request, chosen.engine, call, box, reader)
                outcome = reader.finish(code, stderr)
                if timed_out is not None:
                    outcome = replace(outcome, error=timed_out)
                code_of_error = outcome.error.code if outcome.error is not None else None
                if code_of_error is not None:
                    span.set(error=code_of_error)
                log.debug("the engine has ended", engine=chosen.engine.name, exit_code=code, error=code_of_error)
        finally:
            # What goes through the gateway is counted there: what the CLI says, the agent may have written.
            is_counted = self._doors.model is not None and chosen.engine.name is not EngineName.DUMMY
            cost = Usage() if is_counted else reader.finish(0, "").usage
            duration = round((asyncio.get_running_loop().time() - started) * 1000)
            self.unbilled += replace(cost, duration_ms=duration)
            note_cost(chosen.engine.name, cost)
        await self._account.settle(cost)
        return outcome

    async def _call(
        self, request: PhaseRequest, engine: Engine, call: EngineCall, box: Box, reader: EngineReader
    ) -> tuple[int, str, EngineTimedOut | None]:
        """Exit code and stderr's end; and why the call was ended, if it was."""
        invocation = engine.command(call)
        for path, content in invocation.files.items():
            config_files.write_private(box.config, path, content)
        box = replace(box, readable=(*box.readable, *invocation.readable), doors=self._doors.of_engine)
        own = await self._secrets.environment()
        environment = {**own, **self._doors.environment, **invocation.environment}
        timed_out: EngineTimedOut | None = None
        code, stderr = 0, ""
        open_tools = _OpenTools()
        try:
            async with asyncio.timeout(self._limits.phase):
                with self._sandbox.enclose(invocation.argv, environment, box) as enclosed:
                    following = self._follow(request, enclosed, box, invocation.stdin, reader, open_tools)
                    code, stderr = await within_limits(following, enclosed, self._account)
                    if (hit := enclosed.hit()) is not None:
                        await self._note(request, [Draft(EventType.SANDBOX_LIMIT, {"text": hit})])
                        stderr = f"{stderr.rstrip()}\n{hit}"
        except command.CommandNotFound as missing:
            raise EngineNotInstalled(
                f"The {engine.name} CLI could not be started: {missing.message}",
                hint="`treadle doctor` says what is missing.",
            ) from missing
        except command.CommandTimedOut:
            timed_out = EngineTimedOut(
                f"{engine.name} was silent for {self._limits.idle:g} s in the {request.phase.lower()} phase.",
                hint="TREADLE_IDLE_SECONDS sets this limit.",
            )
        except TimeoutError:
            timed_out = EngineTimedOut(
                f"The {request.phase.lower()} phase took longer than {self._limits.phase:g} s.",
                hint="TREADLE_PHASE_SECONDS sets this limit; smaller steps help.",
            )
        finally:
            with suppress(LeaseLost):
                await self._note(request, open_tools.broken_off())
        return code, stderr, timed_out

    async def _follow(
        self,
        request: PhaseRequest,
        enclosed: Enclosed,
        box: Box,
        stdin: bytes,
        reader: EngineReader,
        open_tools: "_OpenTools",
    ) -> tuple[int, str]:
        """Notes what the command says until its end; exit code and stderr's end."""
        async with command.spawn(
            enclosed.argv,
            environment=enclosed.environment,
            cwd=box.work_tree,
            stdin=stdin,
            grace_seconds=self._limits.grace,
        ) as process:
            traced = 0
            async for line in process.lines(idle_seconds=self._limits.idle):
                drafts = reader.feed(line)
                if drafts and traced <= MAX_TRACE_BYTES:
                    traced += len(line)
                    if traced > MAX_TRACE_BYTES:
                        drafts = [Draft(EventType.ENGINE_NOTICE, {"text": _TRACE_FULL})]
                    open_tools.look(drafts)
                    await self._note(request, drafts)
                if reader.is_final:
                    break
            try:
                code = await process.wait(LINGER_SECONDS if reader.is_final else None)
            except command.CommandTimedOut:
                code = await process.end()
            return code, process.stderr

    async def _note(self, request: PhaseRequest, drafts: Sequence[Draft]) -> None:
        if drafts:
            await self._progress.note(
                *(replace(draft, step=request.step.position, phase=request.phase) for draft in drafts)
            )

    def _session_after(self, engine: Engine, session: str | None) -> str | None:
        """The conversation that a failed attempt left behind, if there is enough of it to go on with."""
        if session is None:
            return None
        layout: Layout = self._sandbox.layout(self._box)
        patterns = engine.session_files(layout, session)
        return session if any(any(config_files.matching(self._box.config, each)) for each in patterns) else None

    @staticmethod
    def _draft(request: PhaseRequest, kind: EventType, data: JsonObject) -> Draft:
        return Draft(kind, data, step=request.step.position, phase=request.phase)


class _OpenTools:
    """Tool calls of an engine that have begun and not ended: when it is ended itself, nobody else will say so."""

    def __init__(self) -> None:
        self._open: dict[str, None] = {}

    def look(self, drafts: Sequence[Draft]) -> None:
        for draft in drafts:
            if draft.type is EventType.TOOL_STARTED:
                self._open[str(draft.data.get("id"))] = None
            elif draft.type is EventType.TOOL_FINISHED:
                self._open.pop(str(draft.data.get("id")), None)

    def broken_off(self) -> Sequence[Draft]:
        said = "The call was broken off."
        return [Draft(EventType.TOOL_FINISHED, {"id": id_, "output": said, "isError": True}) for id_ in self._open]
