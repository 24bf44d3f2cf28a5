"""The bill of a month, on each database."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from tests.support.stores import NOW, World, a_draft

from treadle.domain.errors import LeaseLost, MonthUsedUp
from treadle.domain.run import Usage
from treadle.domain.states import Phase, RunStatus, StepStatus
from treadle.ports import Fence, StepUpdate
from treadle.ports.trust import MonthCost

pytestmark = pytest.mark.anyio

ONE = Usage(10, 5, 0.25, 700)
#: What a bill has of it.
BILLED = replace(ONE, duration_ms=0)


def answered(usage: Usage = ONE) -> StepUpdate:
    return StepUpdate(1, StepStatus.RUNNING, Phase.ANALYSIS, usage=usage)


async def test_what_a_step_uses_is_on_the_bill_of_the_month_and_the_user(world: World) -> None:
    other = await world.somebody()
    _, mine = await world.claimed()
    _, theirs = await world.claimed(principal=other)
    _, elsewhere = await world.claimed(principal=await world.stranger())
    for fence in (mine, mine, theirs, elsewhere):
        await world.store.record(fence, [], NOW, step=answered())
    await world.store.record(mine, [], NOW, step=StepUpdate(1, StepStatus.SUCCESS))
    assert await world.store.month_cost(1, NOW) == 0.75
    found = await world.store.month_costs(1, None, first="2031-04", last="2031-04")
    me = world.principal.user_id
    assert found == (MonthCost("2031-04", me, BILLED + BILLED), MonthCost("2031-04", other.user_id, BILLED))
    mine_alone = await world.store.month_costs(1, me, first="2031-04", last="2031-04")
    assert mine_alone == (MonthCost("2031-04", me, BILLED + BILLED),)
    run = await world.store.get_run_by_id(mine.run_id)
    assert run.usage == ONE + ONE


async def test_months_begin_and_end_in_utc(world: World) -> None:
    _, fence = await world.claimed()
    border = datetime(2031, 5, 1, tzinfo=UTC)
    west, east = (
        datetime.fromisoformat("2031-04-30T23:30:00-01:00"),
        datetime.fromisoformat("2031-05-01T01:30:00+02:00"),
    )
    for now in (border - timedelta(microseconds=1), border, west, east):
        await world.store.record(fence, [], now, step=answered())
    assert await world.store.month_cost(1, border - timedelta(days=1)) == 0.5  # the first, and east of Greenwich
    assert await world.store.month_cost(1, border) == 0.5
    assert await world.store.month_cost(1, border + timedelta(days=40)) == 0.0
    found = await world.store.month_costs(1, None, first="2031-01", last="2031-12")
    assert [cost.month for cost in found] == ["2031-05", "2031-04"]
    assert await world.store.month_costs(1, None, first="2031-06", last="2032-12") == ()


async def test_a_repeated_write_is_billed_once(world: World) -> None:
    _, fence = await world.claimed()
    for _ in range(3):  # the answer got lost
        await world.store.record(fence, [], NOW, step=answered(), write=1)
    await world.store.record(fence, [], NOW, step=answered(), write=2)
    assert await world.store.month_cost(1, NOW) == 0.5
    assert (await world.store.get_run_by_id(fence.run_id)).usage == ONE + ONE


async def test_a_worker_that_lost_its_lease_bills_nothing(world: World) -> None:
    _, fence = await world.claimed()
    with pytest.raises(LeaseLost):
        await world.store.record(Fence(fence.run_id, fence.lease + 1), [], NOW, step=answered())
    assert await world.store.month_cost(1, NOW) == 0.0


async def test_what_many_add_at_once_is_all_there(world: World) -> None:
    fences = [(await world.claimed())[1] for _ in range(8)]
    await asyncio.gather(
        *(world.store.record(fence, [], NOW, step=answered()) for fence in fences for _ in range(5)),
    )
    assert await world.store.month_cost(1, NOW) == 10.0
    (cost,) = await world.store.month_costs(1, None, first="2031-04", last="2031-04")
    assert cost.usage == Usage(400, 200, 10.0)


async def test_a_used_up_month_makes_no_run(world: World) -> None:
    _, fence = await world.claimed()
    await world.store.record(fence, [], NOW, step=answered())
    await world.store.finish(fence, RunStatus.FAILED, "why", NOW)
    before = await world.store.count_runs(world.organization)

    async def create(cap: float | None, now: datetime = NOW) -> None:
        await world.store.create_run(
            a_draft("x"), world.principal, uuid=uuid4(), step_ids=[uuid4()], secrets={}, now=now, monthly_cost_usd=cap
        )

    with pytest.raises(MonthUsedUp, match=r"have cost \$0\.25 in 2031-04, and may cost \$0\.25 until 2031-05-01 00:00"):
        await create(0.25)
    assert await world.store.count_runs(world.organization) == before
    await create(0.2501)
    await create(None)
    await create(0.25, NOW + timedelta(days=40))


async def test_budgets_and_policies_are_kept(world: World) -> None:
    organization = replace(await world.store.organization(1), default_max_cost_usd=0.1, monthly_cost_usd=1234.5678)
    await world.store.update_organization(organization)
    assert await world.store.organization(1) == organization
    await world.store.update_organization(replace(organization, default_max_cost_usd=None, monthly_cost_usd=None))
    found = await world.store.organization(1)
    assert (found.default_max_cost_usd, found.monthly_cost_usd) == (None, None)
