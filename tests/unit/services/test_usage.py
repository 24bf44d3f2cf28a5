"""Reports of what runs used: who sees what, for which days."""

from datetime import UTC, date, datetime

import pytest
from tests.support.deployment import Deployment, Member

from treadle.domain.errors import Forbidden, InvalidInput, NotFound
from treadle.domain.identity import Principal, Role
from treadle.domain.run import Usage
from treadle.domain.states import Phase, StepStatus
from treadle.ports import StepUpdate
from treadle.ports.page import UsageBy
from treadle.services.usage import DEFAULT_PERIOD_DAYS, MAX_PERIOD_DAYS

pytestmark = pytest.mark.anyio

DAY = 86_400


async def who(here: Deployment, member: Member) -> Principal:
    return await here.services.identity.authenticate(member.key)


async def used(here: Deployment, member: Member, cost: float) -> None:
    await here.start(member)
    _, fence = await here.claim()
    update = StepUpdate(1, StepStatus.RUNNING, Phase.ANALYSIS, usage=Usage(1, 2, cost, 3))
    await here.store.record(fence, [], here.clock.now(), step=update)
    await here.store.record(fence, [], here.clock.now(), step=StepUpdate(1, StepStatus.SUCCESS))
    await here.finish(fence)


async def test_every_day_of_the_period_is_there(here: Deployment) -> None:
    await used(here, here.admin, 1.0)
    here.clock.advance(3 * DAY)
    await used(here, here.admin, 2.0)
    report = await here.services.usage.report(await who(here, here.admin))
    assert (report.first, report.last) == (date(2026, 9, 5), date(2026, 10, 4))
    assert len(report.rows) == DEFAULT_PERIOD_DAYS
    assert [(row.key, row.runs, row.usage.cost_usd) for row in report.rows[-5:]] == [
        ("2026-09-30", 0, 0.0),
        ("2026-10-01", 1, 1.0),
        ("2026-10-02", 0, 0.0),
        ("2026-10-03", 0, 0.0),
        ("2026-10-04", 1, 2.0),
    ]
    assert (report.total.runs, report.total.succeeded, report.total.usage) == (2, 2, Usage(2, 4, 3.0, 6))


async def test_a_member_sees_its_own(here: Deployment) -> None:
    member, manager = await here.member("ada@example.com"), await here.member("bob@example.com", Role.MANAGER)
    await used(here, member, 1.0)
    await used(here, here.admin, 2.0)
    usage = here.services.usage
    mine = await usage.report(await who(here, member), by=UsageBy.USER)
    assert (mine.total.usage.cost_usd, mine.is_whole_organization) == (1.0, False)
    every = await usage.report(await who(here, manager), by=UsageBy.USER)
    assert every.is_whole_organization
    assert [row.key for row in every.rows] == [str(here.admin.user.id), str(member.user.id)]
    assert every.names[str(member.user.id)] == "ada"
    own = await usage.report(await who(here, manager), by=UsageBy.REPOSITORY, is_own=True)
    assert (own.rows, own.is_whole_organization) == ((), False)
    await here.services.identity.set_role(1, member.user.id, None)
    with pytest.raises(Forbidden):
        await usage.report(await who(here, member))


async def test_a_period_has_bounds(here: Deployment) -> None:
    me, usage = await who(here, here.admin), here.services.usage
    longest = await usage.report(me, first=date(2024, 1, 1), last=date(2024, 12, 31))
    assert len(longest.rows) == MAX_PERIOD_DAYS
    for first, last, path in (
        (date(2024, 1, 1), date(2025, 1, 1), "first"),
        (date(2024, 1, 2), date(2024, 1, 1), "first"),
        (date.max, date.max, "last"),
    ):
        with pytest.raises(InvalidInput) as caught:
            await usage.report(me, first=first, last=last)
        assert list(caught.value.faults) == [path]
    assert len((await usage.report(me, last=date(1, 1, 2))).rows) == 2


async def test_a_months_money_is_by_when_the_model_answered(here: Deployment) -> None:
    here.clock.time = datetime(2026, 9, 30, 23, 0, tzinfo=UTC)
    await here.start(here.admin)
    _, fence = await here.claim()
    for hours in (0, 2):
        here.clock.advance(hours * 3600)
        answer = StepUpdate(1, StepStatus.RUNNING, Phase.ANALYSIS, usage=Usage(1, 2, 0.5, 3))
        await here.store.record(fence, [], here.clock.now(), step=answer)
    report = await here.services.usage.report(
        await who(here, here.admin), by=UsageBy.MONTH, first=date(2026, 8, 20), last=date(2026, 10, 2)
    )
    assert (report.first, report.last) == (date(2026, 8, 1), date(2026, 10, 31))
    assert [(row.key, row.runs, row.usage) for row in report.rows] == [
        ("2026-08", 0, Usage()),
        ("2026-09", 1, Usage(1, 2, 0.5, 6)),
        ("2026-10", 0, Usage(1, 2, 0.5)),
    ]
    assert (report.total.runs, report.total.usage) == (1, Usage(2, 4, 1.0, 6))
    other = await here.member("ada@example.com")
    theirs = await here.services.usage.report(await who(here, other), by=UsageBy.MONTH, last=date(2026, 10, 2))
    assert theirs.total.usage == Usage()


async def test_runs_and_steps_have_rows_of_their_own(here: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    member = await here.member("ada@example.com")
    await used(here, member, 1.0)
    await used(here, here.admin, 2.0)
    usage, me = here.services.usage, await who(here, here.admin)
    runs = await usage.report(me, by=UsageBy.RUN)
    assert [(row.key, row.usage.cost_usd) for row in runs.rows] == [("2", 2.0), ("1", 1.0)]
    assert (runs.total.runs, runs.total.usage.cost_usd, runs.left_out) == (2, 3.0, False)
    steps = await usage.report(await who(here, member), by=UsageBy.STEP)
    assert [(row.key, row.name) for row in steps.rows] == [("1/1", "Write the tests")]
    monkeypatch.setattr("treadle.services.usage.MAX_ROWS", 1)
    cut = await usage.report(me, by=UsageBy.RUN)
    assert ([row.key for row in cut.rows], cut.total.usage.cost_usd, cut.left_out) == (["2"], 3.0, True)


async def test_the_operator_sees_all_of_an_organization(here: Deployment) -> None:
    await used(here, await here.member("ada@example.com"), 1.0)
    assert (await here.services.usage.of_organization(1)).total.usage.cost_usd == 1.0
    with pytest.raises(NotFound):
        await here.services.usage.of_organization(77)
