"""Organizations, users, keys and repositories, on each database."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest
from tests.support.stores import NOW, World, a_draft, later

from treadle.domain.errors import Conflict, NotFound
from treadle.domain.identity import Principal, Role
from treadle.domain.repository import Repository
from treadle.store.sql import SqlStore

pytestmark = pytest.mark.anyio


async def add_key(world: World, digest: str, *, expires: float | None = None, owner: Principal | None = None) -> int:
    owner = owner or world.principal
    key = await world.store.add_api_key(
        owner.organization_id,
        owner.user_id,
        name="laptop",
        prefix="trd_ab",
        digest=digest,
        now=NOW,
        expires=None if expires is None else later(expires),
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


def a_repository(organization_id: int, name: str = "group/project") -> Repository:
    return Repository(0, uuid4(), organization_id, name, f"https://git.example.org/{name}.git", "trunk", NOW)


async def test_a_repository_is_found_with_its_secrets(world: World) -> None:
    home = world.principal.organization_id
    repository = await world.store.add_repository(a_repository(home), {"git_http": "sealed"})
    bare = await world.store.add_repository(a_repository(home, "group/other"), {})
    assert repository.id != bare.id
    assert list(await world.store.repositories(home)) == [repository, bare]
    assert await world.store.find_repository(home, repository.url) == repository
    assert await world.store.repository_secrets(repository.id) == {"git_http": "sealed"}
    assert await world.store.repository_secrets(bare.id) == {}
    with pytest.raises(NotFound):
        await world.store.repository_secrets(999)


async def test_a_repositorys_name_is_its_organizations_own(world: World) -> None:
    home, stranger = world.principal.organization_id, await world.stranger()
    await world.store.add_repository(a_repository(home), {"git_http": "sealed"})
    with pytest.raises(Conflict):
        await world.store.add_repository(a_repository(home), {"git_http": "other"})
    theirs = await world.store.add_repository(a_repository(stranger.organization_id), {})
    assert list(await world.store.repositories(stranger.organization_id)) == [theirs]
    assert await world.store.find_repository(stranger.organization_id, "https://elsewhere") is None
    with pytest.raises(NotFound):
        await world.store.add_repository(a_repository(999), {})


async def test_a_repository_changes_with_or_without_its_secrets(world: World) -> None:
    home = world.principal.organization_id
    made = await world.store.add_repository(a_repository(home), {"git_http": "sealed"})
    moved = replace(made, url="https://git.example.org/moved", default_branch="trunk")
    await world.store.update_repository(moved, None, NOW)
    assert list(await world.store.repositories(home)) == [moved]
    assert await world.store.find_repository(home, made.url) is None
    assert await world.store.repository_secrets(made.id) == {"git_http": "sealed"}
    await world.store.update_repository(moved, {"git_ssh": "key"}, NOW)
    assert await world.store.repository_secrets(made.id) == {"git_ssh": "key"}
    await world.store.update_repository(moved, {}, NOW)
    assert await world.store.repository_secrets(made.id) == {}
    with pytest.raises(NotFound):
        await world.store.update_repository(replace(made, id=99), None, NOW)


async def test_a_repository_that_is_removed_leaves_its_runs(world: World) -> None:
    home = world.principal.organization_id
    made = await world.store.add_repository(a_repository(home), {"git_http": "sealed"})
    run = await world.run(a_draft(repository_id=made.id))
    await world.store.remove_repository(made.id)
    assert list(await world.store.repositories(home)) == []
    assert await world.store.find_repository(home, made.url) is None
    assert await world.store.find_repository(home, "") is None
    assert await world.store.repository_secrets(made.id) == {}
    assert (await world.store.get_run_by_id(run.id)).repository_id == made.id
    late = await world.run(a_draft(repository_id=made.id))  # of a process that has not noticed yet
    assert late.repository_id == made.id
    again = await world.store.add_repository(a_repository(home), {})
    assert list(await world.store.repositories(home)) == [again]
    for gone in (made.id, 99):
        with pytest.raises(NotFound):
            await world.store.remove_repository(gone)
        with pytest.raises(NotFound):
            await world.store.update_repository(replace(made, id=gone), None, NOW)


async def test_an_organization_tells_its_limit(world: World) -> None:
    home = world.principal.organization_id
    for slots in (3, None):
        await world.store.set_slots(home, slots)
        [found] = [one for one in await world.store.organizations() if one.id == home]
        assert found.slots == slots
