"""Registered repositories and what is set for them, on each database."""

import asyncio
from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import update
from tests.support.directory import ODD, PLAIN, a_repository, another_process, losing, rewrite
from tests.support.stores import NOW, World, a_draft, later

from treadle.domain.errors import Conflict, NotFound
from treadle.domain.repository import CheckSuiteSettings, ForgeAccess, ForgeKind, Repository, SetupStatus
from treadle.store.tables import repositories

pytestmark = pytest.mark.anyio

HOME = 1

SETTINGS = CheckSuiteSettings(
    retry_count=0,
    ignored_checks=("lint", "☃"),
    retry_counts={"build": 5},
    custom_prompts={"build": "Look at the log.\0"},
    high_priority_apps=("ci",),
)


def everything(repository: Repository) -> Repository:
    """All that `update_repository` sets."""
    return replace(
        repository,
        url="https://git.example.org/moved",
        default_branch="next",
        description="What it is.",
        visibility="private",
        is_archived=True,
        language="Python",
        forge=ForgeAccess(ForgeKind.GITEA, "https://git.example.org/api/v1"),
        forge_id="77",
        rules="No globals.",
    )


async def test_a_repository_is_found_with_its_secrets(world: World) -> None:
    repository = await world.store.add_repository(a_repository(HOME), {"git_http": "sealed"})
    bare = await world.store.add_repository(a_repository(HOME, "group/other"), {})
    assert repository.id != bare.id
    assert list(await world.store.repositories(HOME)) == [repository, bare]
    assert await world.store.repository(HOME, repository.id) == repository
    assert await world.store.find_repository(HOME, repository.url) == repository
    assert await world.store.repository_secrets(repository.id) == {"git_http": "sealed"}
    assert await world.store.repository_secrets(bare.id) == {}
    with pytest.raises(NotFound):
        await world.store.repository_secrets(999)


async def test_a_repository_is_kept_with_all_that_it_was_registered_with(world: World) -> None:
    given = replace(
        everything(a_repository(HOME)),
        setup_commands="make deps",
        setup_status=SetupStatus.READY,
        check_suite_settings=SETTINGS,
        check_names=("build", "☃"),
    )
    made = await world.store.add_repository(given, {})
    assert made == replace(given, id=made.id)
    assert await world.store.repository(HOME, made.id) == made


async def test_another_organizations_repository_is_not_found(world: World) -> None:
    stranger = await world.stranger()
    theirs = await world.store.add_repository(a_repository(stranger.organization_id), {})
    for organization_id, repository_id in ((HOME, theirs.id), (stranger.organization_id, 999), (999, theirs.id)):
        with pytest.raises(NotFound):
            await world.store.repository(organization_id, repository_id)
    assert await world.store.find_repository(HOME, theirs.url) is None


async def test_a_repositorys_name_is_its_organizations_own(world: World) -> None:
    stranger = await world.stranger()
    await world.store.add_repository(a_repository(HOME), {"git_http": "sealed"})
    with pytest.raises(Conflict):
        await world.store.add_repository(a_repository(HOME), {"git_http": "other"})
    theirs = await world.store.add_repository(a_repository(stranger.organization_id), {})
    assert list(await world.store.repositories(stranger.organization_id)) == [theirs]
    assert await world.store.find_repository(stranger.organization_id, "https://elsewhere") is None
    with pytest.raises(NotFound):
        await world.store.add_repository(a_repository(999), {})


async def test_of_processes_that_register_one_name_one_succeeds(world: World) -> None:
    async with another_process(world) as other:
        made = await asyncio.gather(
            *(store.add_repository(a_repository(HOME), {}) for store in (world.store, other) for _ in range(5)),
            return_exceptions=True,
        )
    [kept] = [one for one in made if isinstance(one, Repository)]
    assert {type(one) for one in made if one is not kept} == {Conflict}
    assert list(await world.store.repositories(HOME)) == [kept]


