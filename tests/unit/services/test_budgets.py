"""What runs may cost: at their beginning, while they go, and when they are gone on with."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from tests.support.deployment import Deployment, Member
from tests.support.stores import NOW, World, a_draft

from treadle.domain.errors import Conflict, Forbidden, InvalidInput, MonthUsedUp
from treadle.domain.events import Draft, EventType
from treadle.domain.identity import Principal, Role
from treadle.domain.money import dollars
from treadle.domain.months import month_end, month_of, months_from
from treadle.domain.run import FollowUp, Run, RunDraft, Usage
from treadle.domain.states import Phase, RunStatus, StepStatus
from treadle.ports import Fence, RunFilter, StepUpdate
from treadle.services.budgets import READ_SECONDS, BudgetChange, BudgetOf, BudgetPassed, RunBudget
from treadle.services.run_rules import MAX_COST_USD
from treadle.services.runs import Repeatable, RunRequest

pytestmark = pytest.mark.anyio


async def who(here: Deployment, member: Member) -> Principal:
    return await here.services.identity.authenticate(member.key)


async def spend(here: Deployment, fence: Fence, cost: float) -> None:
    """As a worker, with the answer of a model."""
    usage = StepUpdate(1, StepStatus.RUNNING, Phase.ANALYSIS, usage=Usage(1, 2, cost))
    await here.store.record(fence, [], here.clock.now(), step=usage)


async def cap(here: Deployment, **values: float | None) -> None:
    organizations = here.services.organizations
    await organizations.save(replace(await organizations.get(1), **values))  # type: ignore[arg-type]  # by their names


async def create(here: Deployment, member: Member, budget: float | None = None, **draft: object) -> Run:
    wanted = replace(a_draft("x"), max_cost_usd=budget, **draft)  # type: ignore[arg-type]  # as they are called
    return await here.services.runs.create(await who(here, member), RunRequest(wanted))


# ---- before a run


async def test_a_run_without_a_budget_gets_the_organizations(here: Deployment) -> None:
    assert (await create(here, here.admin)).max_cost_usd is None
    await cap(here, default_max_cost_usd=0.5)
    run = await create(here, here.admin)
    assert run.max_cost_usd == 0.5
    assert (await here.store.get_run_by_id(run.id)).max_cost_usd == 0.5
    assert (await create(here, here.admin, 0.25)).max_cost_usd == 0.25


async def test_who_may_ask_for_more_than_the_default(here: Deployment) -> None:
    member, manager = await here.member("ada@example.com"), await here.member("bob@example.com", Role.MANAGER)
    assert (await create(here, member, 100)).max_cost_usd == 100
    await cap(here, default_max_cost_usd=0.5)
    assert (await create(here, member, 0.5)).max_cost_usd == 0.5
    with pytest.raises(Forbidden, match=r"may cost \$0\.50, not \$0\.5001: it takes MANAGER"):
        await create(here, member, 0.5001)
    assert (await create(here, manager, 7)).max_cost_usd == 7


@pytest.mark.parametrize("amount", [0, -1, 0.00001, 0.12345, MAX_COST_USD + 1, float("nan"), float("inf")])
async def test_what_is_no_budget(here: Deployment, amount: float) -> None:
    with pytest.raises(InvalidInput) as caught:
        await create(here, here.admin, amount)
    assert list(caught.value.faults) == ["max_cost_usd"]
    with pytest.raises(InvalidInput) as caught:
        await cap(here, default_max_cost_usd=amount)
    assert list(caught.value.faults) == ["default_max_cost_usd"]
    assert await here.store.list_runs(RunFilter(1), limit=9) == ()


@pytest.mark.parametrize("amount", [0.0001, 0.01, 0.1, 0.3, 19.99, 1234.5678, MAX_COST_USD])
async def test_what_is_one(here: Deployment, amount: float) -> None:
    assert (await create(here, here.admin, amount)).max_cost_usd == amount


async def test_a_used_up_month_refuses_new_runs_and_says_until_when(here: Deployment) -> None:
    await create(here, here.admin)
    run, fence = await here.claim()
    await spend(here, fence, 0.25)
    await cap(here, monthly_cost_usd=0.25)
    with pytest.raises(MonthUsedUp) as caught:
        await create(here, here.admin)
    said = "The organization's runs have cost $0.25 in 2026-10, and may cost $0.25 until 2026-11-01 00:00 UTC."
    assert caught.value.message == said
    with pytest.raises(MonthUsedUp):
        await here.services.runs.resume(run, FollowUp("more"))
    await cap(here, monthly_cost_usd=0.26)
    await create(here, here.admin)
    await cap(here, monthly_cost_usd=0)
    with pytest.raises(MonthUsedUp):
        await create(here, here.admin)
    await cap(here, monthly_cost_usd=0.25)
    here.clock.time = datetime(2026, 11, 1, tzinfo=UTC)
    await create(here, here.admin)


async def test_a_repeated_call_finds_its_run_in_a_used_up_month(here: Deployment) -> None:
    me, key = await who(here, here.admin), Repeatable("key", "digest")
    made = await here.services.runs.create(me, RunRequest(a_draft("x")), key)
    await cap(here, monthly_cost_usd=0)
    again = await here.services.runs.create(me, RunRequest(a_draft("x")), key)
    assert again.id == made.id


async def test_the_report_and_who_may_change_it(here: Deployment) -> None:
    member, manager = await here.member("ada@example.com"), await here.member("bob@example.com", Role.MANAGER)
    await create(here, member)
    _, fence = await here.claim()
    await spend(here, fence, 0.125)
    budgets = here.services.budgets
    report = await budgets.report(await who(here, member))
    assert (report.spent_usd, report.remaining_usd, report.month) == (0.125, None, "2026-10")
    for somebody in (member, manager):
        with pytest.raises(Forbidden):
            await budgets.set(await who(here, somebody), BudgetChange(1, 2))
    me = await who(here, here.admin)
    report = await budgets.set(me, BudgetChange(monthly_cost_usd=1, given=frozenset({"monthly_cost_usd"})))
    assert (report.default_max_cost_usd, report.monthly_cost_usd, report.remaining_usd) == (None, 1, 0.875)
    report = await budgets.set(me, BudgetChange(default_max_cost_usd=0.1, given=frozenset({"default_max_cost_usd"})))
    assert (report.default_max_cost_usd, report.monthly_cost_usd) == (0.1, 1)
    assert (report.as_of, report.month_ends) == (here.clock.now(), datetime(2026, 11, 1, tzinfo=UTC))
    report = await budgets.set(me, BudgetChange(None, 0.1))
    assert (report.default_max_cost_usd, report.remaining_usd) == (None, 0.0)
    with pytest.raises(InvalidInput) as caught:
        await budgets.set(me, BudgetChange(0, -1))
    assert set(caught.value.faults) == {"default_max_cost_usd", "monthly_cost_usd"}


# ---- when it is gone on with


async def test_a_used_up_run_is_only_resumed_with_a_larger_budget(here: Deployment) -> None:
    member, manager = await here.member("ada@example.com"), await here.member("bob@example.com", Role.MANAGER)
    await cap(here, default_max_cost_usd=0.5)
    made = await create(here, member, 0.1)
    _, fence = await here.claim()
    await spend(here, fence, 0.1)
    await here.finish(fence, RunStatus.FAILED, "why")
    run, runs, me = await here.store.get_run_by_id(made.id), here.services.runs, await who(here, member)
    with pytest.raises(Conflict, match=r"has cost \$0\.10, and its budget is \$0\.10"):
        await runs.resume(run, FollowUp("more"))
    with pytest.raises(InvalidInput) as caught:
        await runs.resume(run, FollowUp("more"), max_cost_usd=0.1, principal=me)
    assert caught.value.faults == {"max_cost_usd": ("Must be more than the $0.10 that the run has cost.",)}
    with pytest.raises(Forbidden):
        await runs.resume(run, FollowUp("more"), max_cost_usd=0.6, principal=me)
    assert not (await here.store.get_run_by_id(made.id)).steps[1:]
    resumed = await runs.resume(run, FollowUp("more"), max_cost_usd=0.6, principal=await who(here, manager))
    assert (resumed.max_cost_usd, resumed.status) == (0.6, RunStatus.NEW)
    # What a MANAGER gave it, a MEMBER may leave it.
    resumed = await runs.resume(resumed, FollowUp("and more"), max_cost_usd=0.6, principal=me)
    resumed = await runs.resume(resumed, FollowUp("and more"))
    assert (resumed.max_cost_usd, len(resumed.steps)) == (0.6, 4)


# ---- while it goes, on each database


async def claimed(
    world: World, budget: float | None = None, *, principal: Principal | None = None
) -> tuple[Run, Fence]:
    draft: RunDraft = replace(a_draft("x"), max_cost_usd=budget)
    return await world.claimed(draft, principal=principal or world.principal)


class Ticking:
    """ports.Clock: moves when a test says so."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


