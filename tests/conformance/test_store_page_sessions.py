"""Who is signed in at the page, on each database: sessions, passwords, users as other services know them."""

from datetime import datetime

import pytest
from tests.support.executors import Away, LostAnswers
from tests.support.stores import NOW, World, later

from treadle.domain.errors import Conflict, NotFound
from treadle.domain.identity import Principal, Role
from treadle.ports.page import PageSession
from treadle.store import page_sessions

pytestmark = pytest.mark.anyio

HOUR = 3600.0
#: A session that nobody has used since then does not count.
IDLE_SINCE = later(-24 * HOUR)


async def sign_in(
    world: World,
    digest: str = "d",
    *,
    of: Principal | None = None,
    key: str | None = None,
    now: datetime = NOW,
    hours: float = 10,
) -> None:
    await world.store.add_session(
        digest, of or world.principal, api_key_digest=key, agent="Browser ☃", now=now, expires=later(hours * HOUR)
    )


async def look(world: World, digest: str = "d", *, now: datetime = NOW) -> PageSession | None:
    return await world.store.session(digest, now, seen_since=IDLE_SINCE)


async def a_key(
    world: World, digest: str = "key", *, expires: datetime | None = None, reaches_all: bool = False
) -> int:
    who = world.principal
    made = await world.store.add_api_key(
        who.organization_id,
        who.user_id,
        name="k",
        prefix="p",
        digest=digest,
        now=NOW,
        expires=expires,
        reaches_all=reaches_all,
    )
    return made.id


# ---- sessions --------------------------------------------------------------------------------------------------------


async def test_a_session_says_whose_it_is(world: World) -> None:
    await sign_in(world)
    found = await look(world)
    assert found is not None
    assert found.principal.user_id == world.principal.user_id
    assert (found.principal.email, found.principal.role) == ("ada@example.org", Role.ADMIN)
    assert (found.agent, found.date_created, found.date_seen) == ("Browser ☃", NOW, NOW)
    assert (found.date_expires, found.is_by_key, found.principal.reaches_all) == (later(10 * HOUR), False, True)
    assert await look(world, "e") is None


async def test_it_ends_at_its_time(world: World) -> None:
    await sign_in(world)
    assert await look(world, now=later(10 * HOUR - 1)) is not None
    assert await look(world, now=later(10 * HOUR)) is None


async def test_it_ends_when_nobody_uses_it(world: World) -> None:
    await sign_in(world)
    assert await world.store.session("d", later(9), seen_since=later(-1)) is not None
    assert await world.store.session("d", later(9), seen_since=NOW) is None


async def test_that_it_was_seen_is_written_once_a_minute(world: World) -> None:
    await sign_in(world)
    for seconds, seen in ((59, 0), (60, 60), (100, 60), (120, 120)):
        await look(world, now=later(seconds))
        (found,) = await world.store.sessions_of(world.principal.user_id, later(seconds), seen_since=IDLE_SINCE)
        assert found.date_seen == later(seen), seconds


async def test_it_is_found_while_nothing_can_be_written(world: World) -> None:
    await sign_in(world)
    world.store._executor = Away(world.store._executor)
    assert await look(world, now=later(HOUR)) is not None


async def test_it_ends_with_the_membership_and_has_the_role_of_now(world: World) -> None:
    other = await world.somebody()
    await sign_in(world, of=other)
    await world.store.set_role(1, other.user_id, Role.MANAGER)
    found = await look(world)
    assert found is not None
    assert found.principal.role is Role.MANAGER
    await world.store.set_role(1, other.user_id, None)
    assert await look(world) is None
    assert await world.store.sessions_of(other.user_id, NOW, seen_since=IDLE_SINCE) == ()


async def test_it_ends_with_its_key(world: World) -> None:
    key = await a_key(world)
    await sign_in(world, key="key")
    found = await look(world)
    assert found is not None
    assert (found.is_by_key, found.principal.reaches_all) == (True, False)
    await world.store.revoke_api_key(key, later(1))
    assert await look(world) is None


async def test_it_ends_when_its_key_expires(world: World) -> None:
    await a_key(world, expires=later(HOUR))
    await sign_in(world, key="key")
    assert await look(world, now=later(HOUR - 1)) is not None
    assert await look(world, now=later(HOUR)) is None


async def test_it_needs_somebody_and_a_token_of_its_own(world: World) -> None:
    await sign_in(world)
    with pytest.raises(Conflict):
        await sign_in(world)
    with pytest.raises(NotFound):
        await sign_in(world, "e", key="no such key")
    nobody = Principal(9, world.principal.organization_uuid, 9, world.principal.user_uuid, "e", "n", None)
    with pytest.raises(NotFound):
        await sign_in(world, "f", of=nobody)


