"""/costs: one's own or everybody's, by role; the period in the address."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.deployment import Deployment, Member, deployed
from tests.support.pages import Pages, looking, text

from treadle.domain.identity import Role
from treadle.domain.run import Usage
from treadle.domain.states import RunStatus, StepStatus
from treadle.ports import StepUpdate
from treadle.services.budgets import BudgetChange
from treadle.web.pages import usage
from treadle.web.pages.usage import PATH, SHOWN_ROWS

pytestmark = pytest.mark.anyio


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Pages]:
    async with deployed(tmp_path) as here, looking(here, usage) as pages:
        yield pages


async def spent(here: Deployment, who: Member, dollars: float, *, status: RunStatus, url: str = "shop") -> None:
    """A run of somebody that cost so much."""
    await here.start(who, gitUrl=f"https://git.example/acme/{url}.git")
    run, fence = await here.claim()
    used = Usage(1000, 200, dollars, 5000)
    step = StepUpdate(1, status=StepStatus.RUNNING, usage=used)
    await here.store.record(fence, [], here.clock.now(), step=step)
    await here.finish(fence, status, "It broke." if status is RunStatus.FAILED else None)
    assert run.id


async def history(there: Pages) -> dict[str, Member]:
    here = there.here
    people = {
        "member": await here.member("member@treadle.test"),
        "manager": await here.member("manager@treadle.test", Role.MANAGER),
        "admin": here.admin,
    }
    await spent(here, people["member"], 1.25, status=RunStatus.SUCCESS)
    here.clock.advance(86_400)
    await spent(here, people["admin"], 7.5, status=RunStatus.FAILED, url="<tools>")
    return people


async def test_a_member_sees_its_own_and_others_everybodys(there: Pages) -> None:
    people = await history(there)
    member = await there.signed_in(people["member"].key)
    for query in ("", "?whose=all", "?days=7"):
        page = text(await member.get(PATH + query))
        assert "Your runs" in page
        assert "$1.25 cost 1 run 100%" in page
        assert "By user" not in page
        assert "acme/tools" not in page
        assert "Everybody" not in page
    for role in ("manager", "admin"):
        person = await there.signed_in(people[role].key)
        page = text(await person.get(PATH))
        assert "Everybody\N{RIGHT SINGLE QUOTATION MARK}s runs" in page
        assert "$8.75 cost 2 runs 50% succeeded" in page
        assert "By user User Cost Share Runs Succeeded Failed Tokens Admin $7.50 86% 1 0 1 1.2k member $1.25" in page
        assert "acme/<tools> $7.50" in page
        own = text(await person.get(f"{PATH}?whose=own"))
        assert "Your runs" in own
        assert "By user" not in own
    answer = await there.anybody().get(f"{PATH}?days=7")
    assert answer.headers["location"] == f"/sign-in?next={PATH}%3Fdays%3D7"


async def test_nothing_of_another_organization_is_counted(there: Pages) -> None:
    await history(there)
    other = await there.here.services.identity.add_organization("Other")
    tenant = await there.here.member("tenant@treadle.test", Role.ADMIN, organization=other)
    page = text(await (await there.signed_in(tenant.key)).get(PATH))
    assert "$0 cost 0 runs \N{EN DASH} succeeded" in page
    assert "Nothing in these days." in page


async def test_the_period_is_in_the_address(there: Pages) -> None:
    await history(there)
    person = await there.signed_in()
    today = await person.get(f"{PATH}?first=2026-10-02&last=2026-10-02")
    assert "2026-10-02 to 2026-10-02" in text(today)
    assert "$7.50 cost 1 run" in text(today)
    week = await person.get(f"{PATH}?days=7")
    assert 'href="/costs?days=7" aria-current="true"' in week.text
    assert len(re.findall(r"<g><title>", week.text)) == 14
    assert "2026-10-01: $1.25" in week.text
    year = await person.get(f"{PATH}?days=365&whose=own")
    assert "by the week" in text(year)
    assert len(re.findall(r"<g><title>", year.text)) == 2 * 53
    assert 'href="/costs?days=30&amp;whose=own"' in year.text


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("days=8", "There is no such period."),
        ("days=<script>", "There is no such period."),
        ("first=yesterday", "A day is written as 2026-11-22."),
        ("last=2026-13-01", "A day is written as 2026-11-22."),
        ("first=2026-10-02&last=2026-10-01", "Must not be after the last day."),
        ("first=2020-01-01&last=2026-10-01", "366 days at most"),
        ("first=9999-12-31&last=9999-12-31", "Is too late."),
    ],
)
async def test_a_period_that_is_none_is_said(there: Pages, query: str, said: str) -> None:
    answer = await (await there.signed_in()).get(f"{PATH}?{query}")
    assert answer.status_code == 400
    assert said in text(answer)
    assert "s runs, 2026-09-02 to 2026-10-01" in text(answer)
    assert "<script>" not in answer.text


async def test_only_the_costliest_are_listed(there: Pages) -> None:
    for number in range(SHOWN_ROWS + 2):
        await spent(there.here, there.here.admin, number, status=RunStatus.SUCCESS, url=f"r{number}")
    page = text(await (await there.signed_in()).get(PATH))
    assert "acme/r51 " in page
    assert "acme/r1 " not in page
    assert "And 2 more that cost less." in page


async def test_by_month_the_bill_is_shown(there: Pages) -> None:
    await history(there)
    person = await there.signed_in()
    answer = await person.get(f"{PATH}?by=month")
    page = text(answer)
    assert "Everybody\N{RIGHT SINGLE QUOTATION MARK}s runs, 2025-11-01 to 2026-10-31" in page
    assert "$8.75 cost 2 runs" in page
    assert "Cost by the month" in page
    assert len(re.findall(r"<g><title>", answer.text)) == 2 * 12
    assert "2026-10: $8.75" in answer.text
    assert 'href="/costs?by=month" aria-current="true"' in answer.text
    assert 'href="/costs?by=month&amp;whose=own"' in answer.text
    assert "$7.50 cost 1 run" in text(await person.get(f"{PATH}?by=month&whose=own"))
    assert (await person.get(f"{PATH}?by=step")).status_code == 400


async def test_the_month_is_shown_beside_its_budget(there: Pages) -> None:
    people, here = await history(there), there.here
    admin, member = await there.signed_in(), await there.signed_in(people["member"].key)
    assert "Budget of October 2026 Change budgets $8.75 so far. There is no cap." in text(await admin.get(PATH))
    who = await here.services.identity.authenticate(here.admin.key)
    await here.services.budgets.set(who, BudgetChange(0.5, 10.0))
    page = text(await member.get(PATH))
    assert "$8.75 of $10.00 87% 87% $1.25 left until 2026-11-01 00:00 UTC." in page
    assert "A run that names no budget may cost $0.50." in page
    assert "Change budgets" not in page
    assert "is-near" in (await member.get(PATH)).text
    await here.services.budgets.set(who, BudgetChange(0.5, 7.0))
    page = text(await member.get(PATH))
    assert "$8.75 of $7.00 125% 125% Nothing is left" in page
    await here.services.budgets.set(who, BudgetChange(None, 0.0))
    assert "$8.75 of $0.00 100% 100% Nothing is left" in text(await member.get(PATH))
