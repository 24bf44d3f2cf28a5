"""Runs: created, looked at, followed, given other credentials, killed."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID, uuid5

from treadle import telemetry
from treadle.domain.credentials import ClaudeSource, EngineCredential, GitCredentials
from treadle.domain.errors import AlreadyFinished, InvalidInput, NotFound
from treadle.domain.events import Draft, Event, EventType
from treadle.domain.identity import Principal
from treadle.domain.network import NetworkPolicy
from treadle.domain.repository import Repository
from treadle.domain.run import Artifact, EngineName, FollowUp, Run, RunDraft
from treadle.domain.states import RUN_ALIVE, RunStatus
from treadle.ports import Blobs, Clock, Idempotency, Queue, RunFilter, Signals, Store, Vault
from treadle.ports.trace import FoundEvents, Mark
from treadle.services.audit import Audit, change_of
from treadle.services.audit_actions import Action
from treadle.services.budgets import Budgets
from treadle.services.content import Content
from treadle.services.credentials import CLAUDE, SECRETS_TABLE, encode, git_secrets, row
from treadle.services.policies import check_network, check_validation
from treadle.services.repositories import Repositories

#: An Idempotency-Key is remembered for this long.
IDEMPOTENCY_SPAN = timedelta(hours=24)

#: Steps that a run may have in all, with those that resumes added.
MAX_STEPS = 200

#: How many runs are read from the store at a time.
PAGE = 1000

#: How many events; each may be 64 KiB and more.
EVENTS_PAGE = 200


_PRUNED = "What ended runs left may be removed after a while."


class DiffForm(StrEnum):
    """The two forms of a run's diff; the values are the names of its artifacts."""

    STRUCTURED = "diff.json"
    PATCH = "diff.patch"


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run as a dialect read it, checked except for what needs the store. `claude` None: the system's key pays."""

    draft: RunDraft
    git: GitCredentials = field(default_factory=GitCredentials)
    claude: EngineCredential | None = None


@dataclass(frozen=True, slots=True)
class Repeatable:
    """A client's Idempotency-Key, and a hash of what it asked for."""

    key: str
    digest: str


