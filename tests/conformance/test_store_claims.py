"""Who is served next, and how many of an organization at once: fair, within limits, and as fast with a long queue."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from uuid import uuid4

import pytest
from sqlalchemy import bindparam
from tests.support.stores import NOW, World, a_draft, later

from treadle.domain.errors import NotFound
from treadle.domain.identity import Principal
from treadle.domain.run import Run
from treadle.domain.states import RunStatus
from treadle.ports import Fence, Statistics
from treadle.store.branch_key import branch_key
from treadle.store.prepared import Prepared
from treadle.store.session import Session
from treadle.store.sql import SqlStore
from treadle.store.tables import runs

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]

#: Rows that are put into the queue in one transaction.
AT_ONCE = 500


async def claim(world: World, *, slots: int | None = None) -> Run | None:
    return await world.store.claim("worker", NOW, organization_slots=slots)


async def served(world: World, count: int) -> list[int]:
    """The organizations of the next claims."""
    found = [await claim(world) for _ in range(count)]
    return [0 if run is None else run.organization_id for run in found]


async def end(world: World, run: Run) -> None:
    await world.store.finish(Fence(run.id, run.lease), RunStatus.SUCCESS, None, NOW)


async def fill(world: World, count: int, *, principal: Principal | None = None, branch: str | None = None) -> Run:
    """So many New runs at once, copied from one that is made properly and given back. `branch`: all on that one, which
    the first holds; None: each on its own."""
    owner = principal or world.principal
    pattern = await world.run(a_draft("one", branch=branch), principal=owner)
    names = [column.name for column in runs.columns if column.name != "id"]
    row = (
        await world.store._executor.read(
            lambda session: session.all(Prepared(runs.select().where(runs.c.id == pattern.id)))
        )
    )[0]
    values = dict(zip([column.name for column in runs.columns], row, strict=True))
    copies = [
        {name: values[name] for name in names}
        | {"uuid": str(uuid4())}
        | (
            {"holds_branch": False}
            if branch is not None
            else {"holds_branch": True, "branch_key": branch_key(owner.organization_id, values["git_url"], str(number))}
        )
        for number in range(count)
    ]
    statement = Prepared(runs.insert().values({name: bindparam(name, type_=runs.c[name].type) for name in names}))
    for start in range(0, count, AT_ONCE):  # a transaction has an end: a busy machine does not write all of it in time
        some = copies[start : start + AT_ONCE]
        await world.store._executor.write(partial(_put, statement, some))
    return pattern


def _put(statement: Prepared, rows: Sequence[Mapping[str, object]], session: Session) -> None:
    session.many(statement, rows)


async def test_organizations_take_turns_at_a_single_slot(world: World) -> None:
    """Nobody has anything Running when it is free: who was served longest ago is next, not who has waited longest."""
    mine, theirs = world.principal, await world.stranger()
    for _ in range(5):
        await world.run()
    for _ in range(2):
        await world.run(principal=theirs)
    order = []
    for second in range(7):
        run = await world.store.claim("worker", later(second))
        assert run is not None
        order.append(run.organization_id)
        await world.store.finish(Fence(run.id, run.lease), RunStatus.SUCCESS, None, later(second + 0.5))
    one, other = mine.organization_id, theirs.organization_id
    assert order == [one, other, one, other, one, one, one]


async def test_organizations_take_turns_however_many_runs_they_have(world: World) -> None:
    mine, theirs = world.principal, await world.stranger()
    for _ in range(6):
        await world.run()
    for _ in range(2):
        await world.run(principal=theirs)
    one, other = mine.organization_id, theirs.organization_id
    assert await served(world, 9) == [one, other, one, other, one, one, one, one, 0]


async def test_who_has_fewest_running_is_next(world: World) -> None:
    theirs = await world.stranger()
    for _ in range(3):
        await world.run()
    running = [await claim(world) for _ in range(3)]
    for _ in range(3):
        await world.run()
    for _ in range(4):
        await world.run(principal=theirs)
    one, other = world.principal.organization_id, theirs.organization_id
    assert await served(world, 3) == [other, other, other]
    for run in running[:2]:
        assert run is not None
        await end(world, run)
    assert await served(world, 3) == [one, one, one]  # 1, 2 and, by its oldest run, 3


async def test_of_equals_the_one_that_has_waited_longer_is_next(world: World) -> None:
    theirs = await world.stranger()
    first = await world.run(principal=theirs)
    await world.run()
    found = await claim(world)
    assert found is not None
    assert found.id == first.id


async def test_a_late_comer_is_served_before_a_queue_of_thousands(world: World) -> None:
    await fill(world, 3000)
    for _ in range(5):
        await claim(world)
    late = await world.run(principal=await world.stranger())
    found = await claim(world)
    assert found is not None
    assert found.id == late.id


@pytest.mark.parametrize(("own", "default", "most"), [(None, 2, 2), (3, None, 3), (3, 1, 3), (1, 5, 1), (0, 5, 0)])
async def test_an_organization_has_no_more_running_than_it_may(
    world: World, own: int | None, default: int | None, most: int
) -> None:
    await world.store.set_slots(world.principal.organization_id, own)
    made = [await world.run() for _ in range(5)]
    found = [await claim(world, slots=default) for _ in range(5)]
    claimed = [run for run in found if run is not None]
    assert [run.id for run in claimed] == [run.id for run in made[:most]]
    assert await world.store.claim("worker", NOW, run_id=made[-1].id, organization_slots=default) is None
    for run in claimed[:1]:
        await end(world, run)
        following = await claim(world, slots=default)
        assert following is not None
        assert following.id == made[most].id


async def test_one_organization_at_its_limit_holds_no_other_up(world: World) -> None:
    theirs = await world.stranger()
    for _ in range(3):
        await world.run()
    waiting = await world.run(principal=theirs)
    await world.store.set_slots(world.principal.organization_id, 0)
    found = await claim(world)
    assert found is not None
    assert found.id == waiting.id
    await world.store.set_slots(world.principal.organization_id, None)
    assert await claim(world) is not None


async def test_an_organization_that_there_is_not_has_no_slots(world: World) -> None:
    with pytest.raises(NotFound):
        await world.store.set_slots(77, 1)


async def test_many_who_claim_at_once_keep_the_limit(world: World) -> None:
    theirs = await world.stranger()
    for principal in (world.principal, theirs):
        for _ in range(20):
            await world.run(principal=principal)
    await world.store.set_slots(world.principal.organization_id, 3)
    other = await SqlStore.open(world.url)
    try:
        found = await asyncio.gather(
            *(
                (world.store, other)[number % 2].claim(f"worker{number}", NOW, organization_slots=7)
                for number in range(40)
            )
        )
    finally:
        await other.close()
    counted = Counter(run.organization_id for run in found if run is not None)
    assert counted[world.principal.organization_id] <= 3
    assert counted[theirs.organization_id] <= 7
    while await claim(world, slots=7) is not None:  # one may have given way to others who then did not claim
        pass
    statistics = await world.store.statistics(NOW)
    assert statistics.running == 10


async def test_processes_keep_limits_and_branches(world: World) -> None:
    """Each claimer notes what it had when; no two of a branch overlap, and no more of an organization than it may.
    That it may have as many, too, is the test's above: whether those of processes meet is the machine's affair."""
    theirs = await world.stranger()
    for number in range(40):
        await world.run(a_draft("one", branch=f"branch{number % 4}"))
        await world.run(a_draft("one"), principal=theirs)
    processes = [claimer(world.url, f"process{number}") for number in range(3)]
    try:
        held = [
            one for many in await asyncio.gather(*(asyncio.to_thread(read, one) for one in processes)) for one in many
        ]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert len(held) == 80
    assert most_at_once(held, "organization") <= 2
    assert most_at_once([one for one in held if one["organization"] != theirs.organization_id], "branch") == 1


def claimer(url: str, name: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.claimer", url, name, "--slots", "2"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def read(process: "subprocess.Popen[str]") -> list[dict[str, object]]:
    output, _ = process.communicate("go\n", timeout=120)
    assert process.returncode == 0
    held: list[dict[str, object]] = json.loads(output.splitlines()[-1])
    return held


def most_at_once(held: Sequence[dict[str, object]], key: str) -> int:
    """`since` was noted after the claim and `until` before the end, on one clock: overlaps are real."""
    changes = sorted(
        [(one["since"], 1, one[key]) for one in held] + [(one["until"], -1, one[key]) for one in held],
        key=lambda change: (change[0], change[1]),
    )
    now: Counter[object] = Counter()
    most = 0
    for _, change, which in changes:
        now[which] += change
        most = max(most, now[which])
    return most


async def is_as_quick(once: Callable[[], Awaitable[float]], as_this: float) -> bool:
    """Once of many times: each alone is at the mercy of what else the machine does, and what has more to do is never
    as quick."""
    for _ in range(500):
        if await once() < as_this:
            return True
    return False


@pytest.mark.parametrize("branch", [None, "one"], ids=["claimable", "blocked"])
async def test_a_claim_does_not_read_the_queue(world: World, branch: str | None) -> None:
    """Ten thousand in the queue beside none, in one database: a claim that read them would take fifty times as long."""
    first: Run | None = None

    async def once() -> float:
        run = await world.run(principal=quick)
        began = perf_counter()
        found = await claim(world)
        taken = perf_counter() - began
        assert found is not None
        assert found.id == run.id
        await end(world, found)
        return taken

    async def turn() -> float:
        nonlocal first
        assert first is not None
        began = perf_counter()
        await end(world, first)
        following = await claim(world)
        taken = perf_counter() - began
        assert following is not None
        assert following.branch_work == first.branch_work
        first = following
        return taken

    quick = await world.stranger()
    before = min([await once() for _ in range(40)])
    await fill(world, 10_000, branch=branch)
    first = await claim(world)
    assert await is_as_quick(once, 8 * before)
    assert await is_as_quick(turn, 20 * before)


async def test_figures_of_the_living(world: World) -> None:
    assert await world.store.statistics(NOW) == Statistics(0, 0, 0, 0.0, {}, 0)
    running, _ = await world.claimed(now=later(-50))
    await world.claimed(now=later(-50))
    await world.store.request_kill(running.id, NOW)
    _, ended = await world.claimed()
    await world.store.finish(ended, RunStatus.FAILED, None, NOW)
    await world.run(a_draft(branch="one"), now=later(-10))
    await world.run(a_draft(branch="one"), now=later(-9))
    found = await world.store.statistics(later(2.5))
    assert found == Statistics(2, 2, 1, 12.5, {"worker": 2}, 1)
