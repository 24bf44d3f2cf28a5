"""One step: its phases, then the commit and the push; or, for an analysis-only step, the answer alone."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import structlog

from treadle.domain.errors import EngineError, LeaseLost, StepUnsuccessful, TreadleError, Unavailable
from treadle.domain.events import Draft, EventType, JsonObject, clip
from treadle.domain.run import Run, Step, StructuredOutput, Usage
from treadle.domain.states import Phase, StepStatus
from treadle.domain.validation import CommandResult
from treadle.ports import Engine, Layout, Outcome, Sandbox, StepUpdate, Workspace
from treadle.runner import prompts
from treadle.runner.artifacts import Artifacts
from treadle.runner.checkpoints import Checkpoints, Resumption
from treadle.runner.commit_guard import CommitGuard
from treadle.runner.phase import PhaseRequest, PhaseRunner
from treadle.runner.validation import Validation
from treadle.services.progress import Progress
from treadle.services.secrets import RunSecrets

log = structlog.get_logger(__name__)

#: How many paths an event names.
MAX_PATHS = 100

#: A checkpoint that is being kept when the run is stopped gets so many seconds more: its phase is paid for. A kill must
#: be over within five.
SAVE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Last:
    """The last phase that was done, and by whom."""

    engine: Engine
    phase: Phase
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Repair:
    """What the engine is asked to mend, and which time it is asked in this step."""

    prompt: str
    time: int


@dataclass(slots=True)
class Answer:
    """What a step has to say so far."""

    output: str | None = None
    structured_output: StructuredOutput | None = None
    last: Last | None = None


class StepRunner:
    """Runs the steps of one claimed run in its workspace, one after another, in one engine conversation."""

    def __init__(
        self,
        run: Run,
        workspace: Workspace,
        *,
        sandbox: Sandbox,
        phases: PhaseRunner,
        progress: Progress,
        secrets: RunSecrets,
        checkpoints: Checkpoints,
        artifacts: Artifacts,
        briefing: prompts.Briefing,
        permit_push: Callable[[], Awaitable[None]],
        guard: CommitGuard,
        validation: Validation,
    ) -> None:
        self._run = run
        self._workspace = workspace
        self._sandbox = sandbox
        self._phases = phases
        self._progress = progress
        self._secrets = secrets
        self._checkpoints = checkpoints
        self._artifacts = artifacts
        self._briefing = briefing
        self._news = briefing.news  # until they are told
        self._permit_push = permit_push
        self._guard = guard
        self._validation = validation
        self._session: str | None = None

    @property
    def layout(self) -> Layout:
        return self._sandbox.layout(self._workspace.box)

    async def run(self, step: Step, resumption: Resumption) -> None:
        """From where `resumption` left off to Success. Raises RunError; what it cost is recorded either way."""
        self._session = resumption.session or self._session
        answer = Answer(resumption.output, resumption.structured_output)
        done = resumption.done if resumption.step == step.position else ()
        if step.status is StepStatus.NOT_STARTED:
            await self._record(
                step,
                Draft(EventType.STEP_STARTED, {"text": clip(step.text)[0], "isCommitable": step.is_commitable}),
                status=StepStatus.RUNNING,
            )
        for phase in step.phases[len(done) :]:
            await self._phase(step, phase, answer)
        if step.is_commitable:
            await self._validation.check(step, partial(self._mend, step, answer))
        is_pushed = step.is_commitable and await self._deliver(step, answer)
        await self._record(
            step,
            succeeded(step, answer.output),
            status=StepStatus.SUCCESS,
            output=answer.output,
            structured_output=answer.structured_output,
        )
        if is_pushed:
            await self._show(step)

    async def _mend(self, step: Step, answer: Answer, failed: CommandResult, end: str, time: int) -> None:
        """One more call in the validation phase, for a command that must pass."""
        asked = prompts.repair(step, failed, end, rules=self._briefing.rules)
        await self._phase(step, Phase.VALIDATION, answer, Repair(asked, time))

    async def _phase(self, step: Step, phase: Phase, answer: Answer, repair: Repair | None = None) -> None:
        is_read_only = phase is Phase.ANALYSIS
        # Structure is asked for where the work is done and where it is checked; the proposal in between is plain text.
        is_structured = step.is_structured and (phase is not Phase.ANALYSIS or not step.is_commitable)
        if repair is not None:
            asked = repair.prompt
        else:
            files = prompts.attached(self.layout, step, self._briefing.names)
            asked = prompts.prompt(step, phase, rules=self._briefing.rules, files=files)
        request = PhaseRequest(
            step=step,
            phase=phase,
            prompt=self._news + asked,
            lead=self._briefing.lead,
            is_structured=is_structured,
            is_read_only=is_read_only,
            session=self._session,
            repair=repair.time if repair is not None else 0,
        )
        await self._progress.record(step=StepUpdate(step.position, phase=phase))
        engine = (await self._secrets.engine()).engine
        try:
            outcome = await self._phases.run(request)
        except BaseException as error:  # a call that failed or was broken off is on the bill too
            with suppress(LeaseLost, Unavailable):
                await self._progress.record(step=StepUpdate(step.position, usage=self._phases.unbilled))
            if isinstance(error, EngineError):
                await self._keep_conversation(step, phase, answer, engine, self._phases.session)
            raise
        self._session = outcome.session or self._session
        self._news = ""
        if is_read_only and not self._sandbox.enforces_read_only:
            await self._undo(step, phase)
        _remember(answer, phase, outcome)
        await self._record(step, self._finished(outcome), phase=phase, usage=self._phases.unbilled)
        structured = outcome.structured_output
        if structured is not None and not structured.was_successful:
            await self._keep_conversation(step, phase, answer, engine, self._session)
            raise StepUnsuccessful(f"The engine says that it did not succeed: {structured.output}")
        answer.last = Last(engine, phase, outcome)
        # What validation leaves is kept while it is pushed, unless commands come before that.
        if phase is not Phase.VALIDATION or self._validation.is_asked:
            await self._keep(
                step, answer, await self._workspace.head(), None if is_read_only else self._workspace.patch
            )

    async def _undo(self, step: Step, phase: Phase) -> None:
        """Without a sandbox the analysis could write: whatever it changed is undone, and said."""
        if paths := await self._workspace.undo():
            await self._progress.note(undone(paths, step.position, phase))

    async def _keep(
        self, step: Step, answer: Answer, base_sha: str, patch: Callable[[], Awaitable[bytes]] | None
    ) -> None:
        """What the next worker goes on from, should this one die. It is for the worst case: a run whose patch is too
        large, or whose disk is full, goes on without."""
        last = answer.last
        if last is None:  # nothing was done here since the last checkpoint
            return
        outcome = replace(last.outcome, output=answer.output, structured_output=answer.structured_output)
        try:
            work = await patch() if patch is not None else b""
            await begun_is_done(
                self._checkpoints.save(
                    self._workspace, self.layout, last.engine, step, last.phase, outcome, base_sha=base_sha, patch=work
                ),
                SAVE_SECONDS,
            )
        except LeaseLost:
            raise
        except (TreadleError, OSError) as error:
            log.warning("no checkpoint could be kept", step=step.position, phase=last.phase, error=str(error))

    async def _keep_conversation(
        self, step: Step, phase: Phase, answer: Answer, engine: Engine, session: str | None
    ) -> None:
        """Of a phase that failed: whoever resumes the run goes on from what was said in it."""
        if session is None:
            return
        outcome = Outcome(answer.output, answer.structured_output, session, Usage(), None)
        try:
            base_sha = await self._workspace.head()
            await self._checkpoints.save(
                self._workspace,
                self.layout,
                engine,
                step,
                phase,
                outcome,
                base_sha=base_sha,
                patch=b"",
                is_phase_done=False,
            )
        except LeaseLost:
            raise
        except (TreadleError, OSError) as error:
            log.warning("the conversation could not be kept", step=step.position, phase=phase, error=str(error))

    async def _keep_committed(self, step: Step, answer: Answer, base_sha: str) -> None:
        await self._keep(step, answer, base_sha, partial(self._workspace.patch, since=base_sha))

    async def _deliver(self, step: Step, answer: Answer) -> bool:
        """Commit, compare, push; whether there was anything. The step's trailer is what makes this happen at most
        once."""
        base_sha = await self._workspace.head()
        await self._guard.check(step.position)
        commit = await self._workspace.commit(self._guard.clean(step.text), step.id)
        for path in await self._workspace.nested_repositories():
            await self._progress.note(Draft(EventType.WORKSPACE_NESTED_REPOSITORY, {"path": path}, step.position))
        if paths := await self._workspace.restore_submodules():
            await self._progress.note(undone(paths, step.position))
        if commit is None:
            await self._record(step, Draft(EventType.GIT_NOTHING_TO_COMMIT))
            await self._keep(step, answer, base_sha, None)
            return False
        committed: JsonObject = {
            "sha": commit.sha,
            "files": commit.files,
            "additions": commit.additions,
            "deletions": commit.deletions,
        }
        ahead, behind = await self._workspace.compare()
        await self._progress.note(
            Draft(EventType.GIT_COMMITTED, committed, step.position),
            Draft(EventType.GIT_COMPARED, {"ahead": ahead, "behind": behind}, step.position),
        )
        keeping = asyncio.create_task(self._keep_committed(step, answer, base_sha))
        try:
            sha = await self._workspace.push(self._permit_push)
            await keeping
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        drafts = [Draft(EventType.GIT_PUSHED, {"sha": sha, "branch": self._run.branch_work}, step.position)]
        if sha != commit.sha:
            drafts.insert(0, Draft(EventType.GIT_REBASED, {"from": commit.sha, "to": sha}, step.position))
        await self._progress.record(*drafts, step=StepUpdate(step.position, commit_sha=sha))
        return True

    async def _show(self, step: Step) -> None:
        """The diff so far. The step is done without it: when it cannot be made, the run's end tries again."""
        try:
            await self._artifacts.keep_diff(self._workspace, step.position)
        except LeaseLost:
            raise
        except (TreadleError, OSError) as error:
            log.warning("the diff could not be kept", step=step.position, error=str(error))

    def _finished(self, outcome: Outcome) -> Draft:
        text, cut = clip(outcome.output or "")
        usage = outcome.usage
        data: dict[str, str | int | JsonObject] = {
            "output": text,
            "usage": {
                "inputTokens": usage.input_tokens,
                "outputTokens": usage.output_tokens,
                "costUsd": usage.cost_usd,
                "durationMs": usage.duration_ms,
            },
        }
        if cut:
            data["clipped"] = cut
        return Draft(EventType.PHASE_FINISHED, data)

    async def _record(
        self,
        step: Step,
        draft: Draft,
        *,
        status: StepStatus | None = None,
        phase: Phase | None = None,
        output: str | None = None,
        structured_output: StructuredOutput | None = None,
        usage: Usage | None = None,
    ) -> None:
        update = StepUpdate(
            step.position, status=status, phase=phase, output=output, structured_output=structured_output, usage=usage
        )
        await self._progress.record(replace(draft, step=step.position, phase=phase), step=update)


async def begun_is_done(work: Coroutine[object, object, None], seconds: float) -> None:
    """Awaits `work`; when cancelled, for so much longer."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=seconds)
        raise
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def succeeded(step: Step, output: str | None) -> Draft:
    """The event of a step's good end."""
    text, cut = clip(output) if output is not None else (None, 0)
    data: dict[str, str | int | None] = {"status": StepStatus.SUCCESS, "failureDetails": None, "output": text}
    return Draft(EventType.STEP_FINISHED, data | ({"clipped": cut} if cut else {}), step.position)


def undone(paths: Sequence[str], step: int | None, phase: Phase | None = None) -> Draft:
    """Says which changes were thrown away: an analysis's, or those within submodules."""
    data: JsonObject = {"paths": list(paths[:MAX_PATHS]), "count": len(paths)}
    return Draft(EventType.WORKSPACE_CHANGES_UNDONE, data, step, phase)


def _remember(answer: Answer, phase: Phase, outcome: Outcome) -> None:
    """A step answers with what its work says; validation speaks up only where the work said nothing."""
    if phase is Phase.VALIDATION and answer.output:
        return
    structured = outcome.structured_output
    answer.output = structured.output if structured is not None else outcome.output
    answer.structured_output = structured or answer.structured_output
