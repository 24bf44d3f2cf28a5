"""Connected accounts, OAuth tokens, and what an organization is connected with."""

import asyncio
from dataclasses import replace

import pytest
from tests.support.deployment import Deployment, Member

from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import Conflict, Forbidden, InvalidInput, NotFound
from treadle.domain.identity import Principal, Role
from treadle.domain.repository import ForgeAccess, ForgeKind
from treadle.ids import RandomUuids
from treadle.services.connections import Connections, NewProvider, generate_connect_token
from treadle.services.integrations import Integration
from treadle.store.prepared import Prepared
from treadle.store.sql import SqlStore
from treadle.store.tables import connect_tokens, oauth_tokens

pytestmark = pytest.mark.anyio

KNOWN = [
    *("github", "slack", "linear", "notion", "figma", "clickup", "jira", "sentry", "monday", "circleci", "postgres"),
]


@pytest.fixture
def connections(here: Deployment) -> Connections:
    return Connections(here.store, here.vault, here.clock, audit=here.services.audit, new_uuid=RandomUuids())


async def principal(here: Deployment, who: Member | str = "user@example.com") -> Principal:
    member = who if isinstance(who, Member) else await here.member(who)
    return await here.services.identity.authenticate(member.key)


def a_provider(name: str = "linear") -> NewProvider:
    return NewProvider(name, "https://issuer.example", "https://issuer.example/authorize", "http://127.0.0.1:1/token")


async def every(here: Deployment, statement: Prepared) -> list[tuple[object, ...]]:
    assert isinstance(here.store, SqlStore)
    return await here.store._executor.read(lambda session: session.all(statement))


# ---- accounts


async def test_a_token_connects_an_account(here: Deployment, connections: Connections) -> None:
    me = await principal(here)
    token, minutes = await connections.connect_token(me)
    assert minutes == 10
    assert len(token) >= 32
    assert token not in str(await every(here, Prepared(connect_tokens.select())))
    found = await connections.redeem(f" {token}\n", " Slack", " U123 ")
    assert (found.provider, found.account, found.user_id) == ("slack", "U123", me.user_id)
    with pytest.raises(NotFound, match="used") as caught:
        await connections.redeem(token, "slack", "U124")
    assert "10 minutes" in (caught.value.hint or "")


async def test_a_token_is_taken_for_no_option_of_a_command() -> None:
    assert all(generate_connect_token().isalnum() for _ in range(100))


async def test_a_token_is_good_for_ten_minutes(here: Deployment, connections: Connections) -> None:
    me = await principal(here)
    (first, _), (second, _) = await connections.connect_token(me), await connections.connect_token(me)
    assert first != second
    here.clock.advance(599)
    await connections.redeem(first, "slack", "U1")
    here.clock.advance(1)
    with pytest.raises(NotFound):
        await connections.redeem(second, "slack", "U1")


async def test_of_two_at_once_one_connects(here: Deployment, connections: Connections) -> None:
    token, _ = await connections.connect_token(await principal(here))
    answers = await asyncio.gather(
        *(connections.redeem(token, "slack", f"U{number}") for number in range(2)), return_exceptions=True
    )
    assert sorted(type(answer).__name__ for answer in answers) == ["Connection", "NotFound"]


async def test_every_fault_of_an_account_is_named(here: Deployment, connections: Connections) -> None:
    token, _ = await connections.connect_token(await principal(here))
    for provider, account in (("", ""), ("a/b", "x" * 201), ("x" * 101, "a\nb")):
        with pytest.raises(InvalidInput) as caught:
            await connections.redeem(token, provider, account)
        assert sorted(caught.value.faults) == ["account", "provider"]
    await connections.redeem(token, "slack", "U1")  # none of that used it up


# ---- OAuth


async def test_a_users_token_is_sealed_to_its_row(here: Deployment, connections: Connections) -> None:
    me = await principal(here)
    await connections.add_provider(a_provider())
    await connections.put_token(me, "linear", "secret-token")
    rows = await every(
        here, Prepared(oauth_tokens.select().with_only_columns(oauth_tokens.c.uuid, oauth_tokens.c.sealed))
    )
    ((uuid, sealed),) = rows
    assert "secret-token" not in str(sealed)
    opened = here.vault.open(str(sealed), organization=me.organization_uuid, table="oauth_tokens", row=str(uuid))
    assert opened == "secret-token"


async def test_a_user_is_connected_until_it_revokes(here: Deployment, connections: Connections) -> None:
    me, other = await principal(here), await principal(here, "other@example.com")
    for name in ("notion", "linear"):
        await connections.add_provider(a_provider(name))
        await connections.put_token(me, name, "token")
    assert await connections.connected(me) == ("linear", "notion")
    assert await connections.connected(other) == ()
    assert await connections.revoke(other, "linear") == 0
    assert await connections.revoke(me, "linear") == 1
    assert await connections.connected(me) == ("notion",)
    for attempt in (connections.revoke(me, "nothing"), connections.put_token(me, "nothing", "token")):
        with pytest.raises(NotFound):
            await attempt
    for token in ("", "x" * 65_537):
        with pytest.raises(InvalidInput):
            await connections.put_token(me, "notion", token)