async def test_it_goes_to_another_organization_of_its_user(world: World) -> None:
    other = await world.store.add_organization("Other", world.principal.user_uuid, NOW)
    await sign_in(world)
    assert not await world.store.switch_session("d", other.id)
    await world.store.set_role(other.id, world.principal.user_id, Role.MEMBER)
    assert await world.store.switch_session("d", other.id)
    found = await look(world)
    assert found is not None
    assert (found.principal.organization_id, found.principal.role) == (other.id, Role.MEMBER)
    assert not await world.store.switch_session("e", other.id)
    await world.store.revoke_session(found.id, world.principal.user_id, NOW)
    assert not await world.store.switch_session("d", 1)


@pytest.mark.parametrize("reaches_all", [True, False])
async def test_one_of_a_key_goes_where_the_key_counts(world: World, reaches_all: bool) -> None:
    other = await world.store.add_organization("Other", world.principal.user_uuid, NOW)
    await world.store.set_role(other.id, world.principal.user_id, Role.MEMBER)
    await a_key(world, reaches_all=reaches_all)
    await sign_in(world, key="key")
    assert await world.store.switch_session("d", other.id) is reaches_all
    assert await world.store.switch_session("d", 1)


async def test_sessions_are_listed_as_they_were_used(world: World) -> None:
    other = await world.somebody()
    for number, digest in enumerate("abc"):
        await sign_in(world, digest, now=later(number))
    await sign_in(world, "other", of=other)
    await sign_in(world, "ended", hours=0.01)
    await look(world, "a", now=later(600))
    me = world.principal.user_id
    found = await world.store.sessions_of(me, later(600), seen_since=IDLE_SINCE)
    assert [(one.date_created, one.date_seen) for one in found] == [
        (NOW, later(600)),
        (later(2), later(2)),
        (later(1), later(1)),
    ]
    assert await world.store.sessions_of(me, later(600), seen_since=later(3)) == found[:1]


async def test_sessions_are_revoked_by_their_user_alone(world: World) -> None:
    other = await world.somebody()
    await sign_in(world)
    await sign_in(world, "e")
    await sign_in(world, "other", of=other)
    found = await look(world)
    assert found is not None
    me = world.principal.user_id
    assert not await world.store.revoke_session(found.id, other.user_id, later(1))
    assert await world.store.revoke_session(found.id, me, later(1))
    assert not await world.store.revoke_session(found.id, me, later(2))
    assert await look(world) is None
    assert await world.store.revoke_sessions(me, later(3)) == 1
    assert await look(world, "e") is None
    assert await look(world, "other") is not None


async def test_what_has_ended_is_forgotten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_sessions, "PORTION", 2)  # what the loop compares with; the statement has its own
    for number in range(5):
        await sign_in(world, str(number), hours=number + 1)
    assert await world.store.prune_sessions(later(3 * HOUR)) == 3
    assert await world.store.prune_sessions(later(3 * HOUR)) == 0
    await sign_in(world, "0")  # its token is free again
    assert await look(world, "4") is not None


@pytest.mark.parametrize("is_done", [True, False])
async def test_what_is_written_though_the_answer_is_lost(world: World, is_done: bool) -> None:
    world.store._executor = LostAnswers(world.store._executor, is_done=is_done)
    await sign_in(world)
    await sign_in(world, "e")
    found = await look(world, now=later(100))
    assert found is not None
    assert await world.store.switch_session("d", 1)
    me = world.principal.user_id
    assert await world.store.revoke_session(found.id, me, later(101))
    assert await world.store.revoke_sessions(me, later(102)) == 1
    assert await world.store.prune_sessions(later(11 * HOUR)) in {0, 2}  # it cannot know how many it had forgotten
    await world.store.set_password(me, "hash")
    await world.store.add_identity("i", "s", me, NOW)
    assert await world.store.password("ada@example.org") == (me, "hash")
    assert await world.store.identity("i", "s") == me


# ---- passwords and identities ----------------------------------------------------------------------------------------


async def test_a_password_is_found_by_the_address(world: World) -> None:
    me = world.principal.user_id
    assert await world.store.password("ada@example.org") is None
    await world.store.set_password(me, "hash")
    assert await world.store.password(" ADA@Example.org ") == (me, "hash")
    assert await world.store.password("nobody@example.org") is None
    await world.store.set_password(me, None)
    assert await world.store.password("ada@example.org") is None
    with pytest.raises(NotFound):
        await world.store.set_password(99, "hash")


async def test_an_identity_is_one_users(world: World) -> None:
    other, me = await world.somebody(), world.principal.user_id
    assert await world.store.identity("https://issuer.example", "ada ☃") is None
    for _ in range(2):
        await world.store.add_identity("https://issuer.example", "ada ☃", me, NOW)
    await world.store.add_identity("https://other.example", "ada ☃", other.user_id, NOW)
    assert await world.store.identity("https://issuer.example", "ada ☃") == me
    assert await world.store.identity("https://other.example", "ada ☃") == other.user_id
    with pytest.raises(Conflict):
        await world.store.add_identity("https://issuer.example", "ada ☃", other.user_id, NOW)
    with pytest.raises(NotFound):
        await world.store.add_identity("https://issuer.example", "bob", 99, NOW)
