"""Organizations, users and keys, on each database."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest
from tests.support.directory import ODD, losing
from tests.support.stores import NOW, World, later

from treadle.domain.errors import Conflict, NotFound
from treadle.domain.identity import Principal, Role
from treadle.store.sql import SqlStore

pytestmark = pytest.mark.anyio


async def add_key(
    world: World,
    digest: str,
    *,
    expires: float | None = None,
    owner: Principal | None = None,
    reaches_all: bool = False,
) -> int:
    owner = owner or world.principal
    key = await world.store.add_api_key(
        owner.organization_id,
        owner.user_id,
        name="laptop",
        prefix="trd_ab",
        digest=digest,
        now=NOW,
        expires=None if expires is None else later(expires),
        reaches_all=reaches_all,
    )
    return key.id


async def test_a_new_database_is_empty(database_url: str) -> None:
    store = await SqlStore.open(database_url)
    try:
        assert await store.is_empty()
        await store.add_organization("Example", uuid4(), NOW)
        assert not await store.is_empty()
    finally:
        await store.close()


async def test_what_was_stored_is_there_after_a_restart(world: World) -> None:
    run = await world.run()
    await world.store.close()
    again = await SqlStore.open(world.url)
    try:
        await again.check()
        assert await again.get_run(run.uuid, world.mine) == run
    finally:
        await again.close()


async def test_the_first_organization_is_number_one(world: World) -> None:
    assert [one.id for one in await world.store.organizations()] == [1]
    second = await world.store.add_organization("Second ☃", uuid4(), later(1))
    first, listed = await world.store.organizations()
    assert (first.name, listed) == ("Example", second)
    with pytest.raises(Conflict):
        await world.store.add_organization("Third", second.uuid, NOW)


async def test_an_address_names_one_user_however_it_is_written(world: World) -> None:
    user = await world.store.add_user("Grace.Hopper@Example.org", "Grace", uuid4(), NOW)
    assert (user.email, user.name, user.date_created) == ("Grace.Hopper@Example.org", "Grace", NOW)
    assert await world.store.add_user("grace.hopper@example.ORG", "Other", uuid4(), later(1)) == user
    assert await world.store.find_user(" GRACE.hopper@example.org") == user
    with pytest.raises(NotFound):
        await world.store.find_user("nobody@example.org")


async def test_one_user_is_added_by_many_at_once(world: World) -> None:
    users = await asyncio.gather(*(world.store.add_user("x@example.org", "X", uuid4(), NOW) for _ in range(20)))
    assert len(set(users)) == 1


async def test_a_user_has_one_role_in_an_organization(world: World) -> None:
    home = world.principal.organization_id
    user = await world.store.add_user("x@example.org", "X", uuid4(), NOW)
    for role in (Role.MEMBER, Role.MANAGER):
        await world.store.set_role(home, user.id, role)
        assert (await world.store.users(home))[1:] == ((user, role),)
    await world.store.set_role(home, user.id, None)
    await world.store.set_role(home, user.id, None)
    assert [found.id for found, _ in await world.store.users(home)] == [world.principal.user_id]
    for organization_id, user_id in ((home, 999), (999, user.id)):
        for wanted in (Role.ADMIN, None):
            with pytest.raises(NotFound):
                await world.store.set_role(organization_id, user_id, wanted)


async def test_a_key_speaks_for_its_user_in_its_organization(world: World) -> None:
    await add_key(world, "d" * 64)
    assert await world.store.principal_by_key("d" * 64, NOW) == world.principal
    assert await world.store.principal_by_key("e" * 64, NOW) is None


async def test_a_key_says_whether_it_reaches_all_organizations_of_its_user(world: World) -> None:
    for digest, reaches_all in (("d" * 64, False), ("e" * 64, True)):
        await add_key(world, digest, reaches_all=reaches_all)
        assert await world.store.principal_by_key(digest, NOW) == replace(world.principal, reaches_all=reaches_all)
    assert [key.reaches_all for key in await world.store.api_keys(world.principal.organization_id)] == [False, True]


async def test_the_first_admins_key_reaches_its_organization(database_url: str) -> None:
    store = await SqlStore.open(database_url)
    try:
        for _ in range(2):
            made = await store.add_first_admin(
                ("Default", uuid4()), ("admin@localhost", "Admin", uuid4()), prefix="trd_", digest="d" * 64, now=NOW
            )
        assert made is None, "there is one already"
        found = await store.principal_by_key("d" * 64, NOW)
        assert found is not None
        assert (found.organization_id, found.role, found.reaches_all) == (1, Role.ADMIN, False)
    finally:
        await store.close()


@pytest.mark.parametrize("was_saved", [True, False])
async def test_an_answer_that_was_lost_makes_nothing_twice(world: World, was_saved: bool) -> None:
    store, uuid = losing(world.store, was_saved=was_saved), uuid4()
    organization = await store.add_organization(ODD, uuid, NOW)
    assert organization == (await world.store.organizations())[1]
    user = await store.add_user("x@example.org", ODD, uuid4(), NOW)
    for role in (Role.MANAGER, None, Role.ADMIN):
        await store.set_role(organization.id, user.id, role)
    assert await world.store.users(organization.id) == ((user, Role.ADMIN),)
    named = {"name": "laptop", "prefix": "trd_ab", "digest": "d" * 64, "now": NOW, "expires": later(9)}
    key = await store.add_api_key(organization.id, user.id, **named, reaches_all=True)  # type: ignore[arg-type]  # as add_api_key takes them
    assert await world.store.api_keys(organization.id) == (key,)
    with pytest.raises(Conflict):
        await store.add_api_key(organization.id, world.principal.user_id, **named)  # type: ignore[arg-type]  # as add_api_key takes them
    await store.revoke_api_key(key.id, later(1))
    (found,) = await world.store.api_keys(organization.id)
    assert found.date_revoked == later(1)
    with pytest.raises(NotFound):
        await store.revoke_api_key(key.id + 9, NOW)
    with pytest.raises(NotFound):
        await store.set_role(organization.id, 999, Role.MEMBER)


async def test_a_key_of_a_former_member_has_no_role(world: World) -> None:
    former = await world.somebody(role=Role.MANAGER)
    await add_key(world, "d" * 64, owner=former)
    await world.store.set_role(former.organization_id, former.user_id, None)
    found = await world.store.principal_by_key("d" * 64, NOW)
    assert found is not None
    assert (found.user_id, found.role) == (former.user_id, None)
    assert await world.store.principal_by_uuids(former.organization_uuid, former.user_uuid) is None


async def test_a_key_holds_until_it_expires(world: World) -> None:
    await add_key(world, "d" * 64, expires=60)
    assert await world.store.principal_by_key("d" * 64, later(59)) is not None
    assert await world.store.principal_by_key("d" * 64, later(60)) is None


async def test_a_revoked_key_stays_revoked(world: World) -> None:
    key_id = await add_key(world, "d" * 64)
    for seconds in (1, 2):
        await world.store.revoke_api_key(key_id, later(seconds))
    assert await world.store.principal_by_key("d" * 64, NOW) is None
    (key,) = await world.store.api_keys(world.principal.organization_id)
    assert (key.id, key.date_revoked, key.date_expires, key.prefix) == (key_id, later(1), None, "trd_ab")
    with pytest.raises(NotFound):
        await world.store.revoke_api_key(key_id + 1, NOW)


async def test_keys_are_the_organizations_own_and_unique(world: World) -> None:
    stranger = await world.stranger()
    await add_key(world, "d" * 64)
    await add_key(world, "e" * 64, owner=stranger)
    assert [key.user_id for key in await world.store.api_keys(stranger.organization_id)] == [stranger.user_id]
    with pytest.raises(Conflict):
        await add_key(world, "d" * 64, owner=stranger)
    with pytest.raises(NotFound):
        await world.store.add_api_key(1, 999, name="x", prefix="x", digest="f", now=NOW, expires=None)


async def test_members_are_found_by_uuids(world: World) -> None:
    stranger = await world.stranger()
    me = world.principal
    assert await world.store.principal_by_uuids(me.organization_uuid, me.user_uuid) == me
    assert await world.store.principal_by_uuids(stranger.organization_uuid, me.user_uuid) is None
    assert await world.store.principal_by_uuids(uuid4(), me.user_uuid) is None


async def test_signing_keys_are_newest_first(world: World) -> None:
    assert list(await world.store.signing_keys()) == []
    for name, seconds in (("b", 5), ("a", 1), ("c", 5)):
        await world.store.add_signing_key(name, f"sealed {name}", later(seconds))
    assert list(await world.store.signing_keys()) == [("c", "sealed c"), ("b", "sealed b"), ("a", "sealed a")]
    with pytest.raises(Conflict):
        await world.store.add_signing_key("a", "other", NOW)


async def test_an_organization_tells_its_limit(world: World) -> None:
    home = world.principal.organization_id
    for slots in (3, None):
        await world.store.set_slots(home, slots)
        [found] = [one for one in await world.store.organizations() if one.id == home]
        assert found.slots == slots
