"""Sessions elsewhere and their logs, on each database."""

import asyncio

import pytest
from tests.support.executors import LostAnswers
from tests.support.stores import NOW, World, later

from treadle.domain.errors import Conflict, NotFound, TooLarge
from treadle.domain.events import JsonObject
from treadle.domain.identity import FIRST_LOCAL_SESSION, LocalSession
from treadle.store.local_sessions import PORTION
from treadle.store.sql import SqlStore

pytestmark = pytest.mark.anyio

#: What no column takes as it is.
ODD: JsonObject = {"text": "a\0b \ud800 ☃", "of": [1, 2.5, None, True, {"deep": ["x"]}], "": {}}


async def opened(world: World, name: str = "one", seconds: float = 0) -> LocalSession:
    me = world.principal
    return await world.store.open_local_session(name, me.organization_id, me.user_id, later(seconds))


async def log(world: World, session: LocalSession, text: str = "x", *, most: int = 100) -> int:
    return await world.store.add_local_session_log(session.id, {"text": text}, NOW, most=most)


async def test_a_session_is_opened_once(world: World) -> None:
    first = await opened(world, "a ☃")
    assert first == LocalSession(FIRST_LOCAL_SESSION + 1, "a ☃", 1, world.principal.user_id, "ACTIVE", NOW, NOW)
    await world.store.set_local_session_status(first.id, "COMPLETE", later(5))
    again = await opened(world, "a ☃", 9)
    assert (again.id, again.status, again.date_created, again.date_updated) == (first.id, "COMPLETE", NOW, later(5))
    assert await world.store.local_session(1, session_id="a ☃") == again
    assert await world.store.local_session(1, id_=first.id) == again


async def test_a_session_is_opened_once_by_many_at_once(world: World) -> None:
    assert len({session.id for session in await asyncio.gather(*(opened(world) for _ in range(20)))}) == 1


async def test_a_name_is_its_users_own_in_an_organization(world: World) -> None:
    mine = await opened(world)
    other, stranger = await world.somebody(), await world.stranger()
    with pytest.raises(Conflict):
        await world.store.open_local_session("one", 1, other.user_id, NOW)
    theirs = await world.store.open_local_session("one", stranger.organization_id, stranger.user_id, NOW)
    assert theirs.id != mine.id
    for organization_id, user_id in ((99, world.principal.user_id), (1, 99)):
        with pytest.raises(NotFound):
            await world.store.open_local_session("two", organization_id, user_id, NOW)


async def test_what_is_not_there_is_not_found(world: World) -> None:
    session, stranger = await opened(world), await world.stranger()
    for id_ in (0, 1, -1, FIRST_LOCAL_SESSION, session.id + 1, 1 << 63, 10**30, -(10**30)):
        with pytest.raises(NotFound):
            await world.store.local_session(1, id_=id_)
        with pytest.raises(NotFound):
            await world.store.set_local_session_status(id_, "ACTIVE", NOW)
        with pytest.raises(NotFound):
            await world.store.add_local_session_log(id_, {}, NOW, most=1)
        with pytest.raises(NotFound):
            await world.store.local_session_logs(id_, limit=1)
    with pytest.raises(NotFound):
        await world.store.local_session(1, session_id="two")
    with pytest.raises(NotFound):
        await world.store.local_session(stranger.organization_id, id_=session.id)
    with pytest.raises(NotFound):
        await world.store.local_session(stranger.organization_id, session_id="one")


async def test_sessions_are_listed_newest_first(world: World) -> None:
    other, stranger = await world.somebody(), await world.stranger()
    mine = [await opened(world, str(number)) for number in range(3)]
    theirs = await world.store.open_local_session("theirs", 1, other.user_id, NOW)
    await world.store.open_local_session("x", stranger.organization_id, stranger.user_id, NOW)
    assert await world.store.local_sessions(1, None, limit=10) == ((theirs, *reversed(mine)), 4)
    assert await world.store.local_sessions(1, world.principal.user_id, limit=2) == ((mine[2], mine[1]), 3)
    assert await world.store.local_sessions(1, world.principal.user_id, limit=2, skip=2) == ((mine[0],), 3)
    assert await world.store.local_sessions(1, None, limit=2, skip=9) == ((), 4)
    assert await world.store.local_sessions(99, None, limit=2) == ((), 0)


