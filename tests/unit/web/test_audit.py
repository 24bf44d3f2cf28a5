"""/settings/audit: for an ADMIN, newest first, by pages; whatever others wrote is text."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.deployment import START, deployed
from tests.support.pages import Pages, field_errors, looking, roles_of, text

from treadle.domain.identity import Role
from treadle.ports.trust import AuditEntry
from treadle.services.audit_actions import Action
from treadle.web.pages import audit
from treadle.web.pages.audit import PATH, ROWS

pytestmark = pytest.mark.anyio

HOSTILE = '"><script>alert(1)</script>\u202egnp {{ 7*7 }}'


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Pages]:
    async with deployed(tmp_path) as here, looking(here, audit) as pages:
        yield pages


async def happened(there: Pages, number: int = 1, /, **given: Any) -> None:
    for each in range(number):
        values: dict[str, Any] = {
            "actor": "ada@treadle.test",
            "action": Action.RUN_KILLED,
            "target": f"run-{each}",
            "detail": {},
            "door": "page",
            "date": START + timedelta(seconds=each),
            "organization_id": 1,
        }
        await there.here.store.add_audit(AuditEntry(**{**values, **given}))


def targets(page: str) -> list[str]:
    return re.findall(r"run-\d+", page)


async def test_it_is_for_admins(there: Pages) -> None:
    await happened(there)
    for role, person in (await roles_of(there)).items():
        answer = await person.get(PATH)
        assert answer.status_code == (200 if role is Role.ADMIN else 403)
        assert ("run-0" in answer.text) is (role is Role.ADMIN)
    assert (await there.anybody().get(PATH)).headers["location"] == f"/sign-in?next={PATH}"


async def test_an_entry_says_who_did_what_from_where(there: Pages) -> None:
    await happened(there, detail={"names": ["A", "B"], "count": 3}, address="203.0.113.7", target="acme/shop")
    page = text(await (await there.signed_in()).get(PATH))
    assert "2026-10-01 09:30:00 run.killed Somebody asked for a run's end." in page
    assert "ada@treadle.test by the page from 203.0.113.7 acme/shop names: A, B count: 3" in page


async def test_a_change_is_shown_from_what_to_what(there: Pages) -> None:
    values = {"monthly_cost_usd": {"before": None, "after": 5.0}, HOSTILE: {"before": "model", "after": "full"}}
    await happened(there, detail={"changed": ["monthly_cost_usd"], "values": values})
    answer = await (await there.signed_in()).get(PATH)
    assert "changed: monthly_cost_usd monthly_cost_usd: unset → 5.0" in text(answer)
    assert "model → full" in text(answer)
    assert "<script>alert" not in answer.text


async def test_the_filters_are_in_the_address(there: Pages) -> None:
    member = await there.here.member("member@treadle.test")
    await happened(there, target="run-1", user_id=member.user.id)
    await happened(there, target="run-2", action=Action.RUN_CREATED, date=START + timedelta(days=2))
    await happened(there, target="run-3", action=Action.SHARE_CREATED)
    person = await there.signed_in()
    for query, found in (
        ("action=run.killed", ["run-1"]),
        ("action=run.", ["run-2", "run-1"]),
        (f"user={member.user.id}", ["run-1"]),
        ("since=2026-10-02", ["run-2"]),
        ("action=run.&since=2026-10-02", ["run-2"]),
        ("action=share.revoked", []),
        ("user=999", []),
    ):
        answer = await person.get(f"{PATH}?{query}")
        assert answer.status_code == 200
        assert targets(answer.text) == found, query
    assert '<option value="run." selected>' in (await person.get(f"{PATH}?action=run.")).text
    assert '<option value="999" selected>user 999</option>' in (await person.get(f"{PATH}?user=999")).text


@pytest.mark.parametrize("since", ["yesterday", "2026-13-01", "<script>", "2026-10-01T25:00"])
async def test_a_day_that_is_none_is_said(there: Pages, since: str) -> None:
    answer = await (await there.signed_in()).get(f"{PATH}?since={since}")
    assert answer.status_code == 400
    assert field_errors(answer) == {"audit-since": "A day is written as 2026-11-22."}
    assert "<script>" not in answer.text.split("<main")[1]


@pytest.mark.parametrize("action", ["ru_.", "run%25", "run", "no.such.action", "<script>"])
async def test_an_action_that_is_none_is_said(there: Pages, action: str) -> None:
    await happened(there)
    answer = await (await there.signed_in()).get(f"{PATH}?action={action}")
    assert answer.status_code == 400
    assert "Is no action" in field_errors(answer)["audit-action"]
    assert targets(answer.text) == []
    assert "<script>" not in answer.text.split("<main")[1]


@pytest.mark.parametrize("query", ["since=0001-01-01", "since=9999-12-31", "before=0", "before=x", f"before={10**17}"])
async def test_the_ends_of_time_and_of_the_log_are_no_fault(there: Pages, query: str) -> None:
    assert (await (await there.signed_in()).get(f"{PATH}?{query}")).status_code == 200


async def test_ten_thousand_entries_are_paged_newest_first(there: Pages) -> None:
    await happened(there, 10_000)
    person = await there.signed_in()
    path, seen = f"{PATH}?action=run.killed", list[str]()
    for _ in range(3):
        answer = await person.get(path)
        seen += targets(answer.text)
        following = re.search(r'rel="next" href="([^"]+)"', answer.text)
        assert following is not None
        path = following[1].replace("&amp;", "&")
    assert seen == [f"run-{number}" for number in range(9_999, 9_999 - 3 * ROWS, -1)]
    assert "before=" in path
    assert "action=run.killed" in path
    last = await person.get(f"{PATH}?before=1&action=run.killed")
    assert "There are none so old." in text(last)
    assert 'rel="next"' not in last.text


async def test_whatever_others_wrote_is_text(there: Pages) -> None:
    await happened(
        there,
        actor=HOSTILE,
        action=HOSTILE,
        target=HOSTILE,
        address=HOSTILE,
        door=HOSTILE,
        detail={HOSTILE: HOSTILE, "list": [HOSTILE], "deep": {"a": [HOSTILE]}, "long": "x" * 100_000},
    )
    person = await there.signed_in()
    for query in ("", f"?action={HOSTILE}", f"?user={HOSTILE}"):
        answer = await person.get(PATH + query)
        assert answer.status_code == 200
        assert "<script>alert" not in answer.text
        assert "\u202e" not in answer.text
        assert "49" not in re.sub(r"\d\d:\d\d:\d\d", "", text(answer))
        assert len(answer.text) < 50_000


async def test_others_organizations_are_seen_by_the_house_alone(there: Pages) -> None:
    identity = there.here.services.identity
    other = await identity.add_organization("Foreign")
    boss = await there.here.member("boss@foreign.test", Role.ADMIN, organization=other)
    await happened(there, target="run-1")
    await happened(there, target="run-2", organization_id=other.id)
    await happened(there, target="run-3", organization_id=None)
    admin, theirs = await there.signed_in(), await there.signed_in(boss.key)
    assert targets((await admin.get(PATH)).text) == ["run-1"]
    everything = await admin.get(f"{PATH}?scope=all")
    assert targets(everything.text) == ["run-3", "run-2", "run-1"]
    assert f"organization {other.id}" in text(everything)
    page = await theirs.get(PATH)
    assert targets(page.text) == ["run-2"]
    assert 'name="scope"' not in page.text
    assert (await theirs.get(f"{PATH}?scope=all")).status_code == 403
