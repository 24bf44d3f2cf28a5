"""What is set for organizations and users, and who is a member, on each database."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest
from sqlalchemy import update
from tests.support.directory import ODD, PLAIN, another_process, losing, rewrite
from tests.support.stores import NOW, World

from treadle.domain.errors import NotFound
from treadle.domain.identity import Organization, Role, User
from treadle.domain.run import EngineName
from treadle.store.tables import organizations

pytestmark = pytest.mark.anyio


async def home_of(world: World) -> Organization:
    return await world.store.organization(world.principal.organization_id)


async def test_an_organization_begins_with_what_the_service_does(world: World) -> None:
    home = await home_of(world)
    assert home == Organization(1, world.principal.organization_uuid, "Example", NOW)
    assert list(await world.store.organizations()) == [home]
    with pytest.raises(NotFound):
        await world.store.organization(999)


async def test_an_organization_is_set_whole(world: World) -> None:
    other = await world.store.add_organization("Other", uuid4(), NOW)
    changed = replace(
        await home_of(world),
        name="Better",
        is_pr_creation_enabled=False,
        is_rules_detection_enabled=False,
        rules="Be kind.\n☃",
        default_engine=EngineName.KIMI,
        default_model="k2",
        default_repository_id=5,
        monthly_runs=100,
    )
    await world.store.update_organization(changed)
    assert await home_of(world) == changed
    assert list(await world.store.organizations()) == [changed, other]
    plainly = Organization(changed.id, changed.uuid, "Example", NOW)
    await world.store.update_organization(plainly)
    assert await home_of(world) == plainly
    with pytest.raises(NotFound):
        await world.store.update_organization(replace(changed, id=999))


async def test_settings_and_slots_do_not_overwrite_each_other(world: World) -> None:
    before = await home_of(world)
    await world.store.set_slots(before.id, 3)
    await world.store.update_organization(replace(before, rules="Be kind."))
    assert await home_of(world) == replace(before, rules="Be kind.", slots=3)
    await world.store.set_slots(before.id, None)
    assert await home_of(world) == replace(before, rules="Be kind.")


async def test_texts_are_kept_as_far_as_a_database_can(world: World) -> None:
    home = await home_of(world)
    await world.store.update_organization(replace(home, name=ODD, rules=ODD, default_model=ODD))
    assert await home_of(world) == replace(home, name=PLAIN, rules=PLAIN, default_model=PLAIN)
    user = await world.store.find_user("ada@example.org")
    odd = replace(user, name=ODD, rules=ODD, github_user_id=ODD, github_username=ODD, avatar_url=ODD)
    await world.store.update_user(odd)
    assert await world.store.find_user("ada@example.org") == replace(
        user, name=PLAIN, rules=PLAIN, github_user_id=PLAIN, github_username=PLAIN, avatar_url=PLAIN
    )


async def test_an_engine_of_another_version_is_no_default(world: World) -> None:
    await rewrite(world, update(organizations).values(default_engine="Nova"))
    assert (await home_of(world)).default_engine is None


async def test_a_user_is_set_whole(world: World) -> None:
    user = await world.store.find_user("ada@example.org")
    assert user == User(1, world.principal.user_uuid, "ada@example.org", "Ada", NOW)
    changed = replace(
        user,
        name="Ada L.",
        rules="Use tabs.",
        github_user_id="17",
        github_username="ada",
        avatar_url="https://a.example.org/a",
    )
    await world.store.update_user(replace(changed, email="other@example.org"))
    assert await world.store.find_user("ada@example.org") == changed
    assert await world.store.add_user("ADA@example.org", "Other", uuid4(), NOW) == changed
    assert await world.store.users(1) == ((changed, Role.ADMIN),)
    await world.store.update_user(user)
    assert await world.store.find_user("ada@example.org") == user
    with pytest.raises(NotFound):
        await world.store.update_user(replace(user, id=999))


async def test_a_user_has_its_organizations(world: World) -> None:
    user_id = world.principal.user_id
    second, third = [await world.store.add_organization(name, uuid4(), NOW) for name in ("Second", "Third")]
    await world.store.set_role(third.id, user_id, Role.MEMBER)
    await world.somebody(organization_id=second.id)
    assert list(await world.store.organizations_of(user_id)) == [
        (await home_of(world), Role.ADMIN),
        (third, Role.MEMBER),
    ]
    await world.store.set_role(third.id, user_id, None)
    assert [found.id for found, _ in await world.store.organizations_of(user_id)] == [1]
    assert list(await world.store.organizations_of(999)) == []


async def test_members_come_in_pages(world: World) -> None:
    await world.stranger()
    others = [await world.somebody(role=role) for role in (Role.MANAGER, Role.MEMBER, Role.ADMIN)]
    ids = [world.principal.user_id, *(one.user_id for one in others)]
    everybody = await world.store.users(1)
    assert await world.store.members(1, limit=100) == (everybody, 4)
    assert [user.id for user, _ in everybody] == ids
    assert await world.store.members(1, limit=2, skip=1) == (everybody[1:3], 4)
    assert await world.store.members(1, limit=2, skip=4) == ((), 4)
    assert await world.store.members(999, limit=2) == ((), 0)


async def test_a_member_is_found_in_its_own_organization(world: World) -> None:
    stranger = await world.stranger()
    assert await world.store.member(1, world.principal.user_id) == (
        await world.store.find_user("ada@example.org"),
        Role.ADMIN,
    )
    for organization_id, user_id in ((1, stranger.user_id), (1, 999), (999, 1)):
        with pytest.raises(NotFound):
            await world.store.member(organization_id, user_id)


async def test_a_user_is_who_it_is_in_each_organization(world: World) -> None:
    me, stranger = world.principal, await world.stranger()
    assert await world.store.principal_in(1, me.user_id) == me
    assert await world.store.principal_in(stranger.organization_id, me.user_id) is None
    await world.store.set_role(stranger.organization_id, me.user_id, Role.MEMBER)
    assert await world.store.principal_in(stranger.organization_id, me.user_id) == replace(
        me,
        organization_id=stranger.organization_id,
        organization_uuid=stranger.organization_uuid,
        role=Role.MEMBER,
    )
    await world.store.set_role(stranger.organization_id, me.user_id, None)
    for organization_id, user_id in ((stranger.organization_id, me.user_id), (1, 999), (999, me.user_id)):
        assert await world.store.principal_in(organization_id, user_id) is None


async def test_a_page_and_its_total_are_of_one_moment(world: World) -> None:
    """While another process takes members in and out."""
    comer = await world.somebody()
    async with another_process(world) as other:
        over = asyncio.Event()

        async def come_and_go() -> int:
            turns = 0
            while not over.is_set():
                await other.set_role(1, comer.user_id, None if turns % 2 else Role.MEMBER)
                turns += 1
            return turns

        task = asyncio.create_task(come_and_go())
        seen: set[int] = set()
        try:
            while seen != {1, 2}:
                found, total = await world.store.members(1, limit=100)
                assert len(found) == total
                seen.add(total)
            for _ in range(100):
                found, total = await world.store.members(1, limit=100)
                assert len(found) == total
        finally:
            over.set()
        assert await task > 0


@pytest.mark.parametrize("was_saved", [True, False])
async def test_settings_whose_answer_was_lost_are_there(world: World, was_saved: bool) -> None:
    store = losing(world.store, was_saved=was_saved)
    home = replace(await home_of(world), rules="Be kind.")
    await store.update_organization(home)
    assert await home_of(world) == home
    user = replace(await world.store.find_user("ada@example.org"), rules="Use tabs.")
    await store.update_user(user)
    assert await world.store.find_user("ada@example.org") == user
