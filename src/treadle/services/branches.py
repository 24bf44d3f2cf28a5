"""The branches of registered repositories, offered to those who start a run."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import RunError
from treadle.domain.identity import Principal
from treadle.domain.permissions import Permission, require
from treadle.ports import Clock
from treadle.services.recent import Recent
from treadle.services.repositories import Repositories

#: How long an answer is good for, in seconds; a failure is, too, so that a host that is down is not asked all the time.
BRANCHES_SECONDS = 60.0

#: Branches that are offered.
MAX_BRANCHES = 1_000

#: Looks at remotes at the same time, in a process; more wait, and not for long.
MAX_LOOKS = 4
WAITING_SECONDS = 20.0


class RemoteBranches(Protocol):
    async def list(
        self, url: str, organization_uuid: UUID, credentials: GitCredentials
    ) -> tuple[str | None, Sequence[str]]:
        """The branch that HEAD means, and the names of all. Raises RunError with the cause, within some seconds."""


@dataclass(frozen=True, slots=True)
class Offered:
    """`said`: why there are none. `more`: how many there are besides."""

    names: Sequence[str]
    more: int = 0
    said: str | None = None


class Branches:
    """Asks each remote once for all who ask at the same time, and remembers for a while."""

    def __init__(self, repositories: Repositories, remotes: RemoteBranches, clock: Clock) -> None:
        self._repositories = repositories
        self._remotes = remotes
        self._known: Recent[tuple[int, int, str], Offered] = Recent(clock, seconds=BRANCHES_SECONDS, size=500)
        self._asked: dict[tuple[int, int, str], asyncio.Task[Offered]] = {}
        self._looks = asyncio.Semaphore(MAX_LOOKS)

    async def of(self, principal: Principal, repository_id: int) -> Offered:
        """The default branch first, then by name. Whatever the remote answers, this does not raise for it.

        Raises NotFound, Forbidden."""
        require(principal, Permission.RUN)
        repository = await self._repositories.get(principal, repository_id)
        key = (principal.organization_id, repository.id, repository.url)
        if (known := self._known.get(key)) is not None:
            return known
        task = self._asked.get(key)
        if task is None:
            git = await self._repositories.credentials(repository, principal.organization_uuid)
            if (known := self._known.get(key)) is not None:  # the answer to somebody else came meanwhile
                return known
            task = self._asked.get(key)
        if task is None:
            look = self._look(repository.url, principal.organization_uuid, git, repository.default_branch)
            task = self._asked[key] = asyncio.create_task(look, name="branches of a repository")
            task.add_done_callback(lambda done: self._keep(key, done))
        return await asyncio.shield(task)  # others may wait for it, too

    def _keep(self, key: tuple[int, int, str], task: asyncio.Task[Offered]) -> None:
        del self._asked[key]
        if not task.cancelled() and task.exception() is None:
            self._known.put(key, task.result())

    async def _look(self, url: str, organization_uuid: UUID, git: GitCredentials, default: str) -> Offered:
        try:
            async with asyncio.timeout(WAITING_SECONDS):
                await self._looks.acquire()
        except TimeoutError:
            return Offered((), said="Too many repositories are looked at. Type the branch.")
        try:
            head, found = await self._remotes.list(url, organization_uuid, git)
        except RunError as error:
            return Offered((), said=error.message)
        finally:
            self._looks.release()
        first = [name for name in dict.fromkeys((default, head)) if name in set(found)]
        names = [*first, *sorted(set(found) - set(first))]
        return Offered(names[:MAX_BRANCHES], max(0, len(names) - MAX_BRANCHES))
