"""The plans that repositories hold themselves, in `.treadle/plans/`."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath

from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import BranchNotFound, Conflict, InvalidInput, NotFound, RunError
from treadle.domain.git_url import check_branch
from treadle.domain.identity import Principal
from treadle.domain.permissions import Permission, require
from treadle.domain.plan import Plan
from treadle.domain.repository import Repository
from treadle.ports.remote_files import RemoteFile, RemoteFiles, RemoteFolder
from treadle.services.plan_texts import PlanFault, PlanReading, read_plan_text
from treadle.services.plans import MAX_PASTED_PLAN
from treadle.services.repositories import Repositories

#: Where a repository's own plans are.
PLANS_FOLDER = ".treadle/plans"

#: Plans that a repository may hold; those behind, by name, are not seen.
MAX_REPOSITORY_PLANS = 50

#: Of a plan's file, in bytes: as many characters as a plan may have take no more.
MAX_PLAN_BYTES = 4 * MAX_PASTED_PLAN

#: Of the plans that a list reads, together, in bytes: a parser in Python does, and takes a second for 25,000 of them.
MAX_LISTED_PLANS_BYTES = 4 * MAX_PASTED_PLAN

#: Looks at repositories' plans at the same time, in a process; more wait, and not for long.
MAX_PLAN_LOOKS = 4
PLAN_WAITING_SECONDS = 20.0

_ENDINGS = (".yaml", ".yml")
_NOT_READ = PlanReading(
    None, (PlanFault("plan", f"is not read: the plans up to it have more than {MAX_LISTED_PLANS_BYTES:,} bytes"),)
)


@dataclass(frozen=True, slots=True)
class RepositoryPlan:
    """One file. `name`: the file's without its ending."""

    name: str
    path: str
    reading: PlanReading


@dataclass(frozen=True, slots=True)
class RepositoryPlanList:
    """Those on a branch. `more`: how many there are besides."""

    branch: str
    commit: str
    plans: Sequence[RepositoryPlan]
    more: int = 0


class RepositoryPlans:
    """They are read when somebody asks for them, as they are on that branch then."""

    def __init__(self, repositories: Repositories, files: RemoteFiles, *, allow_local: bool = False) -> None:
        self._repositories = repositories
        self._files = files
        self._allow_local = allow_local
        self._looks = asyncio.Semaphore(MAX_PLAN_LOOKS)

    async def list(self, principal: Principal, repository_id: int, branch: str | None = None) -> RepositoryPlanList:
        """By name; `branch` None is the default one. Raises NotFound, Forbidden, InvalidInput (path `branch`), and
        Conflict with what the Git host said."""
        async with self._look(principal, repository_id, branch) as (looked_at, folder):
            plans = await asyncio.to_thread(_plans, folder.files, allow_local=self._allow_local)
        return RepositoryPlanList(looked_at, folder.commit, plans, folder.more)

    async def get(self, principal: Principal, repository_id: int, name: str, branch: str | None = None) -> Plan:
        """The plan of that name; the others are not read. Raises NotFound for one that is not there, InvalidInput
        naming every fault in one, and as `list` does."""
        async with self._look(principal, repository_id, branch) as (looked_at, folder):
            for file in folder.files:
                if name in {PurePosixPath(file.name).stem, file.name}:
                    return (await asyncio.to_thread(_reading, file, allow_local=self._allow_local)).checked()
        there = ", ".join(PurePosixPath(file.name).stem for file in folder.files)
        raise NotFound(
            f"The branch '{looked_at}' has no plan '{name}' in {PLANS_FOLDER}.",
            hint=f"There are: {there}." if there else None,
        )

    @asynccontextmanager
    async def _look(
        self, principal: Principal, repository_id: int, branch: str | None
    ) -> AsyncIterator[tuple[str, RemoteFolder]]:
        """The branch, and what it holds; one's turn lasts until that is read, too."""
        require(principal, Permission.RUN)
        repository = await self._repositories.get(principal, repository_id)
        branch = branch or repository.default_branch
        if (fault := check_branch(branch)) is not None:
            raise InvalidInput({"branch": [fault]})
        git = await self._repositories.credentials(repository, principal.organization_uuid)
        try:
            async with asyncio.timeout(PLAN_WAITING_SECONDS):
                await self._looks.acquire()
        except TimeoutError:
            raise Conflict("Too many repositories are looked at.", hint="Try again in a moment.") from None
        try:
            yield branch, await self._folder(principal, repository, git, branch)
        finally:
            self._looks.release()

    async def _folder(
        self, principal: Principal, repository: Repository, git: GitCredentials, branch: str
    ) -> RemoteFolder:
        try:
            return await self._files.folder(
                repository.url,
                principal.organization_uuid,
                git,
                branch=branch,
                path=PLANS_FOLDER,
                endings=_ENDINGS,
                most_files=MAX_REPOSITORY_PLANS,
                most_bytes=MAX_PLAN_BYTES,
            )
        except BranchNotFound as error:
            raise NotFound(error.message) from None
        except RunError as error:
            raise Conflict(f"The repository's plans cannot be read: {error.message}", hint=error.hint) from None


def _plans(files: Sequence[RemoteFile], *, allow_local: bool) -> Sequence[RepositoryPlan]:
    """Those of a list, as far as there is room: to read them takes its time."""
    found, room = list[RepositoryPlan](), MAX_LISTED_PLANS_BYTES
    for file in files:
        room -= len(file.content or b"")
        reading = _reading(file, allow_local=allow_local) if room >= 0 else _NOT_READ
        found.append(_named(file, reading))
    return found


def _named(file: RemoteFile, reading: PlanReading) -> RepositoryPlan:
    return RepositoryPlan(PurePosixPath(file.name).stem, f"{PLANS_FOLDER}/{file.name}", reading)


def _reading(file: RemoteFile, *, allow_local: bool) -> PlanReading:
    if file.content is None:
        return PlanReading(None, (PlanFault("plan", f"has more than {MAX_PLAN_BYTES:,} bytes"),))
    try:
        text = file.content.decode()
    except UnicodeDecodeError:
        return PlanReading(None, (PlanFault("plan", "is not UTF-8 text"),))
    return read_plan_text(text, allow_local=allow_local)