async def test_a_repository_changes(world: World) -> None:
    made = await world.store.add_repository(a_repository(HOME), {"git_http": "sealed"})
    other = await world.store.add_repository(a_repository(HOME, "group/other"), {})
    changed = everything(made)
    await world.store.update_repository(changed, None, NOW)
    assert list(await world.store.repositories(HOME)) == [changed, other]
    assert await world.store.find_repository(HOME, made.url) is None
    await world.store.update_repository(made, {}, NOW)
    assert await world.store.repository(HOME, made.id) == made
    assert await world.store.repository_secrets(made.id) == {"git_http": "sealed"}
    with pytest.raises(NotFound):
        await world.store.update_repository(replace(made, id=99), None, NOW)


async def test_what_has_a_setter_of_its_own_is_not_overwritten(world: World) -> None:
    made = await world.store.add_repository(a_repository(HOME), {})
    await world.store.set_setup(made.id, SetupStatus.READY, commands="make deps")
    await world.store.change_check_suite_settings(made.id, lambda _: SETTINGS)
    await world.store.set_check_names(made.id, ["build"])
    await world.store.update_repository(replace(made, rules="No globals.", name="group/renamed"), None, NOW)
    assert await world.store.repository(HOME, made.id) == replace(
        made,
        rules="No globals.",
        setup_commands="make deps",
        setup_status=SetupStatus.READY,
        check_suite_settings=SETTINGS,
        check_names=("build",),
    )


async def test_secrets_change_by_their_names(world: World) -> None:
    made = await world.store.add_repository(a_repository(HOME), {"git_http": "sealed", "forge_token": "token"})
    other = await world.store.add_repository(a_repository(HOME, "group/other"), {"git_http": "its own"})
    await world.store.update_repository(made, {"git_ssh": "key"}, later(1))
    assert await world.store.repository_secrets(made.id) == {
        "git_http": "sealed",
        "git_ssh": "key",
        "forge_token": "token",
    }
    await world.store.update_repository(made, {"git_http": None, "git_ssh": "newer"}, later(2))
    assert await world.store.repository_secrets(made.id) == {"git_ssh": "newer", "forge_token": "token"}
    await world.store.update_repository(made, {"git_http": None, "git_ssh": None, "forge_token": None}, later(3))
    assert await world.store.repository_secrets(made.id) == {}
    assert await world.store.repository_secrets(other.id) == {"git_http": "its own"}


async def test_a_repository_that_is_removed_leaves_its_runs(world: World) -> None:
    made = await world.store.add_repository(everything(a_repository(HOME)), {"git_http": "sealed"})
    await world.store.set_setup(made.id, SetupStatus.READY, commands="make deps")
    run = await world.run(a_draft(repository_id=made.id))
    await world.store.remove_repository(made.id)
    assert list(await world.store.repositories(HOME)) == []
    assert await world.store.repository_page(HOME, limit=10) == ((), 0)
    assert await world.store.find_repository(HOME, made.url) is None
    assert await world.store.find_repository(HOME, "") is None
    assert await world.store.repository_secrets(made.id) == {}
    assert (await world.store.get_run_by_id(run.id)).repository_id == made.id
    late = await world.run(a_draft(repository_id=made.id))  # of a process that has not noticed yet
    assert late.repository_id == made.id
    again = await world.store.add_repository(a_repository(HOME), {})
    assert list(await world.store.repositories(HOME)) == [again]


@pytest.mark.parametrize("was_there", [True, False])
async def test_one_that_is_gone_is_nowhere_found(world: World, was_there: bool) -> None:
    made = replace(a_repository(HOME), id=99)
    if was_there:
        made = await world.store.add_repository(a_repository(HOME), {})
        await world.store.remove_repository(made.id)
    with pytest.raises(NotFound):
        await world.store.repository(HOME, made.id)
    with pytest.raises(NotFound):
        await world.store.update_repository(made, {"git_http": "sealed"}, NOW)
    with pytest.raises(NotFound):
        await world.store.set_setup(made.id, SetupStatus.READY, commands="make deps")
    with pytest.raises(NotFound):
        await world.store.change_check_suite_settings(made.id, lambda _: SETTINGS)
    with pytest.raises(NotFound):
        await world.store.set_check_names(made.id, ["build"])
    with pytest.raises(NotFound):
        await world.store.remove_repository(made.id)
    assert list(await world.store.sandboxes(made.id, limit=10)) == []


