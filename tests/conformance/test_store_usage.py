"""What runs used, by day, user and repository, on each database."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.stores import World, a_draft

from treadle.domain.identity import Principal
from treadle.domain.run import Run, Usage
from treadle.domain.states import Phase, RunStatus, StepStatus
from treadle.ports import Fence, StepUpdate
from treadle.ports.page import UsageBy, UsageRow

pytestmark = pytest.mark.anyio

#: Midnight, in UTC.
DAY = datetime(2031, 4, 5, tzinfo=UTC)
ALL = (DAY - timedelta(days=9), DAY + timedelta(days=9))


async def used(
    world: World,
    hours: float,
    *usages: Usage,
    status: RunStatus | None = RunStatus.SUCCESS,
    of: Principal | None = None,
    url: str | None = None,
) -> Run:
    """A run of that hour with a step for each of `usages`, which has ended so (None: it lives)."""
    now = DAY + timedelta(hours=hours)
    draft = a_draft(*["step"] * max(1, len(usages)))
    made = await world.run(replace(draft, git_url=url or draft.git_url), principal=of, now=now)
    if status is None:
        return made
    run = await world.store.claim("worker", now, run_id=made.id)
    assert run is not None
    fence = Fence(run.id, run.lease)
    for position, usage in enumerate(usages, 1):
        await world.store.record(
            fence, [], now, step=StepUpdate(position, StepStatus.RUNNING, Phase.ANALYSIS, usage=usage)
        )
        await world.store.record(fence, [], now, step=StepUpdate(position, StepStatus.SUCCESS))
    await world.store.finish(fence, status, "why" if status is RunStatus.FAILED else None, now)
    return made


async def rows(world: World, by: UsageBy, *, user: int | None = None) -> list[UsageRow]:
    return list(await world.store.usage(1, user, since=ALL[0], until=ALL[1], by=by))


ONE, TWO = Usage(1, 20, 0.5, 3000), Usage(10, 2, 0.25, 500)
#: More than 32 bits hold.
MUCH = Usage(5_000_000_000, 1, 0.0, 4_000_000_000)


async def test_by_day_a_run_counts_when_it_was_made(world: World) -> None:
    await used(world, 0, ONE, TWO)
    await used(world, 23.999, TWO, status=RunStatus.FAILED)
    await used(world, 24, MUCH, MUCH)
    await used(world, -0.001, status=RunStatus.KILLED)
    await used(world, 49, status=None)
    assert await rows(world, UsageBy.DAY) == [
        UsageRow("2031-04-04", 1, 0, 0, Usage()),
        UsageRow("2031-04-05", 2, 1, 1, ONE + TWO + TWO),
        UsageRow("2031-04-06", 1, 1, 0, MUCH + MUCH),
        UsageRow("2031-04-07", 1, 0, 0, Usage()),
    ]


async def test_a_period_has_its_begin_and_not_its_end(world: World) -> None:
    for hours in (-1, 0, 1, 2):
        await used(world, hours, ONE)
    found = await world.store.usage(1, None, since=DAY, until=DAY + timedelta(hours=2), by=UsageBy.DAY)
    assert found == (UsageRow("2031-04-05", 2, 2, 0, ONE + ONE),)
    assert await world.store.usage(1, None, since=DAY + timedelta(hours=3), until=ALL[1], by=UsageBy.DAY) == ()


async def test_by_user_the_costliest_first(world: World) -> None:
    other, idle = await world.somebody(), await world.somebody()
    await used(world, 0, TWO)
    await used(world, 1, ONE, of=other)
    await used(world, 2, of=idle, status=None)
    await used(world, 3, of=await world.stranger())
    me = world.principal.user_id
    mine = UsageRow(str(me), 1, 1, 0, TWO)
    theirs = UsageRow(str(other.user_id), 1, 1, 0, ONE)
    assert await rows(world, UsageBy.USER) == [theirs, mine, UsageRow(str(idle.user_id), 1, 0, 0, Usage())]
    assert await rows(world, UsageBy.USER, user=me) == [mine]


async def test_by_repository(world: World) -> None:
    other = await world.somebody()
    await used(world, 0, TWO, url="https://git.example/a")
    await used(world, 100, ONE, url="https://git.example/b ☃")
    await used(world, 0, TWO, url="https://git.example/a", of=other, status=RunStatus.FAILED)
    assert await rows(world, UsageBy.REPOSITORY) == [
        UsageRow("https://git.example/a", 2, 1, 1, TWO + TWO),
        UsageRow("https://git.example/b ☃", 1, 1, 0, ONE),
    ]
    assert await rows(world, UsageBy.REPOSITORY, user=other.user_id) == [
        UsageRow("https://git.example/a", 1, 0, 1, TWO)
    ]


async def test_each_run_and_each_step_the_costliest_first(world: World) -> None:
    other = await world.somebody()
    cheap = await used(world, 0, TWO, TWO)
    dear = await used(world, 1, ONE, MUCH, status=RunStatus.FAILED, of=other)
    idle = await used(world, 2, status=None)
    await used(world, 3, ONE, of=await world.stranger())
    since, until = ALL

    async def each(by: UsageBy, user: int | None = None, limit: int = 9) -> list[UsageRow]:
        found = world.store.usage_of_each(1, user, since=since, until=until, by=by, limit=limit)
        return list(await found)

    def named(run: Run) -> str:
        return f"{run.git_url} {run.branch_work}"

    assert await each(UsageBy.RUN) == [
        UsageRow(str(dear.id), 1, 0, 1, ONE + MUCH, named(dear), dear.uuid),
        UsageRow(str(cheap.id), 1, 1, 0, TWO + TWO, named(cheap), cheap.uuid),
        UsageRow(str(idle.id), 1, 0, 0, Usage(), named(idle), idle.uuid),
    ]
    assert await each(UsageBy.STEP, limit=3) == [
        UsageRow(f"{dear.id}/1", 1, 1, 0, ONE, "step", dear.uuid),
        UsageRow(f"{cheap.id}/1", 1, 1, 0, TWO, "step", cheap.uuid),
        UsageRow(f"{cheap.id}/2", 1, 1, 0, TWO, "step", cheap.uuid),
    ]
    assert [row.key for row in await each(UsageBy.RUN, other.user_id)] == [str(dear.id)]
    until = DAY + timedelta(hours=1)
    assert [row.key for row in await each(UsageBy.RUN)] == [str(cheap.id)]