async def answered(world: World, fence: Fence, budget: RunBudget, cost: float) -> None:
    budget.add(Usage(cost_usd=cost))
    step = StepUpdate(1, StepStatus.RUNNING, Phase.ANALYSIS, usage=Usage(10, 5, cost))
    await world.store.record(fence, [], NOW, step=step)


async def test_a_run_is_stopped_by_the_answer_that_passes_its_budget(world: World) -> None:
    run, fence = await claimed(world, 0.01)
    budget = RunBudget(run, world.store, Ticking())
    for _ in range(2):
        assert await budget.used_up() is None
        await answered(world, fence, budget, 0.005)
        assert await budget.verdict() is None
    used_up = await budget.used_up()  # nothing is left, though nothing is passed
    assert used_up is not None
    assert "has cost $0.01, and its budget is $0.01. Resume it with a larger" in used_up.sentence
    await answered(world, fence, budget, 0.0023)
    passed = await budget.verdict()
    assert passed is not None
    assert (passed.of, passed.limit_usd) == (BudgetOf.RUN, 0.01)
    assert passed.spent_usd == pytest.approx(0.0123)
    assert passed.sentence.startswith("The run has cost $0.0123, and its budget is $0.01.")


async def test_what_earlier_claims_spent_counts(world: World) -> None:
    run, fence = await claimed(world, 0.01)
    await answered(world, fence, RunBudget(run, world.store, Ticking()), 0.0101)
    await world.store.release(fence, NOW)
    again = await world.store.claim("other", NOW, run_id=run.id)
    assert again is not None
    assert await RunBudget(again, world.store, Ticking()).used_up() is not None


