"""Renewals of licenses: one process's at a time, for all, on each database."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.directory import another_process, losing
from tests.support.stores import World

from treadle.ports.renewals import Renewal
from treadle.store.sql import SqlStore

pytestmark = pytest.mark.anyio

MINE, TAKEN = Renewal(is_mine=True), Renewal(is_mine=False)
#: The server's clock counts where there is one, so that these tests take place now.
NOW = datetime.now(UTC)
#: Of claims that are over at once, and of those that go on.
OVER, LONG = -1.0, 600.0


async def claim(
    store: SqlStore, holder: str, *, token: str = "t", seconds: float = LONG, instead_of: str | None = None
) -> Renewal:
    return await store.claim_renewal(token, holder, NOW, seconds=seconds, instead_of=instead_of)


async def test_one_of_many_has_it_and_the_others_find_what_follows(world: World) -> None:
    async with another_process(world) as other:
        holders = [f"holder {number}" for number in range(10)]
        found = await asyncio.gather(*(claim((world.store, other)[at % 2], one) for at, one in enumerate(holders)))
        assert sorted(found, key=lambda each: each.is_mine) == [TAKEN] * 9 + [MINE]
        assert await other.renewal("t") is None
        await world.store.finish_renewal("t", holders[found.index(MINE)], "sealed", NOW)
        for store in (world.store, other):
            assert await claim(store, "later") == Renewal(is_mine=False, follows="sealed")
            assert await store.renewal("t") == "sealed"


async def test_each_token_has_a_claim_of_its_own(world: World) -> None:
    assert [await claim(world.store, "a", token=each) for each in ("t", "u")] == [MINE, MINE]
    await world.store.finish_renewal("t", "a", "sealed", NOW)
    assert await world.store.renewal("u") is None
    await world.store.drop_renewal("u", "a")
    assert await world.store.renewal("t") == "sealed"


async def test_a_claim_that_outlives_its_holder_is_the_next_ones(world: World) -> None:
    assert await claim(world.store, "dead", seconds=OVER) == MINE
    assert await claim(world.store, "next") == MINE
    assert await claim(world.store, "third") == TAKEN


async def test_clocks_that_disagree_end_no_claim(world: World) -> None:
    if await world.store.time() is None:
        pytest.skip("one machine has one clock")
    assert await claim(world.store, "a") == MINE
    ahead, behind = NOW + timedelta(days=9), NOW - timedelta(days=9)
    assert await world.store.claim_renewal("t", "ahead", ahead, seconds=LONG) == TAKEN
    assert await world.store.claim_renewal("u", "behind", behind, seconds=LONG) == MINE
    assert await claim(world.store, "b", token="u") == TAKEN


async def test_one_that_was_given_up_is_the_next_ones(world: World) -> None:
    await claim(world.store, "a")
    await world.store.drop_renewal("t", "b")  # another's
    assert await claim(world.store, "b") == TAKEN
    await world.store.drop_renewal("t", "a")
    assert await claim(world.store, "b") == MINE


async def test_what_follows_is_given_up_by_nobody(world: World) -> None:
    await claim(world.store, "a")
    await world.store.finish_renewal("t", "a", "sealed", NOW)
    await world.store.drop_renewal("t", "a")
    assert await claim(world.store, "a") == Renewal(is_mine=False, follows="sealed")


async def test_whoever_is_late_says_what_follows_unless_another_has(world: World) -> None:
    await claim(world.store, "late", seconds=OVER)
    assert await claim(world.store, "next") == MINE
    await world.store.finish_renewal("t", "late", "late's", NOW)
    assert await world.store.renewal("t") == "late's"
    await world.store.finish_renewal("t", "next", "next's", NOW)
    await world.store.finish_renewal("t", "late", "late's", NOW)
    assert await world.store.renewal("t") == "next's"


async def test_a_token_that_stays_the_same_is_renewed_again(world: World) -> None:
    await claim(world.store, "a")
    await world.store.finish_renewal("t", "a", "first", NOW)
    found = await asyncio.gather(*(claim(world.store, each, instead_of="first") for each in "bcd"))
    assert sorted(found, key=lambda each: each.is_mine) == [TAKEN, TAKEN, MINE]
    await world.store.finish_renewal("t", "bcd"[found.index(MINE)], "second", NOW)
    assert await claim(world.store, "e", instead_of="first") == Renewal(is_mine=False, follows="second")


async def test_an_answer_that_is_lost_changes_nothing(world: World) -> None:
    """The connection breaks at the commit, which happened or not."""
    for was_saved in (True, False):
        token = f"token {was_saved}"
        unsure = losing(world.store, was_saved=was_saved)
        assert await claim(unsure, "a", token=token) == MINE
        assert await claim(world.store, "b", token=token) == TAKEN
        await unsure.finish_renewal(token, "a", "sealed", NOW)
        assert await world.store.renewal(token) == "sealed"


async def test_old_ones_are_forgotten(world: World) -> None:
    await claim(world.store, "a", token="claimed")
    await claim(world.store, "a", token="over", seconds=-86_400)
    await claim(world.store, "a", token="finished")
    await world.store.finish_renewal("finished", "a", "sealed", NOW)
    assert await world.store.prune_renewals(NOW - timedelta(hours=1)) == 1
    assert await claim(world.store, "b", token="claimed") == TAKEN
    assert await world.store.renewal("finished") == "sealed"
    assert await world.store.prune_renewals(NOW + timedelta(days=1)) == 2  # these tests may be a while in coming
    assert await world.store.renewal("finished") is None
