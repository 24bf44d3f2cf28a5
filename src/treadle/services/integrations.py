"""What an organization is connected with elsewhere: read off its repositories, accounts and tokens, not configured."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from treadle.domain.events import JsonObject
from treadle.domain.repository import ForgeAccess, ForgeKind, Repository
from treadle.ports.directory import ConnectionStore, RepositoryStore
from treadle.services.credentials import GIT_HTTP
from treadle.services.repository_secrets import FORGE_TOKEN

SLACK = "slack"

#: What clients know, and expect to find among the others even while it is not there.
KNOWN = (
    ForgeKind.GITHUB.value, SLACK, "linear", "notion", "figma", "clickup", "jira", "sentry", "monday", "circleci",
    "postgres",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Integration:
    """`token_id` and `installation_id` of those that have such a thing: here none has, tokens are users' own and forges
    are reached by their repositories' tokens."""

    type: str
    is_active: bool
    token_id: int | None = None
    installation_id: int | None = None
    metadata: JsonObject | None = None


class Store(ConnectionStore, RepositoryStore, Protocol):
    """Of the store, what is needed here."""


async def integrations_of(store: Store, organization_id: int) -> Sequence[Integration]:
    """Each type once: forges, chats, OAuth providers, and then what clients know besides."""
    found: dict[str, Integration] = {}
    for one in (
        *await _forges(store, organization_id),
        *await _chats(store, organization_id),
        *await _issuers(store, organization_id),
        *(Integration(name, is_active=False) for name in KNOWN),
    ):
        known = found.get(one.type.casefold())
        found[one.type.casefold()] = one if known is None else _joined(known, one)
    return tuple(found.values())


def _joined(one: Integration, other: Integration) -> Integration:
    """A forge that issues OAuth tokens too, for example."""
    metadata = {**(other.metadata or {}), **(one.metadata or {})}
    return replace(one, is_active=one.is_active or other.is_active, metadata=metadata or None)


async def _forges(store: Store, organization_id: int) -> Sequence[Integration]:
    by_kind: dict[ForgeKind, list[tuple[Repository, ForgeAccess]]] = defaultdict(list)
    for repository in await store.repositories(organization_id):
        if repository.forge is not None:
            by_kind[repository.forge.kind].append((repository, repository.forge))
    return [
        Integration(
            kind.value,
            is_active=await _is_any_open(store, [repository for repository, _ in by_kind[kind]]),
            metadata={
                "repositories": len(by_kind[kind]),
                "api_urls": sorted({forge.api_url for _, forge in by_kind[kind]}),
            },
        )
        for kind in ForgeKind
        if kind in by_kind
    ]


async def _is_any_open(store: Store, repositories: Sequence[Repository]) -> bool:
    """Whether there is a token for the forge, or HTTP credentials, whose password is as good as one."""
    for repository in repositories:
        if not {FORGE_TOKEN, GIT_HTTP}.isdisjoint(await store.repository_secrets(repository.id)):
            return True
    return False


async def _chats(store: Store, organization_id: int) -> Sequence[Integration]:
    accounts: dict[str, int] = {}
    for connection in await store.connections(organization_id):
        accounts[connection.provider] = accounts.get(connection.provider, 0) + 1
    return [
        Integration(provider, is_active=True, metadata={"accounts": count})
        for provider, count in sorted(accounts.items())
    ]


async def _issuers(store: Store, organization_id: int) -> Sequence[Integration]:
    connected = set(await store.connected_providers(organization_id, None))
    return [
        Integration(provider.name, is_active=provider.name in connected, metadata={"is_mcp": provider.is_mcp})
        for provider in await store.oauth_providers()
    ]