async def test_a_budget_that_a_resume_raised_counts_for_the_run_that_goes(world: World) -> None:
    run, fence = await claimed(world, 0.01)
    budget = RunBudget(run, world.store, Ticking())
    await answered(world, fence, budget, 0.02)
    await world.store.resume_run(
        run.id, FollowUp("more"), step_id=uuid4(), secrets={}, now=NOW, most_steps=9, max_cost_usd=0.03
    )
    assert await budget.verdict() is None
    await answered(world, fence, budget, 0.02)
    assert await budget.verdict() is not None


async def test_a_budget_that_a_resume_set_counts_for_the_run_that_goes(world: World) -> None:
    run, fence = await claimed(world)
    clock = Ticking()
    budget = RunBudget(run, world.store, clock)
    await answered(world, fence, budget, 0.02)
    assert await budget.verdict() is None
    await world.store.resume_run(
        run.id, FollowUp("more"), step_id=uuid4(), secrets={}, now=NOW, most_steps=9, max_cost_usd=0.03
    )
    await clock.sleep(READ_SECONDS)
    await answered(world, fence, budget, 0.02)
    assert await budget.verdict() is not None


async def test_without_any_limit_nothing_is_refused(world: World) -> None:
    run, fence = await claimed(world)
    budget = RunBudget(run, world.store, Ticking())
    await answered(world, fence, budget, 1_000)
    assert await budget.used_up() is None
    assert await budget.has_room(1_000_000)
    assert await budget.verdict() is None


async def test_runs_of_an_organization_share_its_month(world: World) -> None:
    organization = await world.store.organization(1)
    await world.store.update_organization(replace(organization, monthly_cost_usd=1.0))
    (one, first), (two, second) = await claimed(world), await claimed(world, principal=await world.somebody())
    clock = Ticking()
    mine, theirs = RunBudget(one, world.store, clock), RunBudget(two, world.store, clock)
    await answered(world, first, mine, 0.6)
    assert await mine.verdict() is None
    await answered(world, second, theirs, 0.5)
    passed = await theirs.verdict()
    assert passed is not None
    assert (passed.of, passed.limit_usd) == (BudgetOf.ORGANIZATION, 1.0)
    assert passed.spent_usd == pytest.approx(1.1)
    assert "have cost $1.10 in 2031-04, and may cost $1.00 until 2031-05-01 00:00 UTC." in passed.sentence
    # The other reads again after a moment, or by its own next answer at once.
    assert await mine.verdict() is None
    await clock.sleep(READ_SECONDS)
    assert await mine.verdict() is not None
    await world.store.update_organization(replace(organization, monthly_cost_usd=2.0))
    assert await mine.verdict() is None


