"""Schedules: listed by their names, and removed while they fire."""

import asyncio
from contextlib import suppress
from uuid import uuid4

import pytest
from tests.support.stores import NOW, World, later

from treadle.domain.errors import Conflict, IdempotencyMismatch, NotFound
from treadle.domain.identity import Principal
from treadle.domain.schedule import Firing, Missed, Outcome, Overlap, Schedule
from treadle.ports import Idempotency
from treadle.ports.schedules import ScheduleDraft

pytestmark = pytest.mark.anyio


async def added(world: World, name: str, who: Principal, *, most: int = 99) -> Schedule:
    draft = ScheduleDraft(name, "@daily", "UTC", Missed.ONCE, Overlap.SKIP, {"kind": "plan"}, True, later(1))
    return await world.store.add_schedule(
        draft, world.principal.organization_id, who.user_id, uuid=uuid4(), now=NOW, most=most
    )


async def test_one_that_is_removed_while_it_fires_is_gone_with_its_firings(world: World) -> None:
    """Whoever writes a firing and whoever removes the schedule take turns, in whichever order."""

    async def asked_for(schedule_id: int, seconds: int) -> None:
        with suppress(NotFound):
            await world.store.add_firing(Firing(schedule_id, later(seconds), NOW, Outcome.WAITING))

    who = world.principal
    for time in range(10):
        made = await added(world, f"schedule {time}", who)
        due = made.date_next
        assert due is not None
        await world.store.add_firings(made.id, [Firing(made.id, due, NOW, Outcome.STARTED)], due=due, following=due)
        again = [Firing(made.id, each, NOW, Outcome.STARTED) for each in (due, later(2))]
        await asyncio.gather(
            world.store.add_firings(made.id, again, due=due, following=None),
            asked_for(made.id, 3),
            world.store.remove_schedule(made.id),
            asked_for(made.id, 4),
            world.store.add_firings(made.id, again, due=due, following=None),
        )
        with pytest.raises(NotFound):
            await world.store.schedule(made.id)
        assert await world.store.firings(made.id, limit=9) == ()


async def test_they_are_listed_by_their_names_a_page_at_a_time(world: World) -> None:
    who, other = world.principal, await world.somebody()
    for name, owner in (("c", who), ("a", who), ("d", other), ("b", who)):
        await added(world, name, owner)

    async def names(limit: int, after: str = "", user_id: int | None = None) -> str:
        found = await world.store.schedules(who.organization_id, limit=limit, after=after, user_id=user_id)
        return "".join(each.name for each in found)

    assert (await names(9), await names(2), await names(2, "b"), await names(2, "d")) == ("abcd", "ab", "cd", "")
    assert (await names(9, "a", who.user_id), await names(9, "", other.user_id)) == ("bc", "d")


async def test_of_many_that_are_added_at_once_an_organization_keeps_its_most(world: World) -> None:
    tries = [added(world, f"schedule {at}", world.principal, most=3) for at in range(8)]
    made = await asyncio.gather(*tries, return_exceptions=True)
    kept = [each for each in made if isinstance(each, Schedule)]
    assert len(kept) == 3
    assert {str(each) for each in made if each not in kept} == {"The organization has 3 schedules already."}
    assert all(isinstance(each, Conflict) for each in made if each not in kept)
    await world.store.remove_schedule(kept[0].id)
    await added(world, "another", world.principal, most=3)


async def test_one_key_asks_for_one_firing(world: World) -> None:
    who, other = world.principal, await world.somebody()
    made = await added(world, "nightly", who)

    async def fire(at: int, asked_by: Principal = who, digest: str = "d", key: str = "k") -> Firing:
        firing = Firing(made.id, later(at), later(at), Outcome.WAITING)
        return await world.store.add_firing(
            firing, asked_by=asked_by, idempotency=Idempotency(key, digest, later(at - 100))
        )

    found = await asyncio.gather(*(fire(at) for at in range(6)))
    assert len(set(found)) == 1
    assert await world.store.firings(made.id, limit=9) == (found[0],)
    with pytest.raises(IdempotencyMismatch):
        await fire(7, digest="another")
    assert {(await fire(8, other)).date_due, (await fire(9, key="j")).date_due} == {later(8), later(9)}
    assert (await fire(200)).date_due == later(200), "a key is forgotten"
    assert len(await world.store.firings(made.id, limit=9)) == 4
    await world.store.update_firing(Firing(made.id, later(8), later(8), Outcome.STARTED))
    await world.store.prune_firings(made.id, later(150))
    with pytest.raises(NotFound, match="not kept any more"):
        await fire(10, other)
