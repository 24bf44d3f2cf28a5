"""Variables of repositories' environments, on each database."""

import asyncio
from collections.abc import Mapping

import pytest
from tests.support.directory import a_repository, another_process, losing
from tests.support.sealing import secret_rows
from tests.support.stores import NOW, World, later

from treadle.domain.errors import Conflict, NotFound
from treadle.domain.repository import Repository
from treadle.ports.trust import SealedVariable
from treadle.store.sql import SqlStore

pytestmark = pytest.mark.anyio

HOME = 1


async def put(store: SqlStore, repository: Repository, at: float = 0, **sealed: str) -> None:
    await store.put_repository_environment(repository.id, sealed, later(at), admit=lambda _: None)


async def test_variables_are_kept_by_their_names(world: World) -> None:
    repository = await world.store.add_repository(a_repository(HOME), {"git_http": "sealed"})
    other = await world.store.add_repository(a_repository(HOME, "group/other"), {})
    assert await world.store.repository_environment(repository.id) == ()
    await put(world.store, repository, B="2", A="1")
    await put(world.store, repository, 5, B="3", a="4")
    assert await world.store.repository_environment(repository.id) == (
        SealedVariable("A", NOW, "1"),
        SealedVariable("B", later(5), "3"),
        SealedVariable("a", later(5), "4"),
    )
    assert await world.store.repository_environment(other.id) == ()
    assert await world.store.repository_environment(999) == ()


async def test_they_are_no_credentials_and_credentials_no_variables(world: World) -> None:
    repository = await world.store.add_repository(a_repository(HOME), {"git_http": "sealed"})
    await put(world.store, repository, git_ssh="1")
    assert await world.store.repository_secrets(repository.id) == {"git_http": "sealed"}
    await world.store.update_repository(repository, {"git_http": None, "git_ssh": None}, NOW)
    assert [each.name for each in await world.store.repository_environment(repository.id)] == ["git_ssh"]


async def test_a_variable_is_removed(world: World) -> None:
    repository = await world.store.add_repository(a_repository(HOME), {"git_http": "sealed"})
    await put(world.store, repository, A="1", B="2")
    assert await world.store.remove_repository_variable(repository.id, "A")
    assert not await world.store.remove_repository_variable(repository.id, "A")
    assert not await world.store.remove_repository_variable(repository.id, "git_http")
    assert [each.name for each in await world.store.repository_environment(repository.id)] == ["B"]
    assert await world.store.repository_secrets(repository.id) == {"git_http": "sealed"}


async def test_they_go_with_the_repository(world: World) -> None:
    repository = await world.store.add_repository(a_repository(HOME), {"git_http": "sealed"})
    await put(world.store, repository, A="1")
    await world.store.remove_repository(repository.id)
    assert await world.store.repository_environment(repository.id) == ()
    assert await secret_rows(world.store) == []
    for id_ in (repository.id, 999):
        with pytest.raises(NotFound):
            await world.store.put_repository_environment(id_, {"A": "1"}, NOW, admit=lambda _: None)
        with pytest.raises(NotFound):
            await world.store.remove_repository_variable(id_, "A")
    assert await secret_rows(world.store) == []


async def test_what_is_not_admitted_is_not_put(world: World) -> None:
    repository = await world.store.add_repository(a_repository(HOME), {})
    await put(world.store, repository, A="1", B="2")
    seen = []

    def refuse(sealed: Mapping[str, str]) -> None:
        seen.append(dict(sealed))
        raise Conflict("Too many.")

    with pytest.raises(Conflict, match="Too many"):
        await world.store.put_repository_environment(repository.id, {"B": "3", "C": "4"}, NOW, admit=refuse)
    assert seen == [{"A": "1", "B": "3", "C": "4"}]
    assert [each.sealed for each in await world.store.repository_environment(repository.id)] == ["1", "2"]


async def test_puts_at_once_see_each_other(world: World) -> None:
    repository = await world.store.add_repository(a_repository(HOME), {})

    def at_most_five(sealed: Mapping[str, str]) -> None:
        if len(sealed) > 5:
            raise Conflict("Too many.")

    async with another_process(world) as other:
        done = await asyncio.gather(
            *(
                store.put_repository_environment(repository.id, {f"{name}{at}": "1"}, NOW, admit=at_most_five)
                for name, store in (("A", world.store), ("B", other))
                for at in range(10)
            ),
            return_exceptions=True,
        )
    assert sorted(str(each) for each in done) == ["None"] * 5 + ["Too many."] * 15
    assert len(await world.store.repository_environment(repository.id)) == 5


@pytest.mark.parametrize("was_saved", [False, True])
async def test_lost_answers_change_nothing(world: World, was_saved: bool) -> None:
    repository = await world.store.add_repository(a_repository(HOME), {})
    store = losing(world.store, was_saved=was_saved)
    await put(store, repository, A="1")
    assert [each.name for each in await world.store.repository_environment(repository.id)] == ["A"]
    assert await store.remove_repository_variable(repository.id, "A")
    assert await world.store.repository_environment(repository.id) == ()