async def test_a_log_is_read_in_pages_from_both_ends(world: World) -> None:
    session = await opened(world)
    assert await world.store.local_session_logs(session.id, limit=5) == ((), 0)
    assert [await log(world, session, str(number)) for number in range(1, 6)] == [1, 2, 3, 4, 5]

    async def numbers(*, limit: int, skip: int = 0, reverse: bool = False) -> list[int]:
        found, total = await world.store.local_session_logs(session.id, limit=limit, skip=skip, reverse=reverse)
        assert total == 5
        assert all(one.data == {"text": str(one.number)} for one in found)
        return [one.number for one in found]

    assert await numbers(limit=2) == [1, 2]
    assert await numbers(limit=2, skip=3) == [4, 5]
    assert await numbers(limit=2, skip=5) == []
    assert await numbers(limit=2, reverse=True) == [5, 4]
    assert await numbers(limit=9, skip=2, reverse=True) == [3, 2, 1]
    assert await numbers(limit=9, skip=7, reverse=True) == []


async def test_an_entry_is_kept_as_it_was(world: World) -> None:
    session = await opened(world)
    await world.store.add_local_session_log(session.id, ODD, later(3), most=1)
    (entry,), _ = await world.store.local_session_logs(session.id, limit=1)
    assert (entry.number, entry.data, entry.date) == (1, ODD, later(3))
    assert (await world.store.local_session(1, id_=session.id)).date_updated == later(3)


async def test_a_full_session_takes_no_more(world: World) -> None:
    session = await opened(world)
    for _ in range(3):
        await log(world, session, most=3)
    with pytest.raises(TooLarge, match="3"):
        await log(world, session, most=3)
    assert (await world.store.local_session_logs(session.id, limit=9))[1] == 3


async def test_what_many_log_at_once_is_numbered_without_a_gap(world: World) -> None:
    session, elsewhere = await opened(world), await opened(world, "two")
    other = await SqlStore.open(world.url)
    try:
        numbers = await asyncio.gather(
            *(
                (world.store, other)[number % 2].add_local_session_log(session.id, {"number": number}, NOW, most=150)
                for number in range(200)
            ),
            return_exceptions=True,
        )
    finally:
        await other.close()
    given = {number: index for index, number in enumerate(numbers) if isinstance(number, int)}
    assert sorted(given) == list(range(1, 151))
    assert sum(isinstance(number, TooLarge) for number in numbers) == 50
    entries, total = await world.store.local_session_logs(session.id, limit=200)
    assert total == 150
    assert [(one.number, one.data["number"]) for one in entries] == sorted(given.items())
    assert await log(world, elsewhere) == 1


@pytest.mark.parametrize("is_done", [True, False])
async def test_what_is_said_twice_counts_once(world: World, is_done: bool) -> None:
    world.store._executor = LostAnswers(world.store._executor, is_done=is_done)
    session = await opened(world)
    assert session == await opened(world)
    assert [await log(world, session, text, most=3) for text in "aab"] == [1, 2, 3]
    await world.store.set_local_session_status(session.id, "ERROR", later(1))
    entries, _ = await world.store.local_session_logs(session.id, limit=9)
    assert [one.data["text"] for one in entries] == ["a", "a", "b"]


async def test_old_sessions_are_pruned_with_their_logs(world: World) -> None:
    old, talkative, young = await opened(world, "old"), await opened(world, "talkative"), await opened(world, "young")
    for _ in range(PORTION + 1):
        await log(world, talkative, most=PORTION + 1)
    await world.store.set_local_session_status(young.id, "ACTIVE", later(100))
    assert await world.store.prune_local_sessions(later(50)) == 2
    assert await world.store.prune_local_sessions(later(50)) == 0
    assert (await world.store.local_sessions(1, None, limit=10))[0][0].session_id == "young"
    for gone in (old, talkative):
        with pytest.raises(NotFound):
            await world.store.local_session_logs(gone.id, limit=1)