async def test_nothing_of_a_removed_repository_is_left_in_its_row(world: World) -> None:
    made = await world.store.add_repository(
        replace(everything(a_repository(HOME)), setup_commands="make deps", setup_status=SetupStatus.READY), {}
    )
    await world.store.remove_repository(made.id)
    await rewrite(world, update(repositories).values(url="https://seen.example.org"))
    [left] = await world.store.repositories(HOME)
    assert (left.rules, left.setup_commands, left.setup_status) == (None, None, SetupStatus.NONE)


async def test_repositories_come_in_pages(world: World) -> None:
    stranger = await world.stranger()
    await world.store.add_repository(a_repository(stranger.organization_id), {})
    made = [await world.store.add_repository(a_repository(HOME, f"group/{name}"), {}) for name in "dacb"]
    gone = await world.store.add_repository(a_repository(HOME, "group/gone"), {})
    await world.store.remove_repository(gone.id)
    assert await world.store.repository_page(HOME, limit=10) == (tuple(made), 4)
    assert await world.store.repository_page(HOME, limit=2, skip=1) == (tuple(made[1:3]), 4)
    assert await world.store.repository_page(HOME, limit=2, skip=4) == ((), 4)
    assert await world.store.repository_page(999, limit=2) == ((), 0)


async def test_a_page_and_its_total_are_of_one_moment(world: World) -> None:
    """While another process registers more and more."""
    async with another_process(world) as other:
        adding = asyncio.gather(
            *(other.add_repository(a_repository(HOME, f"group/{number}"), {}) for number in range(100))
        )
        while not adding.done():
            found, total = await world.store.repository_page(HOME, limit=1000)
            assert len(found) == total
        await adding
    assert len(await world.store.repositories(HOME)) == 100


async def test_setup_commands_change_with_their_status(world: World) -> None:
    made = await world.store.add_repository(a_repository(HOME), {})
    for status, commands, kept in (
        (SetupStatus.GENERATING, None, None),
        (SetupStatus.READY, "make deps\n☃", "make deps\n☃"),
        (SetupStatus.FAILED, None, "make deps\n☃"),
        (SetupStatus.READY, ODD, PLAIN),
        (SetupStatus.NONE, "", None),
    ):
        await world.store.set_setup(made.id, status, commands=commands)
        found = await world.store.repository(HOME, made.id)
        assert (found.setup_status, found.setup_commands) == (status, kept)


def _instead(settings: CheckSuiteSettings, _known: CheckSuiteSettings) -> CheckSuiteSettings:
    return settings


async def test_changes_of_check_suite_settings_follow_one_another(world: World) -> None:
    made = await world.store.add_repository(a_repository(HOME), {})

    def one_more(known: CheckSuiteSettings) -> CheckSuiteSettings:
        return replace(known, ignored_checks=(*known.ignored_checks, "one"))

    await asyncio.gather(*(world.store.change_check_suite_settings(made.id, one_more) for _ in range(8)))
    found = await world.store.repository(HOME, made.id)
    assert found.check_suite_settings == replace(CheckSuiteSettings(), ignored_checks=("one",) * 8)
    with pytest.raises(NotFound):
        await world.store.change_check_suite_settings(99, one_more)


