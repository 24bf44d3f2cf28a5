"""Accounts, OAuth providers and tokens elsewhere, on each database."""

import asyncio
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select
from tests.support.executors import LostAnswers
from tests.support.stores import NOW, World, later

from treadle.domain.errors import Conflict, NotFound
from treadle.domain.identity import OAuthProvider, Principal
from treadle.ports.directory import Connection
from treadle.store import postgres_line
from treadle.store.prepared import Prepared
from treadle.store.sql import SqlStore
from treadle.store.tables import connect_tokens, oauth_tokens

pytestmark = pytest.mark.anyio


async def rows(world: World, statement: Prepared) -> list[tuple[object, ...]]:
    return await world.store._executor.read(lambda session: session.all(statement))


# ---- accounts --------------------------------------------------------------------------------------------------------


async def add_token(world: World, digest: str, *, seconds: float = 600, of: Principal | None = None) -> None:
    who = of or world.principal
    await world.store.add_connect_token(digest, who.organization_id, who.user_id, NOW, later(seconds))


async def test_a_token_connects_once(world: World) -> None:
    await add_token(world, "d")
    connection = Connection("slack", "U1 ☃", world.principal.user_id, later(9))
    assert await world.store.use_connect_token("d", "slack", "U1 ☃", later(9)) == connection
    assert await world.store.use_connect_token("d", "slack", "U2", later(10)) is None
    assert await world.store.use_connect_token("e", "slack", "U2", later(10)) is None
    assert await world.store.connections(1) == (connection,)


async def test_a_token_is_used_once_by_many_at_once(world: World) -> None:
    await add_token(world, "d")
    other = await SqlStore.open(world.url)
    try:
        found = await asyncio.gather(
            *((world.store, other)[n % 2].use_connect_token("d", "slack", f"U{n}", later(n)) for n in range(20))
        )
    finally:
        await other.close()
    (won,) = [one for one in found if one is not None]
    assert await world.store.connections(1) == (won,)


async def test_a_token_holds_until_it_expires(world: World) -> None:
    await add_token(world, "a")
    await add_token(world, "b")
    assert await world.store.use_connect_token("a", "slack", "U1", later(600)) is None
    assert await world.store.use_connect_token("b", "slack", "U1", later(599.9)) is not None


async def test_an_account_belongs_to_who_connected_it_last(world: World) -> None:
    other, stranger = await world.somebody(), await world.stranger()
    for digest, who in (("a", world.principal), ("b", other), ("c", stranger)):
        await add_token(world, digest, of=who)
        await world.store.use_connect_token(digest, "slack", "U1", later(ord(digest)))
    assert await world.store.connections(1) == (Connection("slack", "U1", other.user_id, later(ord("b"))),)
    assert [one.user_id for one in await world.store.connections(stranger.organization_id)] == [stranger.user_id]


async def test_tokens_are_unique_and_somebodys(world: World) -> None:
    await add_token(world, "d")
    with pytest.raises(Conflict):
        await add_token(world, "d")
    with pytest.raises(NotFound):
        await world.store.add_connect_token("e", 1, 99, NOW, later(1))


async def test_expired_tokens_go_with_the_next(world: World) -> None:
    for digest, seconds in (("a", -5.0), ("b", -1.0), ("c", 0.0), ("d", 1.0)):
        await add_token(world, digest, seconds=seconds)
    await add_token(world, "e")
    left = await rows(world, Prepared(select(connect_tokens.c.digest).order_by(connect_tokens.c.digest)))
    assert [row[0] for row in left] == ["d", "e"]


@pytest.mark.parametrize("is_done", [True, False])
async def test_a_connection_whose_answer_is_lost_is_there(world: World, is_done: bool) -> None:
    await add_token(world, "d")
    world.store._executor = LostAnswers(world.store._executor, is_done=is_done)
    connection = await world.store.use_connect_token("d", "slack", "U1", later(1))
    assert connection == Connection("slack", "U1", world.principal.user_id, later(1))
    assert await world.store.use_connect_token("d", "slack", "U1", later(2)) is None


# ---- OAuth -----------------------------------------------------------------------------------------------------------


def a_provider(name: str = "linear", *, is_mcp: bool = False) -> OAuthProvider:
    return OAuthProvider(
        id=0,
        name=name,
        issuer="https://issuer.example",
        authorization_endpoint="https://issuer.example/authorize",
        token_endpoint="https://issuer.example/token",
        default_scopes=("read", "wríte"),
        is_mcp=is_mcp,
        meta={"a": ["\0", 1]},
        date_created=NOW,
    )


