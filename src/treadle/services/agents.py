"""Agent runs: a prompt on a registered repository, gone on with by more prompts. They are runs like all others."""

import asyncio
import re
import unicodedata
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from treadle.domain.errors import AlreadyFinished, Conflict, InvalidInput, NotFound
from treadle.domain.events import JsonObject
from treadle.domain.identity import Organization, Principal
from treadle.domain.network import NetworkPolicy
from treadle.domain.permissions import Permission, may, require
from treadle.domain.run import EngineName, FollowUp, Run, RunDraft, RunPurpose, RunSource, StepDraft
from treadle.domain.secret_formats import LONGEST
from treadle.domain.validation import ValidationRules
from treadle.ports import Clock, RunFilter
from treadle.ports.directory import PullRequestStore
from treadle.redaction import without_known
from treadle.services.agent_log import LogEntry, entry_of
from treadle.services.audit import Audit
from treadle.services.audit_actions import Action
from treadle.services.files import Files
from treadle.services.images import read_images
from treadle.services.organizations import Organizations
from treadle.services.repositories import Repositories
from treadle.services.runs import Repeatable, RunRequest, Runs

#: Longest part of a work branch's name that comes from the prompt, in characters.
MAX_BRANCH_WORDS = 40

MAX_MODEL_NAME = 200
_NO_WORDS = "run"
_MODEL = re.compile(r"[A-Za-z0-9][\w.:/@\[\]-]*", re.ASCII)

#: How a model's name says which engine it is for.
_ENGINES = (
    (EngineName.KIMI, ("kimi", "moonshot")),
    (EngineName.CLAUDE, ("claude", "sonnet", "opus", "haiku")),
)
_DUMMY_MODEL = "dummy"


class AgentType(StrEnum):
    """What a client may ask for; both are Claude here."""

    CODEGEN = "codegen"
    CLAUDE_CODE = "claude_code"


@dataclass(frozen=True, slots=True)
class AgentRequest:
    """What somebody asks for. `images` are data URIs; `repository_id` None: the organization's default or only one."""

    prompt: str
    images: Sequence[str] = ()
    metadata: JsonObject | None = None
    repository_id: int | None = None
    model: str | None = None
    agent_type: AgentType | None = None
    max_cost_usd: float | None = None
    network: NetworkPolicy | None = None
    validation: ValidationRules | None = None