async def test_check_suite_settings_come_back_as_they_were(world: World) -> None:
    made = await world.store.add_repository(a_repository(HOME), {})
    other = await world.store.add_repository(a_repository(HOME, "group/other"), {})
    for settings in (SETTINGS, CheckSuiteSettings()):
        await world.store.change_check_suite_settings(made.id, partial(_instead, settings))
        assert (await world.store.repository(HOME, made.id)).check_suite_settings == settings
    for names in (("build", ODD, "build"), ()):
        await world.store.set_check_names(made.id, names)
        assert (await world.store.repository(HOME, made.id)).check_names == names
    assert await world.store.repository(HOME, other.id) == other


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ("", ""),
        ("no JSON", "{"),
        ("[]", "{}"),
        ("null", "null"),
        ("7", '"build"'),
        ('{"retry_count": "3", "ignored_checks": "lint", "retry_counts": [1], "custom_prompts": 7}', "[1, null]"),
        ('{"retry_count": true, "high_priority_apps": {"a": 1}, "custom_prompts": {"a": 1}}', "[[]]"),
        ('{"retry_counts": {"a": "1", "b": null, "c": false}, "of_a_later_version": {}}', "7"),
    ],
)
async def test_json_of_another_version_counts_as_far_as_it_is_understood(
    world: World, settings: str, names: str
) -> None:
    made = await world.store.add_repository(a_repository(HOME), {})
    await rewrite(world, update(repositories).values(check_suite_settings=settings, check_names=names))
    assert await world.store.repository(HOME, made.id) == made


async def test_words_of_another_version_count_as_none(world: World) -> None:
    made = await world.store.add_repository(everything(a_repository(HOME)), {})
    await rewrite(world, update(repositories).values(forge="bazaar", setup_status="ASLEEP"))
    found = await world.store.repository(HOME, made.id)
    assert found == replace(made, forge=None, setup_status=SetupStatus.NONE)


async def test_texts_are_kept_as_far_as_a_database_can(world: World) -> None:
    odd = ForgeAccess(ForgeKind.GITLAB, ODD)
    given = replace(
        a_repository(HOME, ODD), url=ODD, default_branch=ODD, description=ODD, visibility=ODD, language=ODD, forge=odd,
        forge_id=ODD, rules=ODD, setup_commands=ODD,
    )  # fmt: skip
    made = await world.store.add_repository(given, {})
    assert made == replace(
        given, id=made.id, name=PLAIN, url=PLAIN, default_branch=PLAIN, description=PLAIN, visibility=PLAIN,
        language=PLAIN, forge=ForgeAccess(ForgeKind.GITLAB, PLAIN), forge_id=PLAIN, rules=PLAIN, setup_commands=PLAIN,
    )  # fmt: skip
    assert await world.store.find_repository(HOME, ODD) == made
    await world.store.update_repository(replace(made, description=ODD), None, NOW)
    assert await world.store.repository(HOME, made.id) == made


@pytest.mark.parametrize("was_saved", [True, False])
async def test_an_answer_that_was_lost_changes_nothing_twice(world: World, was_saved: bool) -> None:
    store = losing(world.store, was_saved=was_saved)
    given = a_repository(HOME)
    made = await store.add_repository(given, {"git_http": "sealed"})
    assert list(await world.store.repositories(HOME)) == [made]
    with pytest.raises(Conflict):
        await store.add_repository(a_repository(HOME), {})
    await store.update_repository(everything(made), {"git_http": None, "git_ssh": "key"}, NOW)
    await store.set_setup(made.id, SetupStatus.READY, commands="make deps")
    await store.change_check_suite_settings(made.id, lambda _: SETTINGS)
    await store.set_check_names(made.id, ["build"])
    assert await world.store.repository_secrets(made.id) == {"git_ssh": "key"}
    found = await world.store.repository(HOME, made.id)
    assert (found.rules, found.setup_commands, found.check_names) == ("No globals.", "make deps", ("build",))
    await store.remove_repository(made.id)
    assert list(await world.store.repositories(HOME)) == []
    assert await world.store.repository_secrets(made.id) == {}
    with pytest.raises(NotFound):
        await store.remove_repository(99)
