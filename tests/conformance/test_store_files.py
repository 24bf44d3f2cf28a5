"""Uploaded files, on each database."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest
from tests.support.stores import NOW, World, a_draft, later

from treadle.domain.errors import Conflict, NotFound
from treadle.domain.identity import Principal
from treadle.domain.run import StoredFile
from treadle.domain.states import RunStatus

pytestmark = pytest.mark.anyio


def a_file(owner: Principal, name: str = "notes ☃.txt") -> StoredFile:
    return StoredFile(uuid4(), owner.organization_id, owner.user_id, name, "text/plain", 3_000_000_000, "ab" * 32, NOW)


async def test_a_file_is_read_as_it_was_added(world: World) -> None:
    file = a_file(world.principal)
    await world.store.add_file(file)
    assert await world.store.get_file(file.id, file.organization_id, file.user_id) == file
    assert await world.store.get_file(file.id, file.organization_id, None) == file
    with pytest.raises(Conflict):
        await world.store.add_file(file)
    with pytest.raises(NotFound):
        await world.store.add_file(replace(file, id=uuid4(), user_id=999))


async def test_a_file_is_hidden_from_those_who_may_not_see_it(world: World) -> None:
    colleague, stranger = await world.somebody(), await world.stranger()
    file, theirs = a_file(world.principal), a_file(stranger)
    await world.store.add_file(file)
    await world.store.add_file(theirs)
    for organization_id, user_id in (
        (file.organization_id, colleague.user_id),
        (stranger.organization_id, None),
        (stranger.organization_id, file.user_id),
    ):
        with pytest.raises(NotFound):
            await world.store.get_file(file.id, organization_id, user_id)
        with pytest.raises(NotFound):
            await world.store.delete_file(file.id, organization_id, user_id)
        assert await world.store.known_files([file.id], organization_id, user_id) == frozenset()
    wanted = [file.id, theirs.id, uuid4()]
    assert await world.store.known_files(wanted, file.organization_id, file.user_id) == {file.id}
    assert await world.store.known_files(wanted, file.organization_id, None) == {file.id}
    assert await world.store.known_files([], file.organization_id, None) == frozenset()


async def test_files_are_listed_newest_first(world: World) -> None:
    colleague, stranger = await world.somebody(), await world.stranger()
    first, theirs, second, third = (
        a_file(owner) for owner in (world.principal, colleague, world.principal, world.principal)
    )
    for file in (first, theirs, a_file(stranger), second, third):
        await world.store.add_file(file)
    me = world.principal
    assert list(await world.store.list_files(me.organization_id, me.user_id, limit=10)) == [third, second, first]
    assert list(await world.store.list_files(me.organization_id, None, limit=10)) == [third, second, theirs, first]
    assert list(await world.store.list_files(me.organization_id, me.user_id, limit=1, skip=1)) == [second]


async def test_a_file_in_use_is_not_deleted(world: World) -> None:
    file = a_file(world.principal)
    await world.store.add_file(file)
    run, fence = await world.claimed(a_draft(file_ids=(file.id, file.id)))
    assert run.file_ids == (file.id, file.id)
    with pytest.raises(Conflict):
        await world.store.delete_file(file.id, file.organization_id, file.user_id)
    await world.store.finish(fence, RunStatus.SUCCESS, None, later(1))
    assert await world.store.delete_file(file.id, file.organization_id, file.user_id) == file
    with pytest.raises(NotFound):
        await world.store.get_file(file.id, file.organization_id, file.user_id)
    assert (await world.store.get_run_by_id(run.id)).file_ids == run.file_ids


async def test_a_file_deleted_meanwhile_takes_no_run_along(world: World) -> None:
    """Whichever comes first: no living run refers to a file that is gone."""
    for _ in range(10):
        file = a_file(world.principal)
        await world.store.add_file(file)
        made, deleted = await asyncio.gather(
            world.run(a_draft(file_ids=(file.id,))),
            world.store.delete_file(file.id, file.organization_id, file.user_id),
            return_exceptions=True,
        )
        assert isinstance(made, NotFound) or isinstance(deleted, Conflict)