async def test_a_runs_own_answers_count_on_the_month_without_a_new_reading(world: World) -> None:
    await world.store.update_organization(replace(await world.store.organization(1), monthly_cost_usd=0.5))
    run, fence = await claimed(world)
    budget = RunBudget(run, world.store, Ticking())  # whose clock stands still
    assert await budget.used_up() is None
    assert await budget.has_room(0.5)
    assert not await budget.has_room(0.6)
    await answered(world, fence, budget, 0.5)
    assert await budget.verdict() is None
    assert await budget.used_up() is not None
    await answered(world, fence, budget, 0.0001)
    assert await budget.verdict() is not None


async def test_a_months_cap_says_nothing_of_the_next_month(world: World) -> None:
    await world.store.update_organization(replace(await world.store.organization(1), monthly_cost_usd=0.5))
    run, fence = await claimed(world)
    clock = Ticking()
    budget = RunBudget(run, world.store, clock)
    await answered(world, fence, budget, 1.0)
    assert await budget.verdict() is not None
    clock.time = month_end(NOW)
    assert await budget.verdict() is None


async def passed_in(world: World, run: Run, fence: Fence, clock: Ticking) -> BudgetPassed:
    """The budget is passed, and that is told."""
    budget = RunBudget(run, world.store, clock)
    await answered(world, fence, budget, 0.6)
    passed = await budget.verdict()
    assert passed is not None
    assert not await budget.is_told(passed)
    said = Draft(EventType.BUDGET_PASSED, {"of": passed.of, "limitUsd": passed.limit_usd, "spentUsd": 0.6}, 1)
    await world.store.record(fence, [said], NOW)
    return passed


async def test_what_an_earlier_claim_told_is_told(world: World) -> None:
    """Until the run is resumed, and of the same budget only."""
    organization = replace(await world.store.organization(1), monthly_cost_usd=0.5)
    await world.store.update_organization(organization)
    run, fence = await claimed(world, 9)
    clock = Ticking()
    passed = await passed_in(world, run, fence, clock)
    await world.store.release(fence, NOW)
    again = await world.store.claim("other", NOW, run_id=run.id)
    assert again is not None
    budget = RunBudget(again, world.store, clock)
    assert await budget.is_told(passed)
    assert not await budget.is_told(replace(passed, limit_usd=0.55))
    assert not await budget.is_told(replace(passed, of=BudgetOf.RUN))
    await world.store.finish(Fence(again.id, again.lease), RunStatus.FAILED, "why", NOW)
    await world.store.resume_run(run.id, FollowUp("more"), step_id=uuid4(), secrets={}, now=NOW, most_steps=9)
    resumed = await world.store.claim("other", NOW, run_id=run.id)
    assert resumed is not None
    assert not await RunBudget(resumed, world.store, clock).is_told(passed)


# ---- words


def test_dollars() -> None:
    said = [dollars(each) for each in (0, 0.01, 0.1, 1234.5, 0.0123, 0.012345, 1e-9, 1_000_000)]
    assert said == ["$0.00", "$0.01", "$0.10", "$1,234.50", "$0.0123", "$0.012345", "$0.00", "$1,000,000.00"]


def test_months_are_utcs() -> None:
    late = datetime.fromisoformat("2026-12-31T23:30:00-01:00")
    assert (month_of(late), month_end(late)) == ("2027-01", datetime(2027, 2, 1, tzinfo=UTC))
    assert month_end(datetime(2026, 12, 1, tzinfo=UTC)) == datetime(2027, 1, 1, tzinfo=UTC)
    assert months_from(datetime(2026, 11, 30, tzinfo=UTC).date(), datetime(2027, 1, 1, tzinfo=UTC).date()) == [
        "2026-11",
        "2026-12",
        "2027-01",
    ]