class Agents:
    """The use cases around agent runs. One that is not the caller's to see is NotFound, like one that does not
    exist."""

    def __init__(
        self,
        runs: Runs,
        files: Files,
        organizations: Organizations,
        repositories: Repositories,
        pull_requests: PullRequestStore,
        clock: Clock,
        *,
        audit: Audit,
    ) -> None:
        self._runs = runs
        self._files = files
        self._organizations = organizations
        self._repositories = repositories
        self._pull_requests = pull_requests
        self._audit = audit
        self._clock = clock

    async def create(self, principal: Principal, request: AgentRequest, repeatable: Repeatable | None = None) -> Run:
        """The new run, or the one that the same Idempotency-Key made.

        Raises InvalidInput naming every fault, NotFound for a repository, AllowanceUsedUp, IdempotencyMismatch,
        Forbidden.
        """
        require(principal, Permission.RUN)
        if (earlier := await self._runs.started_with(principal, repeatable)) is not None:
            return earlier
        if faults := _prompt_faults(request.prompt) | model_faults(request.model):
            raise InvalidInput(faults)
        organization = await self._organizations.get(principal.organization_id)
        repository = await self._repositories.chosen(principal, request.repository_id)
        engine, model = chosen_engine(organization, request.model, request.agent_type)
        file_ids = await self._keep(principal, request.images)
        draft = RunDraft(
            git_url=repository.url,
            branch_source=repository.default_branch,
            branch_work="",  # the store names it, by the run's id and these words
            branch_words=branch_words(request.prompt),
            steps=(StepDraft(request.prompt),),
            file_ids=file_ids,
            generate_diff=True,
            engine=engine,
            model=model,
            repository_id=repository.id,
            source=RunSource.API,
            metadata=request.metadata,
            opens_pull_request=True,
            max_cost_usd=request.max_cost_usd,
            network=request.network,
            validation=request.validation,
        )
        git = await self._repositories.credentials(repository, principal.organization_uuid)
        run: Run | None = None
        try:
            run = await self._runs.create(
                principal, RunRequest(draft, git), repeatable, monthly_runs=organization.monthly_runs
            )
        finally:
            if run is None or run.file_ids != file_ids:  # refused, or made earlier with files of its own
                await self._drop(principal, file_ids)
        return run

    async def get(self, principal: Principal, run_id: int) -> Run:
        """Raises NotFound, Forbidden."""
        require(principal, Permission.RUN)
        try:
            return await self._runs.seen(run_id, _seen_by(principal))
        except NotFound:
            raise NotFound("Agent run not found.") from None

    async def page(
        self,
        principal: Principal,
        *,
        user_id: int | None = None,
        source: RunSource | None = None,
        limit: int,
        skip: int = 0,
    ) -> tuple[Sequence[Run], int]:
        """Newest first, and how many there are in all. `user_id`: only that user's. Raises Forbidden."""
        require(principal, Permission.RUN)
        which = _seen_by(principal, source)
        if user_id is not None:
            if which.user_id not in {None, user_id}:
                return (), 0
            which = RunFilter(principal.organization_id, user_id, source=source)
        return await self._runs.page(which, limit=limit, skip=skip)

    async def resume(
        self,
        principal: Principal,
        run_id: int,
        prompt: str,
        images: Sequence[str] = (),
        *,
        max_cost_usd: float | None = None,
        repeatable: Repeatable | None = None,
    ) -> Run:
        """One more prompt, on the same branch and in the same conversation; behind the step that is running. The same
        Idempotency-Key adds no second one. `max_cost_usd`: a budget in the place of the run's, for all that it has cost
        and will.

        Raises InvalidInput naming every fault, NotFound, Conflict for a run that is being killed or has used up its
        budget, MonthUsedUp, Forbidden, IdempotencyMismatch.
        """
        run = await self.get(principal, run_id)
        if (earlier := await self._runs.resumed_with(principal, run, repeatable)) is not None:
            return earlier
        if faults := _prompt_faults(prompt):
            raise InvalidInput(faults)
        file_ids = await self._keep(principal, images)
        # What only gives an answer (setup commands, an analysis) goes on to do so.
        follow_up = FollowUp(prompt, is_commitable=run.purpose is RunPurpose.CODE, file_ids=file_ids)
        is_kept = False
        try:
            resumed = await self._runs.resume(
                run, follow_up, max_cost_usd=max_cost_usd, principal=principal, repeatable=repeatable
            )
            is_kept = any(step.file_ids == file_ids for step in resumed.steps)
        finally:
            if not is_kept:
                await self._drop(principal, file_ids)
        return resumed

    async def stop(self, principal: Principal, run_id: int) -> Run:
        """Flags the run's branch, so that no failed check starts anything on it any more, and kills the runs on it that
        the caller may. Again is harmless. Raises NotFound, Forbidden."""
        run = await self.get(principal, run_id)
        living = await self._pull_requests.ban_branch(
            run.organization_id,
            run.git_url,
            run.branch_work,
            run_id=run.id,
            user_id=principal.user_id,
            now=self._clock.now(),
        )
        await self._note(Action.BRANCH_BANNED, principal, run)
        for each in living:
            with suppress(NotFound, AlreadyFinished):  # somebody else's, or it has just ended
                await self._runs.kill_seen(await self.get(principal, each))
        return run

    async def allow(self, principal: Principal, run_id: int) -> Run:
        """Takes the flag away. Raises NotFound, Forbidden."""
        run = await self.get(principal, run_id)
        await self._pull_requests.unban_branch(run.organization_id, run.git_url, run.branch_work)
        await self._note(Action.BRANCH_UNBANNED, principal, run)
        return run

    async def _note(self, action: Action, principal: Principal, run: Run) -> None:
        detail: JsonObject = {"run": run.id, "repository": run.git_url}
        await self._audit.note(action, principal=principal, target=run.branch_work, detail=detail)

    async def is_flagged(self, run: Run) -> bool:
        """Whether somebody flagged the branch of a run that the caller was already let see."""
        return await self._pull_requests.is_banned(run.organization_id, run.git_url, run.branch_work)

    async def log(
        self, principal: Principal, run_id: int, *, limit: int, skip: int = 0, reverse: bool = False
    ) -> tuple[Run, Sequence[LogEntry], int]:
        """The run, a page of its log, oldest first unless `reverse`, and how many entries there are in all. Raises
        NotFound, Forbidden."""
        run = await self.get(principal, run_id)
        events, total = await self._runs.log(run, limit=limit, skip=skip, reverse=reverse)
        return run, [entry_of(event) for event in events], total

    async def _keep(self, principal: Principal, uris: Sequence[str]) -> tuple[UUID, ...]:
        """The images as files. Raises InvalidInput."""
        if not uris:
            return ()
        images = await asyncio.to_thread(read_images, uris, max_bytes=self._files.max_bytes)
        kept = list[UUID]()
        try:
            for image in images:
                kept.append((await self._files.upload(principal, image.name, image.content_type, _once(image.data))).id)
        except BaseException:
            await self._drop(principal, kept)
            raise
        return tuple(kept)

    async def _drop(self, principal: Principal, file_ids: Sequence[UUID]) -> None:
        for file_id in file_ids:
            with suppress(NotFound, Conflict):
                await self._files.delete(principal, file_id)


