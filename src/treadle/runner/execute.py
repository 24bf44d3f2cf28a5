"""One claimed run, readable from top to bottom."""

import asyncio
import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import structlog

from treadle import telemetry
from treadle.domain.errors import ConfigurationError, LeaseLost, NotFound, RunError, SealKeyMissing, TreadleError
from treadle.domain.events import Draft, EventType
from treadle.domain.network import NetworkPolicy
from treadle.domain.repository import Repository
from treadle.domain.run import EngineName, Run, Step, given_up
from treadle.domain.states import StepStatus
from treadle.logs import redacting, run_context
from treadle.ports import (
    Blobs,
    Clock,
    Engine,
    Fence,
    Queue,
    Sandbox,
    Signals,
    StepUpdate,
    Store,
    Vault,
    Workspace,
    WorkspaceRequest,
    Workspaces,
)
from treadle.ports.gateway import Egress, ModelGateway
from treadle.runner import answers, attachments, doors, prompts, publishing, rules, unfinished
from treadle.runner.account import RunAccount
from treadle.runner.artifacts import Artifacts
from treadle.runner.checkpoints import Checkpoints, Resumption
from treadle.runner.commit_guard import CommitGuard
from treadle.runner.leaving import End, Ending, Leaving
from treadle.runner.limits import Limits
from treadle.runner.patience import Hold, PatientBlobs, PatientStore, now_on_this_machine
from treadle.runner.phase import PhaseRunner
from treadle.runner.pulse import StopReason, watch
from treadle.runner.setup import SetupRules, SetupRunner
from treadle.runner.step import StepRunner, succeeded
from treadle.runner.validation import CommandRules, Validation, asked
from treadle.services.budgets import RunBudget
from treadle.services.policies import effective
from treadle.services.progress import Progress
from treadle.services.pull_requests import PullRequests
from treadle.services.secrets import EngineDefaults, RunRedactor, RunSecrets

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything that executing a run needs of the outside."""

    store: Store
    queue: Queue
    signals: Signals  # wakes those who follow a run's events
    controls: Signals  # wakes the worker that holds a run
    blobs: Blobs
    vault: Vault
    workspaces: Workspaces
    sandbox: Sandbox
    engines: Mapping[EngineName, Engine]
    defaults: EngineDefaults
    clock: Clock
    new_uuid: Callable[[], UUID]
    author: tuple[str, str]  # name and e-mail of the commits
    pull_requests: PullRequests
    setup: SetupRules
    commands: CommandRules
    gateway: ModelGateway
    egress: Egress
    network: NetworkPolicy  # of runs for which nobody has said another


@dataclass(frozen=True, slots=True)
class Ready:
    """What every prompt begins with; what the agent is to know of setup commands that failed; whether the engine may
    read by itself the rule files that the repository carries."""

    rules: str = ""
    failed_setup: str | None = None
    reads_rule_files: bool = True


_STOPPED = {
    StopReason.KILL: Ending(End.KILLED, "The run was killed."),
    StopReason.LEASE_LOST: Ending(End.LOST),
    StopReason.STORE_AWAY: Ending(End.AWAY),
    StopReason.DRAIN: Ending(End.RELEASED),
}


class Execution:
    """One run under one lease."""

    def __init__(self, run: Run, ports: Ports, limits: Limits, hold: Hold, draining: asyncio.Event) -> None:
        self._run = run
        self._ports = ports
        self._hold = hold
        self._store = PatientStore(ports.store, hold)
        self._blobs = PatientBlobs(ports.blobs, hold)
        self._limits = limits
        self._draining = draining
        self._fence = Fence(run.id, run.lease)
        self._redactor = RunRedactor()
        self._workspace: Workspace | None = None
        self._position: int | None = None
        self._are_steps_done = False

    async def run(self) -> End:
        """Returns when the run is over or the claim is given up; nothing of it is left on this machine then."""
        run, ports = self._run, self._ports
        with (
            run_context(run=run.uuid),
            redacting(self._redactor),
            telemetry.continued(run.traceparent, "run", run=str(run.uuid), lease=run.lease, engine=run.engine) as span,
        ):
            log.info("the run is taken up", lease=run.lease, engine=run.engine)
            async with Progress.open(self._store, ports.signals, ports.clock, self._fence, self._redactor) as progress:
                ending = replace(await self._until_over_or_stopped(progress), is_after_steps=self._are_steps_done)
                span.set(end=ending.end.name.lower())
                with run_context(step=self._position):
                    await self._leaving(progress).leave(ending, self._workspace, self._position)
            log.info("the run is left", end=ending.end.name.lower())
            ports.signals.notify(run.id)
            return ending.end

    def _leaving(self, progress: Progress) -> Leaving:
        ports = self._ports
        return Leaving(self._run, self._store, self._blobs, progress, ports.queue, ports.clock, self._limits)

    async def _until_over_or_stopped(self, progress: Progress) -> Ending:
        """The work beside its pulse; whichever ends first decides, and the work has stopped before this returns."""
        work = asyncio.create_task(self._work(progress), name=f"run {self._run.id}")
        ports = self._ports
        pulse = asyncio.create_task(
            watch(ports.store, ports.controls, ports.clock, self._fence, self._limits, self._hold, self._draining)
        )
        try:
            await asyncio.wait({work, pulse}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return _ending_of(work)
            reason = _reason_of(pulse)
            log.info("stopping the run", reason=reason.name.lower())
            work.cancel()
            await asyncio.wait({work})
            return _STOPPED[reason]
        finally:
            for task in (work, pulse):
                task.cancel()
            await asyncio.gather(work, pulse, return_exceptions=True)

    async def _work(self, progress: Progress) -> None:
        run, ports = self._run, self._ports
        secrets = RunSecrets(run, self._store, ports.vault, ports.clock, ports.engines, ports.defaults, self._redactor)
        await secrets.engine()  # a run without a key fails before anything is cloned
        repository = await self._repository()
        account = RunAccount(run.engine, secrets, progress, RunBudget(run, self._store, ports.clock))
        await account.permit()
        workspace = await self._prepare(progress, secrets)
        guard = CommitGuard(workspace, progress, self._redactor, is_on=_scans_secrets(repository))
        async with doors.opened(
            run.engine,
            effective(run, repository, ports.network),
            account=account,
            gateway=ports.gateway,
            egress=ports.egress,
            sandbox=ports.sandbox,
            progress=progress,
        ) as opened:
            await self._do_steps(progress, workspace, secrets, repository, account, opened, guard)
        await answers.store_setup_commands(self._store, progress, run)
        await publishing.open_pull_request(run, ports.pull_requests, progress, self._hold, clean=guard.clean)

    async def _do_steps(
        self,
        progress: Progress,
        workspace: Workspace,
        secrets: RunSecrets,
        repository: Repository | None,
        account: RunAccount,
        opened: doors.Doors,
        guard: CommitGuard,
    ) -> None:
        run, ports = self._run, self._ports
        engine = (await secrets.engine()).engine
        names = await attachments.mount(self._store, self._blobs, run, workspace.box.files)
        missing = await self._accept_pushed(progress, workspace)
        if is_hopeless(run, missing, self._limits.max_lost_workers):
            raise RunError(given_up(run.lost_workers))
        ready = Ready()
        if missing:
            ready = await self._make_ready(progress, workspace, engine, secrets, repository, opened)
        checkpoints = Checkpoints(self._store, self._blobs, progress, run)
        artifacts = Artifacts(self._store, self._blobs, progress, ports.clock, run)
        layout = ports.sandbox.layout(workspace.box)
        resumption = await checkpoints.restore(workspace, layout, engine, missing[0] if missing else None)
        is_unfinished = False
        if missing and resumption.step != missing[0].position:
            is_unfinished = await unfinished.restore(run, missing[0], workspace, self._store, self._blobs, progress)
        steps = StepRunner(
            run,
            workspace,
            sandbox=ports.sandbox,
            phases=PhaseRunner(
                box=workspace.box,
                sandbox=ports.sandbox,
                progress=progress,
                secrets=secrets,
                clock=ports.clock,
                limits=self._limits,
                new_uuid=ports.new_uuid,
                reads_rule_files=ready.reads_rule_files,
                account=account,
                doors=opened,
            ),
            progress=progress,
            secrets=secrets,
            checkpoints=checkpoints,
            artifacts=artifacts,
            briefing=prompts.Briefing(
                lead=prompts.lead(run, layout, [names[one] for one in run.file_ids if one in names]),
                rules=ready.rules,
                news=prompts.news(setup=ready.failed_setup, has_unfinished_work=is_unfinished),
                names=names,
            ),
            permit_push=self._permit_push,
            guard=guard,
            validation=Validation(
                workspace,
                asked(run, repository),
                commands=ports.commands,
                sandbox=ports.sandbox,
                progress=progress,
                clock=ports.clock,
                limits=self._limits,
                secrets=secrets,
                doors=opened,
            ),
        )
        if run.lease > 1:
            await self._say_restored(progress, missing, resumption)
        for step in missing:
            self._position = step.position
            with run_context(step=step.position), telemetry.span("step", step=step.position):
                await steps.run(step, resumption)
            resumption = Resumption()
        self._are_steps_done = True
        if not artifacts.is_diff_current and (run.generate_diff or run.lease > 1):
            await artifacts.keep_diff(workspace, None)

    async def _make_ready(
        self,
        progress: Progress,
        workspace: Workspace,
        engine: Engine,
        secrets: RunSecrets,
        repository: Repository | None,
        opened: doors.Doors,
    ) -> "Ready":
        run, ports = self._run, self._ports
        organization = await self._store.organization(run.organization_id)
        text = await rules.collect(self._store, run, repository, workspace.box.work_tree, engine.name)
        if repository is None:
            return Ready(text, None, organization.is_rules_detection_enabled)
        setup = SetupRunner(
            run,
            repository,
            store=self._store,
            blobs=self._blobs,
            progress=progress,
            sandbox=ports.sandbox,
            clock=ports.clock,
            limits=self._limits,
            rules=ports.setup,
            vault=ports.vault,
            secrets=secrets,
            doors=opened,
        )
        return Ready(text, await setup.run(workspace), organization.is_rules_detection_enabled)

    async def _repository(self) -> Repository | None:
        """As it is registered; None for a run without, and for one that is registered no more."""
        if self._run.repository_id is None:
            return None
        try:
            return await self._store.repository(self._run.organization_id, self._run.repository_id)
        except NotFound:
            return None

    async def _prepare(self, progress: Progress, secrets: RunSecrets) -> Workspace:
        run = self._run
        started = self._ports.clock.now()
        name, email = self._ports.author
        request = WorkspaceRequest(
            run_uuid=run.uuid,
            organization_uuid=run.organization_uuid,
            git_url=run.git_url,
            branch_source=run.branch_source,
            branch_work=run.branch_work,
            author_name=name,
            author_email=email,
        )
        with telemetry.timed(telemetry.PREPARE_SECONDS, "prepare workspace") as span:
            self._workspace = workspace = await self._ports.workspaces.prepare(request, secrets.git)
            prepared = workspace.prepared
            span.set(start="warm" if prepared.is_warm else "cold")
        elapsed = (self._ports.clock.now() - started).total_seconds()
        await progress.note(
            Draft(
                EventType.WORKSPACE_PREPARED,
                {
                    "sourceSha": prepared.source_sha,
                    "workSha": prepared.work_sha,
                    "isNewBranch": prepared.is_new_branch,
                    "isWarm": prepared.is_warm,
                    "durationMs": round(elapsed * 1000),
                },
            )
        )
        return workspace

    async def _accept_pushed(self, progress: Progress, workspace: Workspace) -> Sequence[Step]:
        """Marks the steps whose commits are on the work branch; those that are still to do."""
        missing = []
        for step in self._run.steps_to_do:
            sha = workspace.prepared.trailers.get(step.id)
            if sha is None:
                missing.append(step)
                continue
            kept = await self._store.checkpoint(self._run.id)
            is_of_step = kept is not None and kept.step == step.position
            if step.status is StepStatus.NOT_STARTED:
                await progress.record(step=StepUpdate(step.position, status=StepStatus.RUNNING))
            output = kept.output if kept is not None and is_of_step else None
            await progress.record(
                succeeded(step, output),
                step=StepUpdate(
                    step.position,
                    status=StepStatus.SUCCESS,
                    commit_sha=sha,
                    output=output,
                    structured_output=kept.structured_output if kept is not None and is_of_step else None,
                ),
            )
        return missing

    async def _say_restored(self, progress: Progress, missing: Sequence[Step], resumption: Resumption) -> None:
        waiting = {step.position for step in missing}
        pushed = {step.position for step in self._run.steps_to_do} - waiting
        done = [
            step.position for step in self._run.steps if step.status is StepStatus.SUCCESS or step.position in pushed
        ]
        phase = resumption.done[-1] if resumption.done else None
        data = {"steps": done, "phase": phase, "isConversationKept": resumption.session is not None}
        await progress.note(Draft(EventType.WORKSPACE_RESTORED, data))

    async def _permit_push(self) -> None:
        """A worker that lost its lease pushes nothing: asked at the last moment before a push. A process that was
        stopped just after the answer finds that the answer is too old."""
        asked = now_on_this_machine()
        await self._store.ping(self._fence, self._ports.clock.now())
        self._hold.renew(asked)
        if self._hold.remaining <= 0:
            raise LeaseLost(f"Lease {self._fence.lease} on run {self._fence.run_id} may have run out.")


def is_hopeless(run: Run, missing: Sequence[Step], max_lost_workers: int) -> bool:
    """Whether a run that lost its workers is given up. That is judged by one more worker, which has looked at the work
    branch: what the lost ones pushed counts, and of a run whose steps are all done only the end is made up for."""
    return bool(missing) and len(missing) == len(run.steps_to_do) and run.lost_workers >= max_lost_workers


def _scans_secrets(repository: Repository | None) -> bool:
    return repository is None or repository.scans_secrets


def _reason_of(pulse: "asyncio.Task[StopReason]") -> StopReason:
    error = pulse.exception()
    if error is None:
        return pulse.result()
    log.error("the pulse broke off; the run is left to another worker", exc_info=error)
    return StopReason.LEASE_LOST


def _ending_of(work: "asyncio.Task[None]") -> Ending:
    error = None if work.cancelled() else work.exception()
    match error:
        case None:
            return Ending(End.SUCCESS) if not work.cancelled() else Ending(End.RELEASED)
        case LeaseLost():
            return Ending(End.LOST)
        case ConfigurationError() | SealKeyMissing():  # away for now, or the operator's to mend: not the run's fault
            log.warning("the run cannot go on for now", error=error.message)
            return Ending(End.AWAY)
        case TreadleError():
            return Ending(End.FAILED, error.sentence())
        case OSError(errno=errno.ENOSPC):
            log.warning("the disk is full", error=str(error))
            return Ending(End.FAILED, "The disk of the worker is full. Free some space there, or give it a larger one.")
        case _:
            log.error("the run hit a fault of Treadle's own", exc_info=error)
            return Ending(
                End.FAILED,
                f"Treadle itself failed ({type(error).__name__}: {error}). The worker's log has the details.",
            )
