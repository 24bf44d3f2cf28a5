"""Plans by both clients: what is sent, what comes back."""

import inspect
import json
from uuid import UUID

import pytest
from tests.support.scripted_api import PROCESS_ID, AnyClient, ScriptedApi, ok

from treadle.sdk._plans import AsyncPlans, Plans

pytestmark = pytest.mark.anyio

FAULT = {"path": "steps[0]", "message": "must be text", "line": 2}
RUN = {
    "id": PROCESS_ID,
    "number": 7,
    "status": "New",
    "gitUrl": "https://git.example/a.git",
    "repositoryId": 3,
    "branchSource": "main",
    "branchWork": "treadle/7-tidy",
    "engine": "Dummy",
    "maxCostUsd": None,
    "steps": 1,
}


async def test_a_plan_is_checked(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers += [ok({"isValid": False, "faults": [FAULT], "plan": None}), ok({"isValid": True, "plan": {"a": 1}})]
    found = await sdk.result(sdk.client.plans.check("steps: [3]"))
    assert (found.is_valid, found.faults[0].path, found.faults[0].line, found.plan) == (False, "steps[0]", 2, None)
    found = await sdk.result(sdk.client.plans.check({"steps": ["x"]}))
    assert (found.is_valid, found.faults, found.plan) == (True, (), {"a": 1})
    assert [json.loads(each.content) for each in api.requests] == [{"plan": "steps: [3]"}, {"plan": {"steps": ["x"]}}]
    assert api.paths == ["POST /plans/check"] * 2


async def test_a_plan_is_started(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers += [ok(RUN), ok(RUN)]
    run = await sdk.result(sdk.client.plans.start("steps: [x]", repository_id=3, variables={"a": "b"}))
    assert (run.id, run.number, run.branch_work) == (UUID(PROCESS_ID), 7, "treadle/7-tidy")
    await sdk.result(
        sdk.client.plans.start(
            repository_plan="tidy", plan_branch="next", repository_id=3, pull_request=False, idempotency_key="k"
        )
    )
    assert [json.loads(each.content) for each in api.requests] == [
        {"plan": "steps: [x]", "repositoryId": 3, "variables": {"a": "b"}},
        {"repositoryPlan": "tidy", "planBranch": "next", "repositoryId": 3, "pullRequest": False},
    ]
    assert [bool(each.headers["Idempotency-Key"]) for each in api.requests] == [True, True]
    assert api.requests[1].headers["Idempotency-Key"] == "k"


async def test_a_repositorys_own_plans(sdk: AnyClient, api: ScriptedApi) -> None:
    plan: dict[str, object] = {
        "name": "tidy",
        "path": ".treadle/plans/tidy.yaml",
        "title": "Tidy",
        "description": None,
        "variables": {"a": {"required": True}},
        "steps": 2,
        "isValid": True,
        "faults": [],
    }
    api.answers += [ok({"branch": "next", "commit": "c0ffee", "plans": [plan], "more": 1}), ok({"type": "object"})]
    found = await sdk.result(sdk.client.plans.of_repository(3, branch="next"))
    assert (found.branch, found.commit, found.more) == ("next", "c0ffee", 1)
    assert (found.plans[0].name, found.plans[0].variables, found.plans[0].is_valid) == (
        "tidy",
        {"a": {"required": True}},
        True,
    )
    assert await sdk.result(sdk.client.plans.schema()) == {"type": "object"}
    assert api.paths == ["GET /repositories/by-id/3/plans", "GET /schemas/plan.json"]
    assert dict(api.requests[0].url.params) == {"branch": "next"}


def test_both_clients_are_alike() -> None:
    for name in ("check", "start", "of_repository", "schema"):
        assert inspect.signature(getattr(Plans, name)) == inspect.signature(getattr(AsyncPlans, name))