class Runs:
    """The use cases around runs. A run that is not the caller's to see is NotFound, like one that does not exist."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        queue: Queue,
        signals: Signals,
        blobs: Blobs,
        repositories: Repositories,
        budgets: Budgets,
        clock: Clock,
        *,
        audit: Audit,
        network: NetworkPolicy,
        controls: Signals,
        new_uuid: Callable[[], UUID],
        poll_seconds: float,
    ) -> None:
        """`signals` wakes those who follow a run's events, `controls` the worker that holds the run. `network`: of runs
        where neither they nor their repository say."""
        self._store = store
        self._vault = vault
        self._queue = queue
        self._signals = signals
        self._controls = controls
        self._blobs = blobs
        self._repositories = repositories
        self._budgets = budgets
        self._audit = audit
        self._network = network
        self._clock = clock
        self._new_uuid = new_uuid
        self._poll_seconds = poll_seconds

    async def create(
        self,
        principal: Principal,
        request: RunRequest,
        repeatable: Repeatable | None = None,
        *,
        monthly_runs: int | None = None,
        uuid: UUID | None = None,
        steps_of: UUID | None = None,
    ) -> Run:
        """The new run, or the one that the same Idempotency-Key made. `monthly_runs`: how many the organization may
        make in a month; None: not counted. `uuid`: of whoever may have to ask again and wants one run: the one that has
        it already is the answer then. `steps_of`: what the steps belong to that several runs may attempt, one after
        another; a step whose commit an earlier one pushed is not done again.

        Raises InvalidInput for unknown files (path `file_ids[n]`), a budget (`max_cost_usd`) or a network policy
        (`network`) that cannot be, Forbidden for those that are not the caller's to ask for, IdempotencyMismatch,
        AllowanceUsedUp.
        """
        if uuid is not None:
            with suppress(NotFound):  # asked for again: what would be refused by now is there already
                return await self._store.get_run(uuid, RunFilter(principal.organization_id))
        if (earlier := await self.started_with(principal, repeatable)) is not None:
            return earlier
        unknown = await self.unknown_files(principal, request.draft.file_ids)
        if unknown:
            raise InvalidInput(unknown_file_faults(request.draft.file_ids, unknown))
        request, repository = await self._with_registered(principal, request)
        asks_model = request.claude is None or not request.claude.is_dummy
        check_network(principal, request.draft, repository, self._network, asks_model=asks_model)
        check_validation(principal, request.draft, repository)
        budget, monthly_cost = await self._budgets.of_new_run(principal, request.draft.max_cost_usd)
        request = replace(request, draft=replace(request.draft, max_cost_usd=budget))
        uuid, now = uuid or self._new_uuid(), self._clock.now()
        with telemetry.span("create run"):
            run, is_new = await self._store.create_run(
                request.draft,
                principal,
                uuid=uuid,
                step_ids=[
                    self._new_uuid() if steps_of is None else uuid5(steps_of, f"{position}")
                    for position, _ in enumerate(request.draft.steps, 1)
                ],
                secrets=self._seal(_secrets(request), principal.organization_uuid, uuid),
                now=now,
                idempotency=_idempotency(repeatable, now),
                traceparent=telemetry.traceparent(),
                monthly_runs=monthly_runs,
                monthly_cost_usd=monthly_cost,
                audit=self._audit.entry(
                    Action.RUN_CREATED,
                    principal=principal,
                    detail={"repository": request.draft.git_url, "engine": request.draft.engine},
                ),
            )
            if is_new:
                await self._queue.announce(run.id)
        return run

    async def resume(
        self,
        run: Run,
        follow_up: FollowUp,
        *,
        git: GitCredentials | None = None,
        max_cost_usd: float | None = None,
        principal: Principal | None = None,
        step_id: UUID | None = None,
        repeatable: Repeatable | None = None,
    ) -> Run:
        """Another step for a run that the caller was already let see: in the same conversation, on the same branch. One
        that has ended begins anew, with `git`, else the credentials of its repository, and the system's key for the
        engine; one that has not does it behind the steps that it has. `max_cost_usd`: a budget in the place of the
        run's, for all that it has cost and will; `principal`: who asks for that, None: the service itself. `step_id`:
        of whoever may have to ask again and wants one step; `repeatable`: of a `principal` who may ask again, whose
        repeat adds none.

        Raises Conflict for one that is being killed, has MAX_STEPS steps or has used up its budget, MonthUsedUp,
        InvalidInput and Forbidden for the new budget, NotFound for a file that is gone, IdempotencyMismatch.
        """
        if step_id is not None and any(step.id == step_id for step in run.steps):
            return run
        if principal is not None and (earlier := await self.resumed_with(principal, run, repeatable)) is not None:
            return earlier
        await self._budgets.of_resume(principal, run, max_cost_usd)
        if git is None:  # for one that is alive too: it may end before the store looks
            git = await self._registered_credentials(run)
        clear, step_id, now = git_secrets(git), step_id or self._new_uuid(), self._clock.now()
        with telemetry.span("resume run"):
            resumed = await self._store.resume_run(
                run.id,
                follow_up,
                step_id=step_id,
                secrets=self._seal(clear, run.organization_uuid, run.uuid),
                now=now,
                most_steps=MAX_STEPS,
                max_cost_usd=max_cost_usd,
                asked_by=principal,
                idempotency=_resume_once(repeatable, now),
            )
            if all(step.id != step_id for step in resumed.steps):
                return resumed  # a repeat
            if resumed.status is RunStatus.NEW:
                await self._queue.announce(run.id)
        self._signals.notify(run.id)
        await self._note(Action.RUN_RESUMED, run)
        return resumed

    async def started_with(self, principal: Principal, repeatable: Repeatable | None) -> Run | None:
        """What the same Idempotency-Key started before. To be asked before all that may have changed since. Raises
        IdempotencyMismatch."""
        use = _idempotency(repeatable, self._clock.now())
        uuid = await self._store.key_use(principal, use) if use is not None else None
        return await self._store.get_run(uuid, RunFilter(principal.organization_id)) if uuid is not None else None

    async def resumed_with(self, principal: Principal, run: Run, repeatable: Repeatable | None) -> Run | None:
        """The run as it is, where the same Idempotency-Key resumed it before. As `started_with`."""
        use = _resume_once(repeatable, self._clock.now())
        if use is None or await self._store.key_use(principal, use) is None:
            return None
        return await self._store.get_run_by_id(run.id)

    async def unknown_files(self, principal: Principal, file_ids: Sequence[UUID]) -> frozenset[UUID]:
        """Those of `file_ids` that the caller has no such file for."""
        if not file_ids:
            return frozenset()
        seen_by = _seen_by(principal)
        known = await self._store.known_files(file_ids, seen_by.organization_id, seen_by.user_id)
        return frozenset(file_ids) - known

    async def get(self, principal: Principal, uuid: UUID) -> Run:
        return await self._store.get_run(uuid, _seen_by(principal))

    async def seen(self, run_id: int, seen_by: RunFilter) -> Run:
        """By its integer id. Raises NotFound for one that is unknown or out of `seen_by`."""
        return await self._store.get_run_seen(run_id, seen_by)

    async def page(self, which: RunFilter, *, limit: int, skip: int = 0) -> tuple[Sequence[Run], int]:
        """Newest first, with the steps' outputs; and how many there are in all."""
        found = await self._store.list_runs(which, limit=limit, skip=skip, with_outputs=True)
        return found, await self._store.count_runs(which)

    async def log(self, run: Run, *, limit: int, skip: int = 0, reverse: bool = False) -> tuple[Sequence[Event], int]:
        """A page of the log of a run that the caller was already let see, as the store's `log` has it."""
        return await self._store.log(run.id, limit=limit, skip=skip, reverse=reverse)

    async def list(
        self, principal: Principal, *, statuses: frozenset[RunStatus] | None = None, limit: int = PAGE, skip: int = 0
    ) -> Sequence[Run]:
        """Newest first, without the steps' outputs."""
        return await self._store.list_runs(_seen_by(principal, statuses), limit=limit, skip=skip)

    async def alive(self, principal: Principal) -> Sequence[Run]:
        """Every one that is New or Running, newest first."""
        which, found = _seen_by(principal, RUN_ALIVE), list[Run]()
        while True:
            page = await self._store.list_runs(which, limit=PAGE, before=found[-1].id if found else None)
            found += page
            if len(page) < PAGE:
                return found

    async def update_git_credentials(self, principal: Principal, uuid: UUID, git: GitCredentials) -> None:
        """Replaces both kinds: the run's next Git command uses `git`. Raises AlreadyFinished."""
        await self._update(principal, uuid, git_secrets(git), "git")

    async def update_claude_authentication(
        self, principal: Principal, uuid: UUID, claude: EngineCredential | None
    ) -> None:
        """The run's next engine call uses `claude`; None: the system's key. Raises AlreadyFinished and InvalidInput."""
        run = await self.get(principal, uuid)
        if claude is not None and (fault := engine_fault(run.engine, claude.source)):
            raise InvalidInput({"claude_authentication": [fault]})
        await self._update(principal, uuid, {CLAUDE: _claude_secret(claude)}, "claude")

    async def kill(self, principal: Principal, uuid: UUID) -> None:
        """A New run is Killed at once, a Running one by its worker in seconds; twice is harmless. Raises
        AlreadyFinished."""
        await self.kill_seen(await self.get(principal, uuid))

    async def kill_seen(self, run: Run) -> None:
        """The same for a run that the caller was already let see."""
        await self._store.request_kill(run.id, self._clock.now())
        self._notify(run.id)
        await self._note(Action.RUN_KILLED, run)

    async def events(self, principal: Principal, uuid: UUID, *, after: int = 0, limit: int) -> Sequence[Event]:
        """A page of the run's events, those numbered above `after`."""
        run = await self.get(principal, uuid)
        return await self._store.events(run.id, after=after, limit=limit)

    async def events_of(self, run_id: int, *, after: int, limit: int) -> Sequence[Event]:
        """The same for a run that the caller was already let see."""
        return await self._store.events(run_id, after=after, limit=limit)

    async def outline(self, run: Run) -> Sequence[Mark]:
        """Where steps and phases of a run that the caller was already let see began and ended."""
        return await self._store.outline(run.id)

    async def find_events(self, run: Run, text: str, *, before: int, limit: int) -> FoundEvents:
        """As the store's, of a run that the caller was already let see."""
        return await self._store.find_events(run.id, text, before=before, limit=limit)

    async def follow(self, run: Run, *, after: int = 0) -> AsyncIterator[Sequence[Event]]:
        """The run's events from `after` on, in pages as they happen; ends after the `run.finished` that is the newest.

        Signals wake it; where one is lost, or the writer is another process, it looks every `poll_seconds`.
        """
        is_over = run.is_finished and after >= run.last_event
        async with self._signals.subscribe(run.id) as subscription:
            while True:
                page = await self._store.events(run.id, after=after, limit=EVENTS_PAGE)
                if page:
                    after, is_over = page[-1].number, page[-1].type is EventType.RUN_FINISHED
                    yield page
                if is_over and len(page) < EVENTS_PAGE:
                    return
                if not page:
                    await subscription.wait(self._poll_seconds)

    async def diff(self, principal: Principal, uuid: UUID, form: DiffForm) -> tuple[Run, Content | None]:
        """The run, and its newest diff; None while there is none."""
        run = await self.get(principal, uuid)
        return run, await self.diff_of(run, form)

    async def diff_of(self, run: Run, form: DiffForm = DiffForm.STRUCTURED) -> Content | None:
        """The newest diff of a run that the caller was already let see."""
        return await self._content(run, form) if run.has_diff else None

    async def set_slots(self, organization_id: int, slots: int | None) -> None:
        """How many runs of the organization may be Running at once; None: as many as the service's setting says.
        Raises NotFound."""
        known = await self._store.organization(organization_id)
        await self._store.set_slots(organization_id, slots)
        await self._audit.note(
            Action.ORGANIZATION_CHANGED,
            target=organization_id,
            detail=change_of(known, replace(known, slots=slots), told={"slots"}),
            organization_id=organization_id,
        )

    async def artifacts(self, principal: Principal, uuid: UUID) -> Sequence[Artifact]:
        """What the run has left so far, by name: its diff, the uncommitted work of a step that failed."""
        return await self.artifacts_of(await self.get(principal, uuid))

    async def artifacts_of(self, run: Run) -> Sequence[Artifact]:
        """The same for a run that the caller was already let see."""
        return await self._store.artifacts(run.id)

    def content_of(self, artifact: Artifact) -> Content:
        """The bytes of one of those."""
        return Content(artifact.blob, artifact.size, artifact.content_type, self._blobs)

    async def artifact(self, principal: Principal, uuid: UUID, name: str) -> Content:
        """Raises NotFound."""
        run = await self.get(principal, uuid)
        content = await self._content(run, name)
        if content is None:
            raise NotFound("There is no such artifact.", hint=_PRUNED if run.is_finished else None)
        return content

    async def _content(self, run: Run, name: str) -> Content | None:
        for artifact in await self._store.artifacts(run.id):
            if artifact.name == name:
                return self.content_of(artifact)
        return None

    async def _with_registered(self, principal: Principal, request: RunRequest) -> tuple[RunRequest, Repository | None]:
        """With the repository that is registered for the address, and its credentials where the caller gave none."""
        chosen = request.draft.repository_id
        if chosen is not None:
            repository: Repository | None = await self._repositories.get(principal, chosen)
        else:
            repository = await self._repositories.find(principal.organization_id, request.draft.git_url)
        if repository is None:
            return request, None
        git = request.git
        if git.http is None and git.ssh_key is None:
            git = await self._repositories.credentials(repository, principal.organization_uuid)
        return replace(request, draft=replace(request.draft, repository_id=repository.id), git=git), repository

    async def _registered_credentials(self, run: Run) -> GitCredentials:
        repository = await self._repositories.of_run(run.organization_id, run.repository_id, run.git_url)
        if repository is None:
            return GitCredentials()
        return await self._repositories.credentials(repository, run.organization_uuid)

    async def _update(self, principal: Principal, uuid: UUID, clear: Mapping[str, str | None], kind: str) -> None:
        run = await self.get(principal, uuid)
        if run.is_finished:
            raise AlreadyFinished(f"The run has ended as {run.status}; its credentials are erased.")
        sealed = self._seal(clear, run.organization_uuid, run.uuid)
        event = Draft(EventType.RUN_CREDENTIALS_UPDATED, {"kind": kind})
        await self._store.put_run_secrets(run.id, {**dict.fromkeys(clear), **sealed}, event, self._clock.now())
        self._notify(run.id)
        await self._note(Action.RUN_CREDENTIALS_CHANGED, run, kind=kind)

    async def _note(self, action: Action, run: Run, **detail: str) -> None:
        await self._audit.note(action, target=run.id, detail=detail, organization_id=run.organization_id)

    def _notify(self, run_id: int) -> None:
        self._controls.notify(run_id)
        self._signals.notify(run_id)

    def _seal(self, clear: Mapping[str, str | None], organization: UUID, uuid: UUID) -> Mapping[str, str]:
        return {
            name: self._vault.seal(text, organization=organization, table=SECRETS_TABLE, row=row(uuid, name))
            for name, text in clear.items()
            if text is not None
        }


