"""The bill, budgets and policies through Treadle's own endpoints, and what the code-generation API takes of them."""

import csv
import io
import json

import pytest
from tests.support.deployment import PROCESSES, Deployment, Json, Member, body

from treadle.api.maitento.requests import ProcessBody
from treadle.api.native.budgets import BudgetShape
from treadle.api.native.policies import RepositoryPoliciesShape
from treadle.api.native.usage import UsageReportShape
from treadle.domain.identity import Role
from treadle.domain.run import Usage
from treadle.domain.states import Phase, StepStatus
from treadle.ports import StepUpdate

pytestmark = pytest.mark.anyio


async def used(here: Deployment, who: Member, usage: Usage, **fields: object) -> Json:
    """A run that used that, and succeeded."""
    process = await here.start(who, **fields)
    _, fence = await here.claim()
    await here.store.record(
        fence, [], here.clock.now(), step=StepUpdate(1, StepStatus.RUNNING, Phase.ANALYSIS, usage=usage)
    )
    await here.store.record(fence, [], here.clock.now(), step=StepUpdate(1, StepStatus.SUCCESS))
    await here.finish(fence)
    return process


async def ask(here: Deployment, path: str, who: Member | None = None) -> Json:
    answer = await here.http.get(path, headers=(who or here.admin).headers)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def put(here: Deployment, path: str, sent: Json, who: Member | None = None, status: int = 200) -> Json:
    answer = await here.http.put(path, headers=(who or here.admin).headers, json=sent)
    assert answer.status_code == status, answer.text
    found: Json = answer.json()
    return found


# ---- the bill


async def test_the_bill_by_everything(here: Deployment) -> None:
    member = await here.member("ada@example.com")
    theirs = await used(here, member, Usage(10, 20, 0.1, 30))
    mine = await used(here, here.admin, Usage(1, 2, 0.2000004, 3), gitUrl="https://git.example/other.git")
    total = {
        "key": "", "name": None, "processId": None, "runs": 2, "succeeded": 2, "failed": 0,
        "inputTokens": 11, "outputTokens": 22, "costUsd": 0.3, "durationMs": 33,
    }  # fmt: skip
    keys = {
        "month": ["2026-10"],
        "user": [str(here.admin.user.id), str(member.user.id)],
        "repository": ["https://git.example/other.git", "https://git.example/acme/shop.git"],
        "run": ["2", "1"],
        "step": ["2/1", "1/1"],
    }
    for by, expected in keys.items():
        found = await ask(here, f"/usage?by={by}&first=2026-10-01&last=2026-10-01")
        UsageReportShape.model_validate(found)
        assert [row["key"] for row in found["rows"]] == expected
        assert found["total"] == total
        assert sum(row["costUsd"] for row in found["rows"]) == pytest.approx(0.3)
    runs = await ask(here, "/usage?by=run")
    assert [row["processId"] for row in runs["rows"]] == [mine["id"], theirs["id"]]
    users = await ask(here, "/usage?by=user")
    assert users["rows"][1]["name"] == "ada"
    days = await ask(here, "/usage")
    assert (days["by"], len(days["rows"]), days["rows"][-1]["costUsd"]) == ("day", 30, 0.3)


async def test_whose_bill_it_is(here: Deployment) -> None:
    member, manager = await here.member("ada@example.com"), await here.member("bob@example.com", Role.MANAGER)
    await used(here, member, Usage(cost_usd=0.5))
    await used(here, here.admin, Usage(cost_usd=1.5))
    for who, query, cost, is_whole in (
        (member, "", 0.5, False),
        (manager, "", 2.0, True),
        (here.admin, "?user=me", 1.5, False),
        (manager, "?user=me", 0.0, False),
    ):
        found = await ask(here, f"/usage{query}", who)
        assert (found["total"]["costUsd"], found["isWhole"]) == (cost, is_whole)
    assert (await here.http.get("/usage")).status_code == 401


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("by=week", "by"),
        ("by=", "by"),
        ("user=7", "user"),
        ("format=xml", "format"),
        ("first=yesterday", "first"),
        ("last=2026-13-01", "last"),
        ("first=2026-10-02&last=2026-10-01", "first"),
        ("first=2020-01-01", "first"),
        ("last=9999-12-31", "last"),
    ],
)
async def test_what_no_bill_can_be_made_of(here: Deployment, query: str, path: str) -> None:
    answer = await here.http.get(f"/usage?{query}", headers=here.admin.headers)
    assert (answer.status_code, list(answer.json()["errors"])) == (400, [path])


