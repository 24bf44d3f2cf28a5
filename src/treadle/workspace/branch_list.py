"""Which branches a remote has, asked of it without a clone."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from treadle.domain.credentials import GitCredentials
from treadle.settings import Settings
from treadle.workspace.looks import look
from treadle.workspace.refs import HEADS

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
        seconds = min(LIST_SECONDS, self.settings.git_seconds)
        remote, git = look(self.settings, url, organization_uuid, credentials, seconds=seconds)
        # Not --heads: that leaves HEAD out. Tags are left out by the patterns.
        done = await remote.run(git, "ls-remote", "--symref", "--", remote.url, "HEAD", f"{HEADS}*")
        text = done.stdout.decode(errors="replace")
        refs = [line.partition("\t")[2] for line in text.splitlines() if not line.startswith("ref: ")]
        head = _SYMBOLIC.search(text)
        return (head[1] if head else None), [ref.removeprefix(HEADS) for ref in refs if ref.startswith(HEADS)]