async def test_providers_are_added_and_removed(here: Deployment, connections: Connections) -> None:
    plain = await connections.add_provider(a_provider())
    mcp = await connections.add_provider(
        replace(a_provider("Notion MCP"), is_mcp=True, default_scopes=("read", "write"), meta={"url": "https://x"})
    )
    assert (mcp.default_scopes, mcp.meta, mcp.date_created) == (
        ("read", "write"),
        {"url": "https://x"},
        here.clock.now(),
    )
    assert await connections.providers() == (plain, mcp)
    assert await connections.providers(is_mcp=True) == (mcp,)
    with pytest.raises(Conflict):
        await connections.add_provider(a_provider())
    me = await principal(here)
    await connections.put_token(me, "linear", "token")
    await connections.remove_provider("linear")
    assert await connections.connected(me) == ()
    with pytest.raises(NotFound):
        await connections.remove_provider("linear")


async def test_every_fault_of_a_provider_is_named(connections: Connections) -> None:
    wrong = NewProvider(
        "-x", "issuer.example", "ftp://issuer.example", "https://[x", ("a b",), meta={"number": float("nan")}
    )
    with pytest.raises(InvalidInput) as caught:
        await connections.add_provider(wrong)
    assert list(caught.value.faults) == [
        *("name", "issuer", "authorization_endpoint", "token_endpoint", "default_scopes", "meta"),
    ]
    plain = a_provider()
    for one in (
        *(a_provider(name) for name in ("", "x" * 101, "x ")),
        *(replace(plain, issuer=address) for address in (f"https://{'x' * 2000}", "https://a b", "https://")),
        replace(plain, default_scopes=("x",) * 101),
        replace(plain, meta={"text": "x" * 65_536}),
    ):
        with pytest.raises(InvalidInput):
            await connections.add_provider(one)
    assert await connections.providers() == ()


# ---- integrations


async def test_nothing_is_active_where_nothing_is(here: Deployment, connections: Connections) -> None:
    found = await connections.integrations(await principal(here))
    assert found == tuple(Integration(name, is_active=False) for name in KNOWN)


async def add_repository(
    here: Deployment, name: str, kind: ForgeKind | None, git: GitCredentials | None = None
) -> None:
    forge = None if kind is None else ForgeAccess(kind, f"https://{kind}.example/api")
    url = f"https://git.example/{name}.git"
    await here.services.repositories.add(here.admin.organization, name=name, url=url, git=git, forge=forge)


async def test_forges_are_active_with_a_token_of_a_repository(here: Deployment, connections: Connections) -> None:
    me = await principal(here)
    await add_repository(here, "a/plain", None, GitCredentials(http="token"))
    await add_repository(here, "a/closed", ForgeKind.GITHUB)
    await add_repository(here, "a/one", ForgeKind.GITLAB)
    await add_repository(here, "a/two", ForgeKind.GITLAB, GitCredentials(http="token"))
    found = await connections.integrations(me)
    assert [one.type for one in found] == ["github", "gitlab", *KNOWN[1:]]
    assert found[0] == Integration(
        "github", is_active=False, metadata={"repositories": 1, "api_urls": ["https://github.example/api"]}
    )
    assert found[1] == Integration(
        "gitlab", is_active=True, metadata={"repositories": 2, "api_urls": ["https://gitlab.example/api"]}
    )
    closed = await here.services.repositories.named(me.organization_id, "a/closed")
    await here.store.update_repository(closed, {"forge_token": "sealed"}, here.clock.now())
    assert (await connections.integrations(me))[0].is_active


async def test_accounts_and_tokens_of_anybody_count(here: Deployment, connections: Connections) -> None:
    me, other = await principal(here), await principal(here, "other@example.com")
    elsewhere = await here.services.identity.add_organization("Elsewhere")
    stranger = await principal(here, await here.member("x@example.com", organization=elsewhere))
    await connections.add_provider(a_provider("Linear"))
    await connections.add_provider(replace(a_provider("Notion MCP"), is_mcp=True))
    for who, account in ((me, "U1"), (other, "U2"), (stranger, "U3")):
        token, _ = await connections.connect_token(who)
        await connections.redeem(token, "slack", account)
    await connections.put_token(other, "Linear", "token")
    await connections.put_token(stranger, "Notion MCP", "token")
    found = {one.type: one for one in await connections.integrations(me)}
    assert found["slack"] == Integration("slack", is_active=True, metadata={"accounts": 2})
    assert found["Linear"] == Integration("Linear", is_active=True, metadata={"is_mcp": False})
    assert found["Notion MCP"] == Integration("Notion MCP", is_active=False, metadata={"is_mcp": True})
    assert "linear" not in found  # it is the same
    assert len(found) == len(KNOWN) + 1


async def test_what_is_of_two_kinds_is_there_once(here: Deployment, connections: Connections) -> None:
    me = await principal(here)
    await add_repository(here, "a/one", ForgeKind.GITHUB)
    await connections.add_provider(a_provider("github"))
    await connections.put_token(me, "github", "token")
    (found,) = [one for one in await connections.integrations(me) if one.type == "github"]
    assert found.is_active
    assert found.metadata == {"repositories": 1, "api_urls": ["https://github.example/api"], "is_mcp": False}


async def test_whoever_has_no_role_may_nothing(here: Deployment, connections: Connections) -> None:
    former = replace(await principal(here), role=None)
    await connections.add_provider(a_provider())
    for attempt in (
        connections.connect_token(former),
        connections.put_token(former, "linear", "token"),
        connections.connected(former),
        connections.revoke(former, "linear"),
        connections.integrations(former),
    ):
        with pytest.raises(Forbidden):
            await attempt
    assert await connections.connected(replace(former, role=Role.MEMBER)) == ()
