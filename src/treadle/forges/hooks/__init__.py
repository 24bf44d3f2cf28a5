"""What forges send by webhook: who signed it, and what it tells. A new forge is one file and one line here."""

from collections.abc import Mapping

from treadle.domain.repository import ForgeKind
from treadle.forges.hooks.gitea import GiteaHook
from treadle.forges.hooks.github import GitHubHook
from treadle.forges.hooks.gitlab import GitLabHook
from treadle.ports.hooks import Hook

HOOKS: Mapping[ForgeKind, Hook] = {
    ForgeKind.GITHUB: GitHubHook(),
    ForgeKind.GITLAB: GitLabHook(),
    ForgeKind.GITEA: GiteaHook(),
}
