"""A run's remote: Git commands that reach it with the run's credentials as they are at that moment."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

import structlog

from treadle.command import Completed
from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import GitTimedOut, GitUnreachable
from treadle.domain.git_url import GitLocation
from treadle.ports import OpenGitCredentials
from treadle.workspace.access import AccessRules
from treadle.workspace.failures import remote_failure
from treadle.workspace.git import Git, verb
from treadle.workspace.refs import HEADS

T = TypeVar("T")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Remote:
    """Where a run fetches from and pushes to. `retry_seconds`: the pauses before each further try, when the remote
    cannot be reached or the connection breaks off."""

    location: GitLocation
    organization: UUID
    open_credentials: OpenGitCredentials
    rules: AccessRules
    retry_seconds: tuple[float, ...] = ()

    @property
    def url(self) -> str:
        return self.location.url

    async def run(self, git: Git, *arguments: str, seconds: float | None = None) -> Completed:
        """Raises GitError for whatever the remote refuses."""

        async def once() -> Completed:
            done, credentials = await self.attempt(git, *arguments, seconds=seconds)
            if done.exit_code != 0:
                raise remote_failure(done.stderr, self.location, credentials)
            return done

        return await self.patiently(once)

    async def patiently(self, work: Callable[[], Awaitable[T]], *, more: int = 0) -> T:
        """`work`, again after each pause while it raises GitUnreachable; after the last pause so many times more."""
        for pause in (*self.retry_seconds, *self.retry_seconds[-1:] * more):
            try:
                return await work()
            except GitUnreachable as error:
                log.warning("the Git host could not be reached; trying again", error=error.message, seconds=pause)
                await asyncio.sleep(pause)
        return await work()

    async def attempt(
        self, git: Git, *arguments: str, seconds: float | None = None
    ) -> tuple[Completed, GitCredentials]:
        """As `run`, but once, and a refusal is the caller's to judge."""
        credentials = await self.open_credentials()
        async with self.rules.open(self.location, self.organization, credentials) as access:
            try:
                return await git.run(*arguments, access=access, seconds=seconds, accepted=None), credentials
            except GitTimedOut as error:
                where = f"The Git host {self.location.host}" if self.location.host else self.url
                raise GitTimedOut(
                    f"{where} took longer than {seconds or git.seconds:g} s for git {verb(arguments)}.", hint=error.hint
                ) from error

    async def branch(self, git: Git, name: str, *, seconds: float | None = None) -> str | None:
        """The commit of a branch there; None when there is no such branch."""
        done = await self.run(git, "ls-remote", "--quiet", "--", self.url, HEADS + name, seconds=seconds)
        for line in done.stdout.decode(errors="replace").splitlines():
            sha, _, ref = line.partition("\t")
            if ref == HEADS + name:
                return sha
        return None
