"""The bill, budgets and policies by both clients: what is sent, what comes back."""

import inspect
import json
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import pytest
from tests.support.scripted_api import PROCESS_ID, AnyClient, ScriptedApi, ok, process_json

from treadle.sdk._async_client import AsyncClient
from treadle.sdk._bill import AsyncBill, Bill
from treadle.sdk._client import Client

pytestmark = pytest.mark.anyio

ROW = {
    "key": "17/2",
    "name": "Write it",
    "processId": PROCESS_ID,
    "runs": 1,
    "succeeded": 0,
    "failed": 1,
    "inputTokens": 10,
    "outputTokens": 20,
    "costUsd": 0.25,
    "durationMs": 30,
}
REPORT = {
    "by": "step",
    "first": "2026-11-01",
    "last": "2026-11-22",
    "isWhole": True,
    "rows": [ROW],
    "total": {**ROW, "key": "", "name": None, "processId": None},
    "leftOut": True,
}
BUDGET = {
    "defaultMaxCostUsd": None,
    "monthlyCostUsd": 100,
    "month": "2026-11",
    "spentUsd": 0.25,
    "remainingUsd": 99.75,
    "asOf": "2026-11-22T10:00:00.000Z",
    "monthEnds": "2026-12-01T00:00:00.000Z",
}


def sent(api: ScriptedApi) -> list[Any]:
    return [json.loads(request.content) for request in api.requests]


async def test_usage(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers += [ok(REPORT), ok(REPORT), ok(REPORT)]
    report = await sdk.result(sdk.client.usage("step", first=date(2026, 11, 1), last="2026-11-22", own=True))
    assert (report.by, report.first, report.last) == ("step", date(2026, 11, 1), date(2026, 11, 22))
    assert (report.is_whole, report.left_out) == (True, True)
    (row,) = report.rows
    assert (row.key, row.name, row.process_id) == ("17/2", "Write it", UUID(PROCESS_ID))
    assert (row.runs, row.succeeded, row.failed, row.usage.cost_usd, row.usage.duration_ms) == (1, 0, 1, 0.25, 30)
    assert (report.total.name, report.total.usage.input_tokens) == (None, 10)
    asked = api.requests[0].url
    assert asked.path == "/usage"
    assert dict(asked.params) == {"by": "step", "first": "2026-11-01", "last": "2026-11-22", "user": "me"}
    await sdk.result(sdk.client.usage())
    assert dict(api.requests[1].url.params) == {"by": "day"}
    await sdk.result(sdk.client.usage.csv("month"))
    assert dict(api.requests[2].url.params) == {"by": "month", "format": "csv"}


async def test_the_budget(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers += [ok(BUDGET)] * 4
    found = await sdk.result(sdk.client.budget.get())
    assert (found.default_max_cost_usd, found.monthly_cost_usd, found.remaining_usd) == (None, 100, 99.75)
    assert found.month_ends == datetime(2026, 12, 1, tzinfo=UTC)
    await sdk.result(sdk.client.budget.set(monthly_cost_usd=100))
    await sdk.result(sdk.client.budget.set(default_max_cost_usd=None))
    await sdk.result(sdk.client.budget.set(default_max_cost_usd=0.5, monthly_cost_usd=None))
    assert api.paths == ["GET /budget", "PUT /budget", "PUT /budget", "PUT /budget"]
    api.requests.pop(0)
    assert sent(api) == [
        {"monthlyCostUsd": 100},
        {"defaultMaxCostUsd": None},
        {"defaultMaxCostUsd": 0.5, "monthlyCostUsd": None},
    ]


async def test_a_repositorys_policies(sdk: AnyClient, api: ScriptedApi) -> None:
    policies = {"network": {"allow": ["a.example"]}, "effectiveNetwork": {"allow": ["a.example"]}, "scansSecrets": True}
    api.answers += [ok(policies), ok({**policies, "network": None, "effectiveNetwork": "model"}), *[ok(policies)] * 3]
    found = await sdk.result(sdk.client.policies.get(7))
    assert (found.network, found.scans_secrets) == ({"allow": ("a.example",)}, True)
    found = await sdk.result(sdk.client.policies.set_network(7, None))
    assert (found.network, found.effective_network) == (None, "model")
    await sdk.result(sdk.client.policies.set_network(7, "allow:a.example, *.b.example"))
    await sdk.result(sdk.client.policies.set_network(7, {"allow": ("a.example",)}))
    await sdk.result(sdk.client.policies.set_secret_scanning(7, False))
    assert api.paths == [
        "GET /repositories/by-id/7/policies",
        *["PUT /repositories/by-id/7/network"] * 3,
        "PUT /repositories/by-id/7/secret-scanning",
    ]
    api.requests.pop(0)
    assert sent(api) == [
        {"network": None},
        {"network": {"allow": ["a.example", "*.b.example"]}},
        {"network": {"allow": ["a.example"]}},
        {"scansSecrets": False},
    ]


async def test_a_process_with_a_budget_and_a_policy(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers += [ok(process_json(maxCostUsd=0.5, network={"allow": ["a.example"]})), ok(process_json())]
    given = {"git_url": "https://git.example/a.git", "branch_source": "main", "branch_work": "w", "steps": ["x"]}
    process = await sdk.result(sdk.client.processes.start(**given, max_cost_usd=0.5, network="allow:a.example"))
    assert (process.max_cost_usd, process.network) == (0.5, {"allow": ("a.example",)})
    process = await sdk.result(sdk.client.processes.start(**given))
    assert (process.max_cost_usd, process.network) == (None, None)  # of an earlier server
    first, second = sent(api)
    assert (first["maxCostUsd"], first["network"]) == (0.5, {"allow": ["a.example"]})
    assert not {"maxCostUsd", "network"} & second.keys()


async def test_an_agent_run_with_a_budget_and_a_policy(sdk: AnyClient, api: ScriptedApi) -> None:
    run = {"id": 17, "organization_id": 1, "status": "PENDING", "cost_usd": 0.1, "max_cost_usd": 0.5, "network": "none"}
    api.answers += [ok(run), ok({**run, "max_cost_usd": 2}), ok({"id": 17, "organization_id": 1, "status": "FAILED"})]
    found = await sdk.result(sdk.client.agents.run("Do it", max_cost_usd=0.5, network="none", organization=1))
    assert (found.cost_usd, found.max_cost_usd, found.network) == (0.1, 0.5, "none")
    assert (await sdk.result(sdk.client.agents.resume(17, "More", max_cost_usd=2, organization=1))).max_cost_usd == 2
    bare = await sdk.result(sdk.client.agents.resume(17, "More", organization=1))
    assert (bare.cost_usd, bare.max_cost_usd, bare.network) == (None, None, None)
    first, second, third = sent(api)
    assert (first["max_cost_usd"], first["network"]) == (0.5, "none")
    assert second["max_cost_usd"] == 2
    assert "max_cost_usd" not in third


def test_both_clients_call_the_bill_alike() -> None:
    assert inspect.signature(Bill.__call__).parameters == inspect.signature(AsyncBill.__call__).parameters
    assert Bill.__call__.__doc__ == AsyncBill.__call__.__doc__
    assert type(Client("http://x.example", "k").usage) is Bill
    assert type(AsyncClient("http://x.example", "k").usage) is AsyncBill
