"""From schema 0001 to 0002 with live runs, while processes of both versions work."""

import pytest
from sqlalchemy import text
from tests.support.first_schema import Busy, FirstVersion, engine_of, first_schema
from tests.support.stores import NOW, World, a_draft, later

from treadle.domain.run import Run
from treadle.domain.states import RunStatus
from treadle.ports import Fence
from treadle.store import schema
from treadle.store.sql import SqlStore

pytestmark = pytest.mark.anyio


async def opened(url: str) -> World:
    store = await SqlStore.open(url)
    user = await store.find_user("a@b")
    (organization,) = await store.organizations()
    principal = await store.principal_by_uuids(organization.uuid, user.uuid)
    assert principal is not None
    return World(store, url, principal)


async def claim(world: World, seconds: float = 0) -> Run | None:
    return await world.store.claim("new", later(seconds))


async def sweep(world: World, seconds: float) -> None:
    await world.store.sweep(later(seconds), lease_seconds=1e6, kill_seconds=5, max_lost_workers=3)


def columns(url: str, what: str, where: str) -> list[object]:
    with engine_of(url).begin() as connection:
        return [row[0] for row in connection.execute(text(f"SELECT {what} FROM runs WHERE {where} ORDER BY id"))]


def every_status(old: FirstVersion) -> dict[str, int]:
    made = {status: old.create(status) for status in ("Success", "Failed", "Killed", "Running", "requeued")}
    for _ in made:
        old.claim()
    for status in ("Success", "Failed", "Killed"):
        old.move(made[status], status)
    old.move(made["requeued"], "New")
    made["New"] = old.create("New")
    return made


async def test_live_runs_of_every_status_go_on(database_url: str) -> None:
    old = first_schema(database_url)
    made = every_status(old)
    assert schema.upgrade(database_url) == "0001"
    assert schema.current(database_url) == schema.HEAD
    world = await opened(database_url)
    try:
        await world.store.check()
        for name, run_id in made.items():
            run = await world.store.get_run_by_id(run_id)
            assert run.status == ("New" if name == "requeued" else name)
            assert not run.is_blocked
            assert [event.number for event in await world.told(run_id)] == list(range(1, run.last_event + 1))
        running = Fence(made["Running"], 1)
        assert await world.store.record(running, [], NOW, write=1) == 2
        await world.store.finish(running, RunStatus.SUCCESS, None, NOW)
        claimed = [await claim(world, seconds) for seconds in range(3)]
        assert [run and (run.id, run.lease) for run in claimed] == [(made["requeued"], 2), (made["New"], 1), None]
    finally:
        await world.store.close()
    alive, gone = "branch_work IN ('New', 'requeued', 'Running')", "branch_work IN ('Success', 'Failed', 'Killed')"
    assert None not in columns(database_url, "branch_key", alive)
    assert columns(database_url, "branch_key", gone) == [None] * 3


async def test_runs_on_one_branch_get_their_turns(database_url: str) -> None:
    """Of those that run already nobody is stopped, and the first has the turn."""
    old = first_schema(database_url)
    first, second, third, fourth = [old.create("one") for _ in range(4)]
    assert [old.claim(), old.claim()] == [first, second]
    schema.upgrade(database_url)
    world = await opened(database_url)
    try:
        assert await claim(world) is None
        await world.store.record(Fence(second, 1), [], NOW)
        await world.store.finish(Fence(second, 1), RunStatus.SUCCESS, None, NOW)
        assert await claim(world) is None
        await world.store.finish(Fence(first, 1), RunStatus.SUCCESS, None, NOW)
        turned = await claim(world)
        assert turned is not None
        assert turned.id == third
        assert (await world.store.get_run_by_id(fourth)).is_blocked
    finally:
        await world.store.close()


async def test_what_two_versions_left_on_one_branch_is_taken_up(database_url: str) -> None:
    first_schema(database_url)
    schema.upgrade(database_url)
    old, world = FirstVersion(database_url), await opened(database_url)
    try:
        mine = await world.run(a_draft("one", branch="one"))
        theirs = old.create("one", url="https://git.example.org/group/project.git")
        claimed = await claim(world)
        assert claimed is not None
        assert claimed.id == mine.id
        assert await claim(world, 1) is None  # theirs is found, and waits
        assert (await world.store.get_run_by_id(theirs)).is_blocked
        old.move(mine.id, "Success")  # which hands nothing on
        await sweep(world, 2)
        found = await claim(world, 3)
        assert found is not None
        assert found.id == theirs
        old.move(theirs, "New")  # handed back by an old process: it keeps its turn
        again = await claim(world, 4)
        assert again is not None
        assert (again.id, again.lease) == (theirs, 2)
    finally:
        await world.store.close()


async def test_an_older_process_works_on_the_new_schema(database_url: str) -> None:
    first_schema(database_url)
    schema.upgrade(database_url)
    old, world = FirstVersion(database_url), await opened(database_url)
    try:
        made = [old.create("one"), old.create("two"), (await world.run()).id]
        assert [old.claim() for _ in made] == made
        for run_id in made:
            old.record(run_id)
            old.move(run_id, "Success")
        await sweep(world, 0)
        assert (await world.run(a_draft(branch="one"))).is_blocked is False
        assert [(await world.store.get_run_by_id(run_id)).status for run_id in made] == [RunStatus.SUCCESS] * 3
    finally:
        await world.store.close()


async def test_a_worker_goes_on_while_the_schema_changes(database_url: str) -> None:
    old = first_schema(database_url)
    run_id = old.create("one")
    for number in range(300):
        old.create(f"branch{number}")
    assert old.claim() == run_id
    busy = Busy(database_url, run_id)
    with busy.going_on():
        assert schema.upgrade(database_url) == "0001"
        world = await opened(database_url)
        try:
            claimed = await claim(world)
            assert claimed is not None
            assert claimed.id == run_id + 1
        finally:
            await world.store.close()
    assert busy.last > busy.first
    store = await SqlStore.open(database_url)
    try:
        events = [event.number for event in await store.events(run_id, limit=100_000)]
        assert events == list(range(1, busy.last + 1))
        assert len(await store.events(run_id, limit=100_000)) == (await store.get_run_by_id(run_id)).last_event
    finally:
        await store.close()
