"""The branch that a repository calls its own."""

import os
import re
from typing import Final
from uuid import UUID

from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import GitError, WorkspaceError
from treadle.domain.git_url import parse, split_credentials
from treadle.scratch import scratch_directory
from treadle.settings import GIT_NAMES

FALLBACK: Final = "main"

#: Longest time to ask a remote, in seconds: the run that follows says what is wrong with it.
_SECONDS: Final = 15.0

_HEAD: Final = re.compile(rb"^ref: refs/heads/(.+)\tHEAD$", re.MULTILINE)
_NOBODY: Final = UUID(int=0)


async def head_branch(repo: str, credentials: GitCredentials) -> str:
    """What the remote's HEAD names; `main` when it does not say."""
    from treadle.workspace.access import AccessRules
    from treadle.workspace.git import Git, base_environment

    url, in_url = split_credentials(repo)
    given = {name: os.environ[name] for name in ("PATH", *GIT_NAMES) if name in os.environ}
    environment = base_environment(given, allow_local=True, follow_redirects=True)
    with scratch_directory() as scratch:
        rules = AccessRules(
            known_hosts=scratch / "hosts",
            memory=None,
            allow_local=True,
            allow_private_hosts=True,
            seconds=_SECONDS,
        )
        try:
            location = parse(url)
            used = credentials if credentials.http or credentials.ssh_key else GitCredentials(http=in_url)
            async with rules.open(location, _NOBODY, used) as access:
                git = Git(environment, _SECONDS)
                done = await git.run("ls-remote", "--symref", "--", location.url, "HEAD", access=access)
        except (GitError, WorkspaceError, ValueError):
            return FALLBACK
    found = _HEAD.search(done.stdout)
    return found[1].decode(errors="surrogateescape") if found else FALLBACK
