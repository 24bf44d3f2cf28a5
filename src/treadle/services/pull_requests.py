"""Pull requests: opened at the end of a run, listed with it, edited."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol
from uuid import UUID

from treadle.domain.errors import Conflict, NotFound
from treadle.domain.events import Event, EventType
from treadle.domain.git_url import parse
from treadle.domain.identity import Organization, Principal
from treadle.domain.permissions import Permission, may
from treadle.domain.repository import ForgeKind, PullRequest, PullRequestState, Repository
from treadle.domain.run import Run
from treadle.ports import Clock, Fence, RunFilter
from treadle.ports.directory import PullRequestStore
from treadle.ports.forges import Forge, ForgePullRequest, ForgeRepository, PullRequestChange, PullRequestDraft
from treadle.services.audit import Audit
from treadle.services.audit_actions import Action

#: Longest title, in characters.
MAX_TITLE = 72

#: Longest body, in characters; GitHub takes 65,536.
MAX_BODY = 60_000

#: How many entries of a run's log are searched for one that tells of a pull request, and how many at a time.
MAX_SEARCHED = 1_000
_LOG_PAGE = 100

#: Control characters, and those that turn the direction of a text: a title shows what it says.
_HIDDEN = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

#: The folder that a whole forge is in, of the address of its API.
_FOLDER = re.compile(r"\w+://[^/]+/(.+/)api/v\d+/*")


class Store(PullRequestStore, Protocol):
    """Of the store, what is needed here."""

    async def get_run_by_id(self, run_id: int) -> Run: ...
    async def get_run_seen(self, run_id: int, seen_by: RunFilter) -> Run: ...
    async def log(
        self, run_id: int, *, limit: int, skip: int = 0, reverse: bool = False
    ) -> tuple[Sequence[Event], int]: ...
    async def organization(self, organization_id: int) -> Organization: ...
    async def repository(self, organization_id: int, repository_id: int) -> Repository: ...
    async def set_check_names(self, repository_id: int, names: Sequence[str]) -> None: ...


class Tokens(Protocol):
    """Who opens the repositories' tokens."""

    async def forge_token(self, repository: Repository, organization_uuid: UUID) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Opened:
    """`is_new`: the run did not list it before."""

    pull_request: PullRequest
    is_new: bool


