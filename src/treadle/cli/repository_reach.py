"""The way out to Git hosts and forges for `treadle admin repo`: the same that workers and the service go, with the
settings that this command has."""

import re
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from treadle import forges
from treadle.cli import output
from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import GitError, InvalidInput
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

#: Where the API is on a host of one's own, unless --forge-api-url says otherwise.
_API_PATHS: Final = {ForgeKind.GITHUB: "/api/v3", ForgeKind.GITLAB: "/api/v4", ForgeKind.GITEA: "/api/v1"}

#: What the errors say to those who call the API, and what it is here.
_WORDS: Final = (
    ("Send gitHttpCredentials: user:password or a token.", "Give --http-credentials-env or --http-credentials-file."),
    ("Send gitSshKeyBase64, or the repository's https address.", "Give --ssh-key, or the repository's https address."),
    ("Send gitHttpCredentials, or", "Give --http-credentials-env, or"),
    (", and the run has none.", ", and there are none."),
)


@dataclass(frozen=True, slots=True)
class RepositoryReach:
    """services.repository_reach.Reach."""

    settings: Settings
    clock: Clock

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
            error.message, error.hint = _worded(error.message), _worded(error.hint) if error.hint else None
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
        output.note(f"Warning: {finding.part}: {finding.said}")

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


def forge_of(url: str, kind: ForgeKind | None, api_url: str | None) -> ForgeAccess | None:
    """What `--forge` and `--forge-api-url` say of a repository at `url`; without them the forge of a well-known host.
    Raises InvalidInput for an address without the kind, and where there is no telling the address."""
    known = forges.access_for(url)
    if kind is None:
        if api_url is not None:
            raise InvalidInput({"--forge": ["says what is at --forge-api-url"]}, "The options are not complete.")
        return known
    if api_url is not None:
        return ForgeAccess(kind, api_url.rstrip("/"))
    if known is not None and known.kind is kind:
        return known
    try:
        location = parse(url)
    except ValueError as error:
        raise InvalidInput({"url": [str(error)]}, "The repository cannot be registered.") from None
    if location.is_local:
        raise InvalidInput({"--forge-api-url": ["says where the forge is"]}, "The options are not complete.")
    origin = f"https://{location.host}" if location.scheme == "ssh" else location.origin
    return ForgeAccess(kind, f"{origin}{_API_PATHS[kind]}")


def _worded(said: str) -> str:
    for theirs, ours in _WORDS:
        said = said.replace(theirs, ours)
    return said