@pytest.mark.parametrize(("query", "accept"), [("&format=csv", "*/*"), ("", "text/csv"), ("&format=csv", "text/html")])
async def test_a_table_for_a_spreadsheet(here: Deployment, query: str, accept: str) -> None:
    formula = '=HYPERLINK("https://evil.example","x")'
    await used(here, here.admin, Usage(1, 2, 0.00001, 3), steps=[{"step": formula}])
    headers = {**here.admin.headers, "Accept": accept}
    answer = await here.http.get(f"/usage?by=step&first=2026-10-01&last=2026-10-02{query}", headers=headers)
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="usage-by-step-2026-10-01-2026-10-02.csv"'
    head, row, total = csv.reader(io.StringIO(answer.text))
    assert head[:4] == ["key", "name", "processId", "runs"]
    found = dict(zip(head, row, strict=True))
    assert (found["key"], found["name"], found["costUsd"]) == ("1/1", f"'{formula}", "0.00001")
    assert (total[0], total[head.index("costUsd")]) == ("total", "0.00001")
    as_json = await here.http.get("/usage?format=json", headers=headers)
    assert as_json.json()["total"]["runs"] == 1


# ---- budgets


async def test_budgets_are_set_by_admins_and_seen_by_all(here: Deployment) -> None:
    member = await here.member("ada@example.com")
    await used(here, member, Usage(cost_usd=0.25))
    found = await put(here, "/budget", {"monthlyCostUsd": 0.3, "defaultMaxCostUsd": 0.1})
    BudgetShape.model_validate(found)
    assert found == await ask(here, "/budget", member)
    assert found == {
        "defaultMaxCostUsd": 0.1,
        "monthlyCostUsd": 0.3,
        "month": "2026-10",
        "spentUsd": 0.25,
        "remainingUsd": 0.05,
        "asOf": "2026-10-01T09:30:00.125Z",
        "monthEnds": "2026-11-01T00:00:00.000Z",
    }
    assert (await put(here, "/budget", {"defaultMaxCostUsd": None}))["monthlyCostUsd"] == 0.3
    assert (await put(here, "/budget", {"monthlyCostUsd": None}))["remainingUsd"] is None
    await put(here, "/budget", {"monthlyCostUsd": 1}, member, 403)
    for sent, paths in (
        ({"monthlyCostUsd": -1, "defaultMaxCostUsd": 0}, {"monthlyCostUsd", "defaultMaxCostUsd"}),
        ({"monthlyCostUsd": True, "defaultMaxCostUsd": "1"}, {"monthlyCostUsd", "defaultMaxCostUsd"}),
        ({"monthly": 1}, {"monthly"}),
    ):
        assert set((await put(here, "/budget", sent, status=400))["errors"]) == paths
    for content in (b"[", b"[]", b'{"monthlyCostUsd": NaN}', b'{"monthlyCostUsd": 1e999}', b'{"\\ud800": 1}'):
        headers = {**here.admin.headers, "Content-Type": "application/json"}
        assert (await here.http.put("/budget", headers=headers, content=content)).status_code == 400
    assert (await ask(here, "/budget"))["monthlyCostUsd"] is None


async def test_a_process_with_a_budget_and_a_policy(here: Deployment) -> None:
    policy = {"allow": ["pkg.test", "*.example.net:8443"]}
    process = await here.start(maxCostUsd=0.01, network=policy)
    assert (process["maxCostUsd"], process["network"]) == (0.01, policy)
    assert await here.get(process) == process
    assert (await here.start(maxCostUsd=None, network=None))["maxCostUsd"] is None
    assert (await here.start(maxCostUsd=3))["maxCostUsd"] == 3.0


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"maxCostUsd": 0}, "Must be from 0.0001 to 1,000,000 US dollars, with at most 4 decimals."),
        ({"maxCostUsd": 0.00015}, "Must be from 0.0001"),
        ({"maxCostUsd": 1_000_001}, "Must be from 0.0001"),
        ({"maxCostUsd": "1"}, "Must be a number."),
        ({"maxCostUsd": True}, "Must be a number."),
        ({"network": "some"}, 'Must be "none", "model", "full" or'),
        ({"network": {"allow": []}}, "'allow' takes 1 to 100 hosts."),
        ({"network": {"allow": ["127.0.0.1"]}}, "is an address; name the host."),
        ({"network": {"allow": ["{a}\n"]}}, "is no host"),
        ({"network": "none"}, "Claude needs its model: `model` is the least."),
    ],
)
async def test_what_no_process_can_have(here: Deployment, fields: Json, said: str) -> None:
    answer = await here.http.post(PROCESSES, headers=here.admin.headers, json=body(**fields))
    assert answer.status_code == 400, answer.text
    (name,) = fields
    assert said in answer.json()["errors"][name][0]


