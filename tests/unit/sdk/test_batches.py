"""`client.batches`, of both clients."""

import json
from typing import Any

import pytest
from tests.support.scripted_api import AnyClient, ScriptedApi, ok

from treadle.sdk import BatchItemStatus, BatchStatus, BatchWaitTimeoutError

pytestmark = pytest.mark.anyio

UUID = "0b5e0c46-4b9a-4d53-9a5c-0f5a3c1f0009"
COUNTS = {"items": 3, "notStarted": 1, "running": 1, "succeeded": 1, "failed": 0, "killed": 0, "skipped": 0}
ITEM = {
    "position": 1, "name": "acme/a", "url": "https://git.example/acme/a.git", "repositoryId": None,
    "status": "Success", "attempt": 2, "runId": 4, "processId": UUID, "branch": "work", "commits": ["a" * 40],
    "pullRequestUrl": None, "changedFiles": 2, "costUsd": 0.5, "failureDetails": None, "earlierRuns": [3],
    "variables": {}, "dateStarted": "2026-11-22T10:00:00+00:00", "dateCompleted": None,
}  # fmt: skip


def batch(status: str = "Running", **fields: object) -> dict[str, Any]:
    return {
        "id": 7, "uuid": UUID, "name": "Tidy", "status": status, "failureDetails": None, "userId": 1, "attempt": 1,
        "counts": COUNTS, "concurrency": 10, "stopAfterFailures": None, "maxCostUsd": 5, "costUsd": 0.25,
        "isKillRequested": False, "dateCreated": "2026-11-22T10:00:00+00:00", "dateCompleted": None,
        "plan": {"steps": ["Do it"]}, "variables": {"what": "x"}, **fields,
    }  # fmt: skip


async def test_start_sends_what_is_asked_for(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers.append(ok(batch()))
    targets = [1, "acme/b", {"url": "u", "variables": {"what": "y"}}]
    found = await sdk.result(
        sdk.client.batches.start(
            "steps: [Do it]", targets, name_like="acme/*", everywhere=True, variables={"what": "x"}, max_cost_usd=5
        )
    )
    assert (found.id, found.status, found.counts.succeeded, found.counts.ended) == (7, BatchStatus.RUNNING, 1, 1)
    assert (found.plan, found.is_finished) == ({"steps": ["Do it"]}, False)
    assert api.only.headers["Idempotency-Key"]
    assert json.loads(api.only.content) == {
        "plan": "steps: [Do it]",
        "targets": targets,
        "filter": {"name": "acme/*", "all": True},
        "variables": {"what": "x"},
        "maxCostUsd": 5,
    }


async def test_wait_looks_until_it_has_ended(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers += [ok(batch()), ok(batch("Success"))]
    assert (await sdk.result(sdk.client.batches.wait(7))).status == BatchStatus.SUCCESS
    assert [request.url.path for request in api.requests] == ["/batches/7"] * 2


async def test_wait_gives_up_in_time(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers.append(ok(batch()))
    with pytest.raises(BatchWaitTimeoutError) as error:
        await sdk.result(sdk.client.batches.wait(7, timeout=0))
    assert error.value.batch.id == 7


async def test_follow_tells_of_each_change_once(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers += [ok(batch()), ok(batch()), ok(batch(costUsd=0.5)), ok(batch("Failed", failureDetails="No."))]
    seen = await sdk.collect(sdk.client.batches.follow(UUID))
    assert [(each.status, each.cost_usd) for each in seen] == [("Running", 0.25), ("Running", 0.5), ("Failed", 0.25)]
    assert api.requests[0].url.path == f"/batches/{UUID}"


async def test_items_are_read_a_page_at_a_time(sdk: AnyClient, api: ScriptedApi) -> None:
    first = [{**ITEM, "position": at} for at in range(1, 1001)]
    api.answers += [ok({"items": first, "next": 1000}), ok({"items": [{**ITEM, "position": 1001}], "next": None})]
    found = await sdk.collect(sdk.client.batches.items(7, status=["Success"]))
    assert [item.position for item in found] == list(range(1, 1002))
    assert (found[0].status, found[0].commits, found[0].earlier_runs) == (BatchItemStatus.SUCCESS, ("a" * 40,), (3,))
    assert [request.url.params["after"] for request in api.requests] == ["0", "1000"]
    assert api.requests[0].url.params["status"] == "Success"
