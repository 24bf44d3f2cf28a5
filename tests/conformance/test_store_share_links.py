"""Links to one run, on each database."""

import pytest
from tests.support.executors import LostAnswers
from tests.support.stores import NOW, World, later

from treadle.domain.errors import Conflict, NotFound
from treadle.ports.page import ShareLink

pytestmark = pytest.mark.anyio


async def share(world: World, run_id: int, digest: str, *, made: float = 0, until: float = 100) -> ShareLink:
    return await world.store.add_share_link(digest, run_id, world.principal.user_id, later(made), later(until))


async def test_a_link_holds_until_it_expires(world: World) -> None:
    run = await world.run()
    link = await share(world, run.id, "d")
    assert link == ShareLink(link.id, run.id, world.principal.user_id, NOW, later(100))
    assert await world.store.share_link("d", later(99)) == link
    assert await world.store.share_link("d", later(100)) is None
    assert await world.store.share_link("e", NOW) is None


async def test_a_runs_links_are_listed_newest_first(world: World) -> None:
    run, other = await world.run(), await world.run()
    first, second = await share(world, run.id, "a", until=50), await share(world, run.id, "b", made=1)
    await share(world, other.id, "c")
    assert await world.store.share_links(run.id, later(1)) == (second, first)
    assert await world.store.share_links(run.id, later(50)) == (second,)


async def test_a_link_is_revoked_once_and_as_its_runs(world: World) -> None:
    run, other = await world.run(), await world.run()
    link = await share(world, run.id, "a")
    assert not await world.store.revoke_share_link(link.id, other.id, NOW)
    assert await world.store.share_link("a", NOW) == link
    assert await world.store.revoke_share_link(link.id, run.id, NOW)
    assert not await world.store.revoke_share_link(link.id, run.id, later(1))
    assert await world.store.share_link("a", NOW) is None
    assert await world.store.share_links(run.id, NOW) == ()


async def test_a_link_is_to_a_run_by_somebody(world: World) -> None:
    run = await world.run()
    await share(world, run.id, "a")
    with pytest.raises(Conflict):
        await share(world, run.id, "a")
    with pytest.raises(NotFound):
        await share(world, 99, "b")
    with pytest.raises(NotFound):
        await world.store.add_share_link("c", run.id, 99, NOW, later(1))


@pytest.mark.parametrize("is_done", [True, False])
async def test_a_link_whose_answer_is_lost(world: World, is_done: bool) -> None:
    run = await world.run()
    world.store._executor = LostAnswers(world.store._executor, is_done=is_done)
    link = await share(world, run.id, "a")
    assert await world.store.share_links(run.id, NOW) == (link,)
    assert await world.store.revoke_share_link(link.id, run.id, NOW)