def engine_fault(engine: EngineName, source: ClaudeSource) -> str | None:
    """Why `engine` cannot work with a credential from there; None when it can."""
    if engine is EngineName.KIMI and source is ClaudeSource.CLIENT_LICENSE:
        return "A Claude license does not work with the engine Kimi; give a ClientApiKey of Kimi's, or nothing."
    return None


def is_seen(run: Run, principal: Principal) -> bool:
    """Whether it is the caller's to see, in the code-generation dialect."""
    seen_by = _seen_by(principal)
    return run.organization_id == seen_by.organization_id and seen_by.user_id in {None, run.user_id}


def unknown_file_faults(file_ids: Sequence[UUID], unknown: frozenset[UUID]) -> Mapping[str, Sequence[str]]:
    """One fault for each place where an unknown file is named."""
    return {
        f"file_ids[{at}]": ["Is not the id of a file of yours."] for at, id_ in enumerate(file_ids) if id_ in unknown
    }


def _resume_once(repeatable: Repeatable | None, now: datetime) -> Idempotency | None:
    """Under a name of its own: a start may have had the same key."""
    if repeatable is None:
        return None
    return Idempotency(f"resume {repeatable.key}", repeatable.digest, now - IDEMPOTENCY_SPAN)


def _idempotency(repeatable: Repeatable | None, now: datetime) -> Idempotency | None:
    return Idempotency(repeatable.key, repeatable.digest, now - IDEMPOTENCY_SPAN) if repeatable is not None else None


def _seen_by(principal: Principal, statuses: frozenset[RunStatus] | None = None) -> RunFilter:
    user_id = None if principal.sees_whole_organization else principal.user_id
    return RunFilter(principal.organization_id, user_id, statuses)


def _secrets(request: RunRequest) -> Mapping[str, str | None]:
    return {**git_secrets(request.git), CLAUDE: _claude_secret(request.claude)}


def _claude_secret(claude: EngineCredential | None) -> str | None:
    return encode(claude) if claude is not None and claude.source is not ClaudeSource.DEFAULT else None
