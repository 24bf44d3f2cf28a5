"""Turns on work branches: two runs never share one at a time, and everybody who waits for one gets it."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import pytest
from sqlalchemy import text as literal
from tests.support.stores import NOW, World, a_draft, later

from treadle.domain.errors import AlreadyFinished, LeaseLost
from treadle.domain.run import Run, RunDraft
from treadle.domain.states import RunStatus
from treadle.ports import Fence, Sweep
from treadle.store import branches
from treadle.store.prepared import Prepared, Row
from treadle.store.sql import SqlStore
from treadle.store.tables import branch_holders

pytestmark = pytest.mark.anyio


async def sweep(world: World, seconds: float = 0) -> Sweep:
    return await world.store.sweep(later(seconds), lease_seconds=30, kill_seconds=5, max_lost_workers=3)


async def rows(world: World, statement: Prepared) -> Sequence[Row]:
    return await world.store._executor.read(lambda session: session.all(statement))


async def holders(world: World) -> set[str]:
    """UUIDs of the runs whose turn it is."""
    found = await rows(world, Prepared(branch_holders.select()))
    assert len({row[1] for row in found}) == len(found)
    return {row[1] for row in found}


async def blocked(world: World, run: Run) -> bool:
    return (await world.store.get_run_by_id(run.id)).is_blocked


async def claim(world: World, run: Run) -> Fence | None:
    found = await world.store.claim("worker", NOW, run_id=run.id)
    return None if found is None else Fence(found.id, found.lease)


async def test_the_second_on_a_branch_waits_for_the_end_of_the_first(world: World) -> None:
    first, second, third = [await world.run(a_draft(branch="one")) for _ in range(3)]
    assert [run.is_blocked for run in (first, second, third)] == [False, True, True]
    assert await world.store.get_run_by_id(second.id) == second
    assert await world.store.get_run_by_id(first.id) == first
    assert await claim(world, second) is None
    for run, following in ((first, second), (second, third), (third, None)):
        claimed = await world.store.claim("worker", later(1))
        assert claimed is not None
        assert (claimed.id, claimed.is_blocked) == (run.id, False)
        assert await world.store.claim("worker", later(1)) is None
        await world.store.finish(Fence(run.id, 1), RunStatus.SUCCESS, None, later(2))
        if following is not None:
            turned = await world.store.get_run_by_id(following.id)
            assert (turned.is_blocked, turned.date_updated) == (False, later(2))
    assert await holders(world) == set()


@pytest.mark.parametrize(
    "other",
    [
        replace(a_draft(branch="two")),
        replace(a_draft(branch="one"), git_url="https://git.example.org/group/another.git"),
        replace(a_draft(branch="one"), git_url="ssh://git@git.example.org/group/project.git"),
    ],
    ids=["branch", "repository", "way to it"],
)
async def test_another_branch_is_free(world: World, other: RunDraft) -> None:
    await world.run(a_draft(branch="one"))
    assert not (await world.run(other)).is_blocked


async def test_a_repository_is_one_however_its_address_is_written(world: World) -> None:
    await world.run(a_draft(branch="one"))
    for url in ("https://GIT.example.org:443/group/project", "https://git.example.org/group/project.git/"):
        assert (await world.run(replace(a_draft(branch="one"), git_url=url))).is_blocked


async def test_an_address_that_cannot_be_read_stands_for_itself(world: World) -> None:
    for is_blocked in (False, True):
        draft = replace(a_draft(branch="one"), git_url="x" * 5000)  # longer than an index can hold
        assert (await world.run(draft)).is_blocked is is_blocked


async def test_another_organization_is_not_kept_waiting(world: World) -> None:
    await world.run(a_draft(branch="one"))
    assert not (await world.run(a_draft(branch="one"), principal=await world.stranger())).is_blocked


@pytest.mark.parametrize("status", [RunStatus.SUCCESS, RunStatus.FAILED, RunStatus.KILLED])
async def test_every_end_gives_the_branch_on(world: World, status: RunStatus) -> None:
    _, fence = await world.claimed(a_draft(branch="one"))
    second = await world.run(a_draft(branch="one"))
    await world.store.finish(fence, status, "because", NOW)
    assert not await blocked(world, second)


async def test_a_killed_new_run_gives_the_branch_on(world: World) -> None:
    first, second = [await world.run(a_draft(branch="one")) for _ in range(2)]
    await world.store.request_kill(first.id, NOW)
    assert not await blocked(world, second)


async def test_a_run_that_waits_may_be_killed(world: World) -> None:
    first, second, third = [await world.run(a_draft(branch="one")) for _ in range(3)]
    assert await world.store.request_kill(second.id, NOW) is RunStatus.KILLED
    assert await holders(world) == {str(first.uuid)}
    assert await blocked(world, third)
    await world.store.request_kill(first.id, NOW)
    assert await holders(world) == {str(third.uuid)}
    assert not await blocked(world, third)


async def test_a_run_that_is_handed_back_keeps_its_turn(world: World) -> None:
    first, fence = await world.claimed(a_draft(branch="one"))
    second = await world.run(a_draft(branch="one"))
    await world.store.release(fence, NOW)
    assert await blocked(world, second)
    assert await claim(world, first) == Fence(first.id, 2)
    swept = await sweep(world, 40)
    assert swept.requeued == (first.id,)
    assert await blocked(world, second)
    assert not await blocked(world, first)


async def test_a_sweep_that_ends_a_run_gives_the_branch_on(world: World) -> None:
    first, _ = await world.claimed(a_draft(branch="one"))
    second = await world.run(a_draft(branch="one"))
    await world.store.request_kill(first.id, NOW)
    assert (await sweep(world, 10)).killed == (first.id,)
    assert not await blocked(world, second)


async def test_a_sweep_names_no_run_that_waits_for_its_branch(world: World) -> None:
    first, _ = [await world.run(a_draft(branch="one")) for _ in range(2)]
    assert (await sweep(world, 10)).waiting == (first.id,)


async def disorder(world: World, text: str) -> None:
    """What a process of the schema 0001 does, which knows nothing of branches."""
    statement = Prepared(literal(text))
    await world.store._executor.write(lambda session: session.run(statement))


async def test_a_run_of_an_older_process_gets_a_branch_when_it_is_claimed(world: World) -> None:
    first, fence = await world.claimed(a_draft(branch="one"))
    old = await world.run(a_draft(branch="two"))
    await disorder(
        world,
        "UPDATE runs SET branch_key = NULL, holds_branch = (1 = 1), branch_work = 'one' WHERE branch_work = 'two'",
    )
    await disorder(world, f"DELETE FROM branch_holders WHERE run_uuid = '{old.uuid}'")
    assert await world.store.claim("worker", NOW) is None
    assert await blocked(world, old)
    await world.store.finish(fence, RunStatus.SUCCESS, None, NOW)
    claimed = await world.store.claim("worker", NOW)
    assert claimed is not None
    assert claimed.id == old.id
    assert await holders(world) == {str(old.uuid)}
    assert claimed.id != first.id


async def test_a_sweep_gives_runs_of_older_processes_their_branches(world: World) -> None:
    running, fence = await world.claimed(a_draft(branch="one"))
    waiting = await world.run(a_draft(branch="two"))
    await disorder(world, "UPDATE runs SET branch_key = NULL")
    await disorder(world, "DELETE FROM branch_holders")
    await sweep(world)
    assert await holders(world) == {str(running.uuid), str(waiting.uuid)}
    assert (await world.run(a_draft(branch="one"))).is_blocked
    await world.store.finish(fence, RunStatus.SUCCESS, None, NOW)
    assert str(running.uuid) not in await holders(world)


async def test_a_sweep_gives_on_what_an_older_process_ended_without_leaving(world: World) -> None:
    first, second, third = [await world.run(a_draft(branch="one")) for _ in range(3)]
    await sweep(world)
    await disorder(world, f"UPDATE runs SET status = 'Killed', date_completed = 1 WHERE id = {first.id}")
    await sweep(world, 29)
    assert await blocked(world, second)  # it does not look so often
    await sweep(world, 30)
    assert await holders(world) == {str(second.uuid)}
    assert not await blocked(world, second)
    assert await blocked(world, third)


async def test_a_sweep_finds_a_branch_that_nobody_has(world: World) -> None:
    _, second, third = [await world.run(a_draft(branch="one")) for _ in range(3)]
    await disorder(world, "DELETE FROM branch_holders")
    await disorder(world, "UPDATE runs SET status = 'Killed', date_completed = 1 WHERE holds_branch")
    await asyncio.gather(*(sweep(world) for _ in range(4)))
    assert await holders(world) == {str(second.uuid)}
    assert not await blocked(world, second)
    assert await blocked(world, third)


class Chaos:
    """Workers, users and sweepers at once on a few branches; it notes who was Running where, and in which order."""

    def __init__(self, world: World, stores: Sequence[SqlStore], seed: int) -> None:
        self.world = world
        self.stores = stores
        self.random = random.Random(seed)
        self.made: list[Run] = []
        self.running: dict[str, int] = {}
        self.first_claims: dict[str, list[int]] = defaultdict(list)

    async def user(self, runs: int) -> None:
        for _ in range(runs):
            draft = a_draft("one", branch=f"branch{self.random.randrange(3)}")
            self.made.append(await self.world.run(draft))
            if self.random.random() < 0.3:
                with suppress(AlreadyFinished):
                    await self.random.choice(self.stores).request_kill(self.random.choice(self.made).id, NOW)

    async def worker(self, number: int, done: asyncio.Event) -> None:
        store = self.stores[number % len(self.stores)]
        while True:
            is_last = done.is_set()
            run = await store.claim(f"worker{number}", NOW)
            if run is not None:
                await self.work(store, run)
            elif is_last and not self.running:
                return
            else:
                await asyncio.sleep(0.002)

    async def work(self, store: SqlStore, run: Run) -> None:
        assert run.branch_work not in self.running, "two on one branch"
        self.running[run.branch_work] = run.id
        if run.lease == 1:
            self.first_claims[run.branch_work].append(run.id)
        await asyncio.sleep(self.random.random() * 0.01)
        del self.running[run.branch_work]  # before the end: the next may be claimed while this one still answers
        fence = Fence(run.id, run.lease)
        try:
            if self.random.random() < 0.3:
                await store.release(fence, NOW)
            else:
                await store.finish(fence, self.random.choice((RunStatus.SUCCESS, RunStatus.FAILED)), None, NOW)
        except LeaseLost:
            raise AssertionError("nobody else should have taken it") from None


@pytest.mark.parametrize("seed", range(3))
async def test_everybody_gets_the_branch_in_turn_whatever_happens(world: World, seed: int) -> None:
    other = await SqlStore.open(world.url)
    try:
        chaos = Chaos(world, [world.store, other], seed)
        done = asyncio.Event()
        workers = [asyncio.create_task(chaos.worker(number, done)) for number in range(6)]
        async with asyncio.timeout(120):
            await asyncio.gather(*(chaos.user(15) for _ in range(4)))
            done.set()
            await asyncio.gather(*workers)
    finally:
        await other.close()
    runs = [await world.store.get_run_by_id(run.id) for run in chaos.made]
    assert all(run.is_finished for run in runs)
    assert await holders(world) == set()
    assert not await rows(world, branches.FORSAKEN)
    for claimed in chaos.first_claims.values():
        assert claimed == sorted(claimed)
