"""Thin clients of forges. A new one is one file and one line here."""

from collections.abc import Callable, Mapping

from treadle.domain.git_url import parse
from treadle.domain.repository import ForgeAccess, ForgeKind
from treadle.forges.gitea import GiteaForge
from treadle.forges.github import GitHubForge
from treadle.forges.gitlab import GitLabForge
from treadle.forges.transport import Transport
from treadle.ports import Clock
from treadle.ports.forges import Forge
from treadle.settings import Settings

FORGES: Mapping[ForgeKind, Callable[[Transport], Forge]] = {
    ForgeKind.GITHUB: GitHubForge,
    ForgeKind.GITLAB: GitLabForge,
    ForgeKind.GITEA: GiteaForge,
}

_GITHUB = ForgeAccess(ForgeKind.GITHUB, "https://api.github.com")
_GITLAB = ForgeAccess(ForgeKind.GITLAB, "https://gitlab.com/api/v4")

#: The APIs of the well-known hosts, by where their repositories are. The `ssh` ones are their hosts for port 443.
_KNOWN: Mapping[str, ForgeAccess] = {
    "github.com": _GITHUB,
    "ssh.github.com": _GITHUB,
    "gitlab.com": _GITLAB,
    "altssh.gitlab.com": _GITLAB,
    "codeberg.org": ForgeAccess(ForgeKind.GITEA, "https://codeberg.org/api/v1"),
    "gitea.com": ForgeAccess(ForgeKind.GITEA, "https://gitea.com/api/v1"),
}


def build(settings: Settings, clock: Clock) -> Mapping[ForgeKind, Forge]:
    transport = Transport(clock, allow_private_hosts=settings.allow_private_hosts, environment=settings.git_environment)
    return {kind: make(transport) for kind, make in FORGES.items()}


def access_for(url: str) -> ForgeAccess | None:
    """The API that goes with a repository's address; None for a host that is not known: only its admin can say which
    forge it is, and where its API is."""
    try:
        return _KNOWN.get(parse(url).host)
    except ValueError:
        return None
