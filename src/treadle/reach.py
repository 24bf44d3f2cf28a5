"""The way out to Git hosts and forges for whoever registers or checks a repository: the same that workers and the
service go, with the settings that this process has."""

import re
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from treadle import forges
from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import GitError
from treadle.domain.git_url import parse
from treadle.domain.repository import ForgeAccess, ForgeKind, Repository
from treadle.ports import Clock
from treadle.ports.forges import Forge, ForgeRepository
from treadle.services.pull_requests import name_at_forge
from treadle.services.repository_reach import Finding, RemoteHead
from treadle.settings import Settings
from treadle.workspace.access import AccessRules
from treadle.workspace.git import Git, base_environment
from treadle.workspace.refs import HEADS
from treadle.workspace.remote import Remote

#: Longest time for one look at a remote, in seconds: somebody waits for it.
LOOK_SECONDS: Final = 30.0

_SYMBOLIC: Final = re.compile(rb"^ref: refs/heads/(.+)\tHEAD$", re.MULTILINE)
_HEAD: Final = re.compile(rb"^[0-9a-f]{40,64}\tHEAD$", re.MULTILINE)

#: Where the API is on a host of one's own, unless somebody says otherwise.
_API_PATHS: Final = {ForgeKind.GITHUB: "/api/v3", ForgeKind.GITLAB: "/api/v4", ForgeKind.GITEA: "/api/v1"}


@dataclass(frozen=True, slots=True)
class ServiceReach:
    """services.repository_reach.Reach. `words`: what errors say to those who call the API, and what is said here."""

    settings: Settings
    clock: Clock
    words: tuple[tuple[str, str], ...] = ()

    async def head(
        self, url: str, organization_uuid: UUID, credentials: GitCredentials, branch: str | None
    ) -> RemoteHead:
        async def given() -> GitCredentials:
            return credentials

        remote = Remote(parse(url), organization_uuid, given, self._rules())
        names = ("HEAD", *((f"{HEADS}{branch}",) if branch is not None else ()))
        try:
            done = await remote.run(self._git(), "ls-remote", "--symref", "--", remote.url, *names)
        except GitError as error:
            error.message, error.hint = self._worded(error.message), self._worded(error.hint) if error.hint else None
            raise
        symbolic = _SYMBOLIC.search(done.stdout) if _HEAD.search(done.stdout) else None
        name = symbolic[1].decode(errors="replace") if symbolic is not None else None
        listed = [line.partition(b"\t")[2] for line in done.stdout.splitlines()]
        return RemoteHead(name, has_branch=branch is not None and f"{HEADS}{branch}".encode() in listed)

    def forge(self, access: ForgeAccess) -> Forge:
        return forges.build(self.settings, self.clock)[access.kind]

    def place(self, repository: Repository, token: str) -> ForgeRepository | None:
        access = repository.forge
        return ForgeRepository(access, name_at_forge(repository), token) if access is not None else None

    def tell(self, finding: Finding) -> None:
        """Nobody, unless a subclass does: whoever asked sees what was found by looking again."""

    def _worded(self, said: str) -> str:
        for theirs, ours in self.words:
            said = said.replace(theirs, ours)
        return said

    def _rules(self) -> AccessRules:
        return AccessRules(
            known_hosts=self.settings.data_dir / "known_hosts",
            memory=None,
            allow_local=self.settings.allow_local_repositories,
            allow_private_hosts=self.settings.allow_private_hosts,
            seconds=self._seconds,
        )

    def _git(self) -> Git:
        environment = base_environment(
            {"PATH": self.settings.engine_path, **self.settings.git_environment},
            allow_local=self.settings.allow_local_repositories,
            follow_redirects=self.settings.allow_private_hosts,
        )
        return Git(environment, self._seconds)

    @property
    def _seconds(self) -> float:
        return min(LOOK_SECONDS, self.settings.git_seconds)


def api_of(url: str, kind: ForgeKind) -> ForgeAccess | None:
    """Where the API of a forge of that kind is, as the address of a repository there suggests; None for a local one.
    Raises ValueError for what is no address."""
    known = forges.access_for(url)
    if known is not None and known.kind is kind:
        return known
    location = parse(url)
    if location.is_local:
        return None
    origin = f"https://{location.host}" if location.scheme == "ssh" else location.origin
    return ForgeAccess(kind, f"{origin}{_API_PATHS[kind]}")