async def put(world: World, provider: OAuthProvider, *, of: Principal | None = None, uuid: UUID | None = None) -> None:
    who = of or world.principal
    await world.store.add_oauth_token(
        uuid or uuid4(), who.organization_id, who.user_id, provider.id, "sealed", later(1)
    )


async def test_providers_are_listed_by_their_kind(world: World) -> None:
    plain = await world.store.add_oauth_provider(a_provider("b"))
    mcp = await world.store.add_oauth_provider(
        replace(a_provider("a ☃", is_mcp=True), default_scopes=None, meta=None, date_created=later(1))
    )
    assert plain == replace(a_provider("b"), id=plain.id)
    assert await world.store.oauth_providers() == (plain, mcp)
    assert await world.store.oauth_providers(is_mcp=True) == (mcp,)
    assert await world.store.oauth_providers(is_mcp=False) == (plain,)
    with pytest.raises(Conflict):
        await world.store.add_oauth_provider(a_provider("b"))


async def test_users_have_tokens(world: World) -> None:
    other, stranger = await world.somebody(), await world.stranger()
    first, second, third = [await world.store.add_oauth_provider(a_provider(name)) for name in "cBa"]
    for provider, who in ((first, world.principal), (second, world.principal), (third, other), (third, stranger)):
        await put(world, provider, of=who)
    await put(world, first)
    me = world.principal.user_id
    assert await world.store.connected_providers(1, me) == ("B", "c")
    assert await world.store.connected_providers(1, other.user_id) == ("a",)
    assert await world.store.connected_providers(1, None) == ("B", "a", "c")
    assert await world.store.connected_providers(99, None) == ()
    assert await world.store.revoke_oauth_tokens(1, me, "c", later(9)) == 1
    assert await world.store.revoke_oauth_tokens(1, me, "c", later(10)) == 0
    assert await world.store.revoke_oauth_tokens(1, me, "nothing", later(10)) == 0
    assert await world.store.connected_providers(1, me) == ("B",)
    assert await world.store.connected_providers(stranger.organization_id, None) == ("a",)


async def test_a_token_that_is_gone_is_erased(world: World) -> None:
    provider = await world.store.add_oauth_provider(a_provider())
    await put(world, provider)
    await put(world, provider)  # in the place of the first
    kept = Prepared(select(func.count(), func.count(oauth_tokens.c.sealed)).select_from(oauth_tokens))
    assert await rows(world, kept) == [(2, 1)]
    await world.store.revoke_oauth_tokens(1, world.principal.user_id, "linear", later(2))
    assert await rows(world, kept) == [(2, 0)]


async def test_a_provider_goes_with_its_tokens(world: World) -> None:
    kept, gone = [await world.store.add_oauth_provider(a_provider(name)) for name in ("kept", "gone")]
    await put(world, kept)
    await put(world, gone)
    await world.store.remove_oauth_provider("gone")
    assert await world.store.oauth_providers() == (kept,)
    assert await world.store.connected_providers(1, None) == ("kept",)
    with pytest.raises(NotFound):
        await world.store.remove_oauth_provider("gone")
    with pytest.raises(NotFound):
        await put(world, gone)
    uuid = uuid4()
    await put(world, kept, uuid=uuid)
    with pytest.raises(Conflict):
        await put(world, kept, uuid=uuid)


async def test_a_provider_that_is_removed_while_tokens_come(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither waits for what the other holds: no second try is needed."""
    monkeypatch.setattr(postgres_line, "TRIES", 1)
    for _ in range(10):
        provider = await world.store.add_oauth_provider(a_provider())
        answers = await asyncio.gather(
            *(put(world, provider) for _ in range(10)),
            world.store.remove_oauth_provider("linear"),
            *(put(world, provider) for _ in range(10)),
            return_exceptions=True,
        )
        assert answers[10] is None
        assert all(answer is None or isinstance(answer, NotFound) for answer in answers)
        assert await world.store.connected_providers(1, None) == ()


@pytest.mark.parametrize("is_done", [True, False])
async def test_tokens_whose_answers_are_lost(world: World, is_done: bool) -> None:
    provider = await world.store.add_oauth_provider(a_provider())
    world.store._executor = LostAnswers(world.store._executor, is_done=is_done)
    await put(world, provider)
    assert await world.store.connected_providers(1, None) == ("linear",)
    assert await world.store.revoke_oauth_tokens(1, world.principal.user_id, "linear", later(9)) == 1
    assert await rows(world, Prepared(select(func.count()).select_from(oauth_tokens))) == [(1,)]
    await world.store.remove_oauth_provider("linear")
    assert await world.store.oauth_providers() == ()
