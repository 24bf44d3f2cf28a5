"""Background work: due at a time, one process's at a time, and never lost."""

import asyncio

import pytest
from tests.support.stores import NOW, World, a_draft, later

from treadle.domain.states import RunStatus
from treadle.ports import Fence
from treadle.ports.chores import Chore, ChoreKind

pytestmark = pytest.mark.anyio

ALL = frozenset(ChoreKind)


async def claim(world: World, seconds: float = 0, *, kinds: frozenset[ChoreKind] = ALL) -> Chore | None:
    return await world.store.claim_chore("worker", later(seconds), lease_seconds=30, kinds=kinds)


async def claimed(world: World, seconds: float = 0) -> Chore:
    found = await claim(world, seconds)
    assert found is not None
    return found


async def test_it_is_claimed_when_it_is_due_and_by_one_alone(world: World) -> None:
    await world.store.plan_chore(ChoreKind.BATCH, 7, later(5))
    assert await claim(world, 4.9) is None
    assert await claim(world, 5) == Chore(ChoreKind.BATCH, 7, lease=1)
    assert await claim(world, 6) is None


async def test_the_one_that_has_waited_longest_is_first_and_only_kinds_that_are_asked_for(world: World) -> None:
    await world.store.plan_chore(ChoreKind.SCRIPT, 1, later(3))
    await world.store.plan_chore(ChoreKind.BATCH, 2, later(2))
    await world.store.plan_chore(ChoreKind.SCHEDULE, 3, later(1))
    assert await claim(world, 9, kinds=frozenset()) is None
    found = [await claim(world, 9, kinds=frozenset({ChoreKind.SCRIPT, ChoreKind.BATCH})) for _ in range(3)]
    assert [None if one is None else one.subject for one in found] == [2, 1, None]


async def test_one_that_was_forsaken_waits_for_none_that_came_after_it(world: World) -> None:
    await world.store.plan_chore(ChoreKind.BATCH, 1, NOW)
    assert (await claimed(world)).subject == 1  # for 30 s
    for subject, due in ((2, 29), (3, 31)):
        await world.store.plan_chore(ChoreKind.BATCH, subject, later(due))
    assert [(await claimed(world, 40)).subject for _ in range(3)] == [2, 1, 3]


async def test_an_earlier_date_counts_and_a_later_one_does_not(world: World) -> None:
    for seconds in (5, 3, 8):
        await world.store.plan_chore(ChoreKind.BATCH, 7, later(seconds))
    assert await claim(world, 2.9) is None
    assert await claim(world, 3) is not None


async def test_what_is_over_is_gone_and_what_is_due_again_comes_back(world: World) -> None:
    await world.store.plan_chore(ChoreKind.BATCH, 7, NOW)
    assert await world.store.end_chore(await claimed(world), again=later(60))
    assert await claim(world, 59) is None
    assert await world.store.end_chore(await claimed(world, 60), again=None)
    assert await claim(world, 1e6) is None


async def test_what_is_planned_while_it_is_done_is_done_once_more(world: World) -> None:
    await world.store.plan_chore(ChoreKind.BATCH, 7, NOW)
    first = await claimed(world)
    await world.store.plan_chore(ChoreKind.BATCH, 7, later(1))
    assert await claim(world, 2) is None
    assert await world.store.end_chore(first, again=None)
    second = await claimed(world, 2)
    assert second.lease == 2
    await world.store.plan_chore(ChoreKind.BATCH, 7, later(3))
    assert await world.store.end_chore(second, again=later(60))
    assert await claim(world, 3) is not None


async def test_a_lease_that_ran_out_goes_to_the_next_and_counts_as_a_try(world: World) -> None:
    await world.store.plan_chore(ChoreKind.BATCH, 7, NOW)
    lost = await claimed(world)
    assert await world.store.keep_chore(lost, later(20), lease_seconds=30)
    assert await claim(world, 49) is None
    assert await claim(world, 50) == Chore(ChoreKind.BATCH, 7, lease=2, tries=1)
    assert not await world.store.keep_chore(lost, later(51), lease_seconds=30)
    assert not await world.store.end_chore(lost, again=None)
    assert not await world.store.end_chore(lost, again=later(1))
    assert await claim(world, 52) is None


async def test_failures_are_counted_until_it_goes_well(world: World) -> None:
    await world.store.plan_chore(ChoreKind.BATCH, 7, NOW)
    for tries in range(3):
        chore = await claimed(world, tries)
        assert chore.tries == tries
        await world.store.end_chore(chore, again=later(tries + 1), failed=True)
    await world.store.end_chore(await claimed(world, 3), again=later(4))
    assert (await claimed(world, 4)).tries == 0


async def test_many_at_once_share_them_without_a_double(world: World) -> None:
    for subject in range(40):
        await world.store.plan_chore(ChoreKind.MESSAGES, subject, NOW)

    async def take_all() -> list[int]:
        found = list[int]()
        while len(found) < 40:
            chore = await claim(world)
            if chore is None:
                break
            found.append(chore.subject)
        return found

    shares = await asyncio.gather(*(take_all() for _ in range(4)))
    taken = [subject for share in (*shares, await take_all()) for subject in share]
    assert sorted(taken) == list(range(40))


async def test_the_end_of_a_run_wakes_who_watches_it(world: World) -> None:
    run = await world.run(a_draft("one"))
    for _ in range(2):
        await world.store.watch_run(run.id, ChoreKind.BATCH, 7, NOW)
    await world.store.watch_run(run.id, ChoreKind.SCRIPT, 8, NOW)
    assert await claim(world, 1e6) is None
    running = await world.store.claim("worker", later(1))
    assert running is not None
    await world.store.finish(Fence(running.id, running.lease), RunStatus.FAILED, "it broke", later(2))
    assert await claim(world, 1.9) is None
    assert {(await claimed(world, 2)).subject for _ in range(2)} == {7, 8}


async def test_a_killed_run_wakes_too_and_one_that_has_ended_at_once(world: World) -> None:
    run = await world.run(a_draft("one"))
    await world.store.watch_run(run.id, ChoreKind.BATCH, 7, NOW)
    await world.store.request_kill(run.id, later(1))
    await world.store.end_chore(await claimed(world, 1), again=None)
    await world.store.watch_run(run.id, ChoreKind.BATCH, 7, later(2))
    assert await claim(world, 2) is not None