def branch_words(prompt: str) -> str:
    """The first words of a prompt, for the name of a branch: `add-tests-for-the-user-service`. Keys of well-known
    formats are no words: branches are pushed."""
    told = without_known(prompt[: 1000 + LONGEST])[:1000]  # half a key is not known for one
    plain = unicodedata.normalize("NFKD", told).encode("ascii", "ignore").decode().lower()
    words = ""
    for word in re.findall(r"[a-z0-9]+", plain):
        longer = f"{words}-{word}" if words else word[:MAX_BRANCH_WORDS]
        if len(longer) > MAX_BRANCH_WORDS:
            break
        words = longer
    return words or _NO_WORDS


def chosen_engine(
    organization: Organization, model: str | None, agent_type: AgentType | None
) -> tuple[EngineName, str | None]:
    """The engine, and its model (None: the service's setting says). A model says which engine it is for, else the agent
    type does, else the organization; whose own model counts where it is for the chosen engine."""
    model = model.strip() or None if model is not None else None
    engine = (
        _engine_of(model)
        or (EngineName.CLAUDE if agent_type is not None else None)
        or organization.default_engine
        or _engine_of(organization.default_model)
        or EngineName.CLAUDE
    )
    if model is None and _engine_of(organization.default_model) in {None, engine}:
        model = organization.default_model
    return engine, None if engine is EngineName.DUMMY else model


def _engine_of(model: str | None) -> EngineName | None:
    name = (model or "").lower()
    if name == _DUMMY_MODEL:
        return EngineName.DUMMY
    return next((engine for engine, beginnings in _ENGINES if name.startswith(beginnings)), None)


def _seen_by(principal: Principal, source: RunSource | None = None) -> RunFilter:
    user_id = None if may(principal, Permission.RUNS_OF_OTHERS) else principal.user_id
    return RunFilter(principal.organization_id, user_id, source=source)


def _prompt_faults(prompt: str) -> dict[str, list[str]]:
    return {} if prompt.strip() else {"prompt": ["Must not be blank."]}


def model_faults(model: str | None) -> dict[str, list[str]]:
    name = (model or "").strip()
    if not name or (len(name) <= MAX_MODEL_NAME and _MODEL.fullmatch(name)):
        return {}
    return {"model": [f"Must be the name of a model, at most {MAX_MODEL_NAME} characters."]}


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