class PullRequests:
    """The use cases around pull requests. One whose run is not the caller's to see is NotFound, like one that does not
    exist."""

    def __init__(
        self,
        store: Store,
        tokens: Tokens,
        forges: Mapping[ForgeKind, Forge],
        clock: Clock,
        *,
        audit: Audit,
        public_url: str | None,
    ) -> None:
        self._store = store
        self._audit = audit
        self._tokens = tokens
        self._forges = forges
        self._clock = clock
        self._public_url = public_url.rstrip("/") if public_url else None

    async def of(self, run_ids: Sequence[int]) -> Mapping[int, Sequence[PullRequest]]:
        """By the run's id; runs without any are left out. For runs that the caller was already let see."""
        return await self._store.pull_requests_of(run_ids)

    async def edit(
        self,
        principal: Principal,
        pull_request_id: int,
        change: PullRequestChange,
        *,
        repository_id: int | None = None,
    ) -> PullRequest:
        """As it is afterwards. Raises NotFound, Conflict where there is no forge or no token to it, ForgeError."""
        found = await self._store.pull_request(principal.organization_id, pull_request_id)
        unknown = NotFound(f"There is no pull request {pull_request_id}.")
        if repository_id not in {None, found.repository_id}:
            raise unknown
        user_id = None if may(principal, Permission.RUNS_OF_OTHERS) else principal.user_id
        try:
            await self._store.get_run_seen(found.run_id, RunFilter(principal.organization_id, user_id))
            repository = await self._store.repository(principal.organization_id, found.repository_id)
        except NotFound:
            raise unknown from None
        place = await self._place(repository, principal.organization_uuid)
        if place is None:
            raise Conflict(
                f"There is no access to the forge of the repository {repository.name}.",
                hint="An administrator gives it a forge and a token: `treadle admin repo update`.",
            )
        told = await self._forges[place.access.kind].change_pull_request(place, found.number, change)
        await self._store.update_pull_request(found.id, told.state, told.title, self._clock.now())
        await self._audit.note(
            Action.PULL_REQUEST_CHANGED,
            principal=principal,
            target=found.id,
            detail={"repository": repository.name, "number": found.number, "state": told.state.value},
        )
        return replace(found, state=told.state, title=told.title)

    async def open(self, run_id: int, fence: Fence, *, clean: Callable[[str], str]) -> Opened | None:
        """The pull request of a run that has done its steps, opened or found open; None where there is to be none, or
        nothing for one. Repeating it makes no second one. `clean` takes secrets out of a text.

        One that the run has already is only brought up to date; after it was merged there is another one for what was
        committed since. Raises LeaseLost, ForgeError, SealBroken.
        """
        run = await self._store.get_run_by_id(run_id)
        if (wanted := await self._wanted(run)) is None:
            return None
        repository, place = wanted
        forge = self._forges[place.access.kind]
        known = (await self._store.pull_requests_of([run_id])).get(run_id, ())
        if known:
            last = await self._put(run, repository, fence, await forge.pull_request(place, known[-1].number))
            if last.state is not PullRequestState.MERGED or not _has_committed(run, since=run.first_step):
                return Opened(last, is_new=False)  # who closed it wants no other
        if not _has_committed(run):
            return None
        draft = PullRequestDraft(title_of(run, clean), self._body_of(run, clean), run.branch_work, run.branch_source)
        told = await forge.open_pull_request(place, draft)
        put = await self._put(run, repository, fence, told)
        return Opened(put, is_new=all(put.id != pull.id for pull in known))

    async def is_told(self, run_id: int, pull_request_id: int) -> bool:
        """Whether the run's log says that it was opened; also where the log is too long to be sure."""
        for skip in range(0, MAX_SEARCHED, _LOG_PAGE):
            entries, total = await self._store.log(run_id, limit=_LOG_PAGE, skip=skip, reverse=True)
            for event in entries:
                if event.type is EventType.PULL_REQUEST_OPENED and event.data.get("id") == pull_request_id:
                    return True
            if skip + _LOG_PAGE >= total:
                return False
        return True

    async def check_names(self, repository: Repository) -> Sequence[str]:
        """Of the checks that ran on the default branch lately, kept with the repository; without a forge those that are
        kept already. Raises ForgeError, SealBroken, NotFound."""
        organization = await self._store.organization(repository.organization_id)
        place = await self._place(repository, organization.uuid)
        if place is None:
            return repository.check_names
        names = await self._forges[place.access.kind].check_names(place, repository.default_branch)
        await self._store.set_check_names(repository.id, names)
        return names

    async def _wanted(self, run: Run) -> tuple[Repository, ForgeRepository] | None:
        """Where the pull request is to be; None when there is to be none."""
        if not run.opens_pull_request or run.repository_id is None or run.branch_work == run.branch_source:
            return None
        organization = await self._store.organization(run.organization_id)
        if not organization.is_pr_creation_enabled:
            return None
        try:
            repository = await self._store.repository(run.organization_id, run.repository_id)
        except NotFound:  # removed meanwhile
            return None
        place = await self._place(repository, organization.uuid)
        return (repository, place) if place is not None else None

    async def _place(self, repository: Repository, organization_uuid: UUID) -> ForgeRepository | None:
        """The token is opened here and now. None without a forge, or a token to it."""
        if repository.forge is None:
            return None
        token = await self._tokens.forge_token(repository, organization_uuid)
        return None if not token else ForgeRepository(repository.forge, name_at_forge(repository), token)

    async def _put(self, run: Run, repository: Repository, fence: Fence, told: ForgePullRequest) -> PullRequest:
        pull = PullRequest(
            id=0,  # the store gives it one
            organization_id=run.organization_id,
            repository_id=repository.id,
            run_id=run.id,
            number=told.number,
            title=told.title,
            url=told.url,
            state=told.state,
            head_branch=told.head_branch,
            date_created=told.date_created,
        )
        return await self._store.put_pull_request(fence, pull, self._clock.now())

    def _body_of(self, run: Run, clean: Callable[[str], str]) -> str:
        result = clean(run.result or "").strip()  # before it is cut: half a secret is none to be found
        if len(result) > MAX_BODY:
            result = f"{result[:MAX_BODY]}…\n\n(The whole answer is in the run.)"
        name = f"run {run.id}"
        link = f"[{name}]({self._public_url}/runs/{run.id})" if self._public_url else name
        return f"{result}\n\n---\nMade by Treadle, {link}.\n".lstrip()


def title_of(run: Run, clean: Callable[[str], str]) -> str:
    """The first line of what was asked for first."""
    text = clean(run.steps[0].text) if run.steps else ""
    lines = (" ".join(_HIDDEN.sub("", line).split()) for line in text.splitlines())
    line = next((line for line in lines if line), f"Changes of run {run.id}")
    if len(line) <= MAX_TITLE:
        return line
    words, _, _ = line[:MAX_TITLE].rpartition(" ")  # room for the ellipsis, and no part of a word
    return f"{words or line[: MAX_TITLE - 1]}…"


def name_at_forge(repository: Repository) -> str:
    """OWNER/NAME as the repository's address has it, without the folder that the whole forge is in; of a local
    repository, which has none, as it is called here."""
    location = parse(repository.url)
    if location.is_local or repository.forge is None:
        return repository.name
    path = location.path.strip("/").removesuffix(".git")
    folder = _FOLDER.fullmatch(repository.forge.api_url)
    return path.removeprefix(folder[1]) if folder is not None else path


def _has_committed(run: Run, *, since: int = 1) -> bool:
    return any(step.commit_sha is not None for step in run.steps if step.position >= since)
