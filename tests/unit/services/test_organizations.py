"""Organizations as their members see them."""

from dataclasses import replace

import pytest
from tests.support.deployment import Deployment

from treadle.domain.errors import Forbidden, InvalidInput, NotFound
from treadle.domain.identity import Organization, Principal, Role
from treadle.domain.run import EngineName
from treadle.services.organizations import MAX_RULES_BYTES


async def principal(here: Deployment, email: str, organization: int = 1, *, reaches_all: bool = False) -> Principal:
    """The user behind a new key."""
    identity = here.services.identity
    _, key = await identity.create_key(email, organization, reaches_all=reaches_all)
    return await identity.authenticate(key)


async def two_organizations(here: Deployment) -> Organization:
    """The second; Ada is a member of the first and a manager of the second, Bo an admin of the second alone."""
    identity = here.services.identity
    second = await identity.add_organization("Second")
    await identity.add_user("ada@example.com", 1, Role.MEMBER)
    await identity.add_user("ada@example.com", second.id, Role.MANAGER)
    await identity.add_user("bo@example.com", second.id, Role.ADMIN)
    return second


@pytest.mark.anyio
async def test_a_key_counts_in_its_own_organization_alone(here: Deployment) -> None:
    second = await two_organizations(here)
    ada, organizations = await principal(here, "ada@example.com"), here.services.organizations
    assert [(found.id, role) for found, role in await organizations.of(ada)] == [(1, Role.MEMBER)]
    assert await organizations.principal(ada, 1) == ada
    with pytest.raises(Forbidden) as foreign:
        await organizations.principal(ada, second.id)
    with pytest.raises(Forbidden) as missing:
        await organizations.principal(ada, 9)
    assert foreign.value.sentence() == missing.value.sentence()


@pytest.mark.anyio
async def test_a_key_for_all_counts_wherever_its_user_is_a_member(here: Deployment) -> None:
    second = await two_organizations(here)
    ada = await principal(here, "ada@example.com", reaches_all=True)
    organizations, identity = here.services.organizations, here.services.identity
    assert [(found.id, role) for found, role in await organizations.of(ada)] == [
        (1, Role.MEMBER),
        (second.id, Role.MANAGER),
    ]
    there = await organizations.principal(ada, second.id)
    assert (there.organization_uuid, there.role, there.reaches_all) == (second.uuid, Role.MANAGER, True)
    assert (await organizations.principal(there, 1)).role is Role.MEMBER, "and back"
    await identity.set_role(second.id, ada.user_id, None)
    with pytest.raises(Forbidden):
        await organizations.principal(ada, second.id)
    third = await identity.add_organization("Third")
    with pytest.raises(Forbidden):
        await organizations.principal(ada, third.id)


@pytest.mark.anyio
async def test_who_has_no_role_sees_nothing(here: Deployment) -> None:
    organizations = here.services.organizations
    nobody = replace(await principal(here, "admin@localhost"), role=None)
    assert await organizations.of(nobody) == ()
    for attempt in (
        organizations.principal(nobody, 1),
        organizations.members(nobody, limit=10),
        organizations.member(nobody, nobody.user_id),
        organizations.rules(nobody),
    ):
        with pytest.raises(Forbidden):
            await attempt


@pytest.mark.anyio
async def test_members_are_those_of_the_organization(here: Deployment) -> None:
    second = await two_organizations(here)
    ada, organizations = await principal(here, "ada@example.com", second.id), here.services.organizations
    found, total = await organizations.members(ada, limit=10)
    assert [(user.email, role) for user, role in found] == [
        ("ada@example.com", Role.MANAGER),
        ("bo@example.com", Role.ADMIN),
    ]
    page, same = await organizations.members(ada, limit=1, skip=1)
    assert (page, same, total) == (found[1:], 2, 2)
    assert (await organizations.member(ada, ada.user_id))[1] is Role.MANAGER
    with pytest.raises(NotFound, match=r"^User not found\.$"):
        await organizations.member(ada, here.admin.user.id)


@pytest.mark.anyio
async def test_what_is_set_is_kept(here: Deployment) -> None:
    organizations = here.services.organizations
    repository = await here.services.repositories.add(here.admin.organization, name="a/b", url="https://h/b")
    wanted = replace(
        await organizations.get(1),
        name=" Shop ",
        is_pr_creation_enabled=False,
        is_rules_detection_enabled=False,
        rules="Write tests.\n",
        default_engine=EngineName.KIMI,
        default_model="k2",
        default_repository_id=repository.id,
        monthly_runs=0,
    )
    saved = await organizations.save(wanted)
    assert saved == replace(wanted, name="Shop", rules="Write tests.")
    assert await organizations.get(1) == saved
    bare = await organizations.save(replace(saved, rules=" ", default_model="", default_repository_id=None))
    assert (bare.rules, bare.default_model) == (None, None)
    assert await organizations.get(1) == bare


@pytest.mark.anyio
async def test_rules_are_the_organization_s_and_the_user_s_own(here: Deployment) -> None:
    second = await two_organizations(here)
    organizations, identity = here.services.organizations, here.services.identity
    ada, bo = await principal(here, "ada@example.com", second.id), await principal(here, "bo@example.com", second.id)
    assert await organizations.rules(ada) == (None, None)
    await organizations.save(replace(second, rules="Ours."))
    await organizations.save_user(replace(await identity.find_user("ada@example.com"), rules="Mine."))
    assert await organizations.rules(ada) == ("Ours.", "Mine.")
    assert await organizations.rules(bo) == ("Ours.", None)
    assert await organizations.rules(await principal(here, "ada@example.com")) == (None, "Mine.")


@pytest.mark.anyio
async def test_every_fault_of_an_organization_is_named(here: Deployment) -> None:
    organizations = here.services.organizations
    second = await two_organizations(here)
    theirs = await here.services.repositories.add(second, name="a/b", url="https://h/b")
    known = await organizations.get(1)
    with pytest.raises(InvalidInput) as caught:
        await organizations.save(
            replace(
                known,
                name=" ",
                rules="é" * (MAX_RULES_BYTES // 2) + "x",
                default_model="--model",
                default_repository_id=theirs.id,
                monthly_runs=-1,
            )
        )
    assert set(caught.value.faults) == {"name", "rules", "default_model", "default_repository", "monthly_runs"}
    assert await organizations.get(1) == known
    await organizations.save(replace(known, rules="é" * (MAX_RULES_BYTES // 2)))
    with pytest.raises(NotFound):
        await organizations.save(replace(known, id=9))


@pytest.mark.anyio
async def test_what_is_known_of_a_user(here: Deployment) -> None:
    organizations, known = here.services.organizations, here.admin.user
    wanted = replace(
        known,
        name="Ada",
        github_user_id="7",
        github_username="ada",
        avatar_url="https://a.example/7.png",
        rules="Mine.",
    )
    assert await organizations.save_user(wanted) == wanted
    assert await here.services.identity.find_user(known.email) == wanted
    with pytest.raises(InvalidInput) as caught:
        await organizations.save_user(
            replace(
                known,
                name="",
                rules="x" * (MAX_RULES_BYTES + 1),
                github_user_id="7 8",
                github_username="x" * 201,
                avatar_url="javascript:alert(1)",
            )
        )
    assert set(caught.value.faults) == {"name", "rules", "github_user_id", "github_username", "avatar_url"}
    bare = await organizations.save_user(replace(wanted, rules="", github_user_id=" ", avatar_url=""))
    assert (bare.rules, bare.github_user_id, bare.avatar_url) == (None, None, None)
