"""What is said at forges. A new forge is one file and one line here."""

from collections.abc import Callable, Mapping

from treadle.domain.repository import ForgeKind
from treadle.forges.conversations.gitea import GiteaConversations
from treadle.forges.conversations.github import GitHubConversations
from treadle.forges.conversations.gitlab import GitLabConversations
from treadle.forges.transport import Transport
from treadle.ports import Clock
from treadle.ports.conversations import Conversations
from treadle.settings import Settings

CONVERSATIONS: Mapping[ForgeKind, Callable[[Transport], Conversations]] = {
    ForgeKind.GITHUB: GitHubConversations,
    ForgeKind.GITLAB: GitLabConversations,
    ForgeKind.GITEA: GiteaConversations,
}


def build_conversations(settings: Settings, clock: Clock) -> Mapping[ForgeKind, Conversations]:
    transport = Transport(clock, allow_private_hosts=settings.allow_private_hosts, environment=settings.git_environment)
    return {kind: make(transport) for kind, make in CONVERSATIONS.items()}