async def test_a_month_that_is_used_up_is_402(here: Deployment) -> None:
    await used(here, here.admin, Usage(cost_usd=0.25))
    await put(here, "/budget", {"monthlyCostUsd": 0.25})
    answer = await here.http.post(PROCESSES, headers=here.admin.headers, json=body())
    assert (answer.status_code, answer.json()["code"]) == (402, "month_used_up")
    assert "may cost $0.25 until 2026-11-01 00:00 UTC" in answer.json()["detail"]


async def test_fields_that_are_left_out_change_no_digest(here: Deployment) -> None:
    """So that a call that was first made to an earlier version is still the same call."""
    headers = {**here.admin.headers, "Idempotency-Key": "k"}
    first = await here.http.post(PROCESSES, headers=headers, json=body())
    again = await here.http.post(PROCESSES, headers=headers, json=body(maxCostUsd=None, network=None))
    assert first.json() == again.json()
    for fields in ({"maxCostUsd": 1}, {"network": "model"}):
        assert (await here.http.post(PROCESSES, headers=headers, json=body(**fields))).status_code == 409
    asked = json.loads(ProcessBody.model_validate(body()).asked)
    assert not {"max_cost_usd", "maxCostUsd", "network"} & asked.keys()


# ---- policies


async def test_a_repositorys_policies(here: Deployment) -> None:
    manager, member = await here.member("bob@example.com", Role.MANAGER), await here.member("ada@example.com")
    added = await here.services.repositories.add(
        here.admin.organization, name="acme/shop", url="https://git.example/acme/shop.git"
    )
    at = f"/repositories/by-id/{added.id}"
    found = await ask(here, f"{at}/policies", member)
    RepositoryPoliciesShape.model_validate(found)
    assert found == {"network": None, "effectiveNetwork": "model", "scansSecrets": True, "validate": None}
    policy = {"allow": ["pkg.test"]}
    found = await put(here, f"{at}/network", {"network": policy}, manager)
    assert (found["network"], found["effectiveNetwork"]) == (policy, policy)
    assert not (await put(here, f"{at}/secret-scanning", {"scansSecrets": False}, manager))["scansSecrets"]
    found = await put(here, f"{at}/network", {"network": None}, manager)
    assert found == {"network": None, "effectiveNetwork": "model", "scansSecrets": False, "validate": None}
    rules = {"commands": ["make test"], "tries": 3}
    assert (await put(here, f"{at}/validation", {"validate": ["make test"]}, manager))["validate"] == rules
    assert (await ask(here, f"{at}/policies", member))["validate"] == rules
    assert (await put(here, f"{at}/validation", {"validate": None}, manager))["validate"] is None
    changes = (
        ("network", {"network": "full"}),
        ("secret-scanning", {"scansSecrets": True}),
        ("validation", {"validate": ["make test"]}),
    )
    for path, sent in changes:
        await put(here, f"{at}/{path}", sent, member, 403)
        await put(here, f"/repositories/by-id/77/{path}", sent, manager, 404)
        await put(here, f"/repositories/by-id/x/{path}", sent, manager, 404)
        for odd in ({}, {"more": 1}, {next(iter(sent)): 7}):
            await put(here, f"{at}/{path}", odd, manager, 400)
    assert (await ask(here, f"{at}/policies"))["scansSecrets"] is False
    elsewhere = await here.services.identity.add_organization("Elsewhere")
    stranger = await here.member("eve@example.com", Role.ADMIN, organization=elsewhere)
    assert (await here.http.get(f"{at}/policies", headers=stranger.headers)).status_code == 404
    await put(here, f"{at}/network", {"network": "full"}, stranger, 404)
