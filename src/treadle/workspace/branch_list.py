"""Which branches a remote has, asked of it without a clone."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from treadle.domain.credentials import GitCredentials
from treadle.domain.git_url import parse
from treadle.settings import Settings
from treadle.workspace.access import AccessRules
from treadle.workspace.git import Git, base_environment
from treadle.workspace.refs import HEADS
from treadle.workspace.remote import Remote

#: Longest time for one look, in seconds: somebody fills in a form meanwhile, and can do so without.
LIST_SECONDS = 15.0

_SYMBOLIC = re.compile(r"^ref: refs/heads/(.+)\tHEAD$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class GitBranches:
    """services.branches.RemoteBranches, the way that workers go."""

    settings: Settings

    async def list(
        self, url: str, organization_uuid: UUID, credentials: GitCredentials
    ) -> tuple[str | None, Sequence[str]]:
        async def given() -> GitCredentials:
            return credentials

        settings, seconds = self.settings, min(LIST_SECONDS, self.settings.git_seconds)
        rules = AccessRules(
            known_hosts=settings.data_dir / "known_hosts",
            memory=None,
            allow_local=settings.allow_local_repositories,
            allow_private_hosts=settings.allow_private_hosts,
            seconds=seconds,
        )
        environment = base_environment(
            {"PATH": settings.engine_path, **settings.git_environment},
            allow_local=settings.allow_local_repositories,
            follow_redirects=settings.allow_private_hosts,
        )
        remote = Remote(parse(url), organization_uuid, given, rules)
        # Not --heads: that leaves HEAD out. Tags are left out by the patterns.
        arguments = ("ls-remote", "--symref", "--", remote.url, "HEAD", f"{HEADS}*")
        done = await remote.run(Git(environment, seconds), *arguments)
        text = done.stdout.decode(errors="replace")
        refs = [line.partition("\t")[2] for line in text.splitlines() if not line.startswith("ref: ")]
        head = _SYMBOLIC.search(text)
        return (head[1] if head else None), [ref.removeprefix(HEADS) for ref in refs if ref.startswith(HEADS)]
