"""`client.schedules`, of both clients."""

from typing import Any

import httpx2
import pytest
from tests.support.scripted_api import AnyClient, ScriptedApi, ok, problem

pytestmark = pytest.mark.anyio


def schedule(name: str) -> dict[str, Any]:
    return {
        "id": 7, "name": name, "cron": "@daily", "timeZone": "UTC", "missed": "once", "overlap": "skip",
        "target": {"kind": "plan"}, "isEnabled": True, "userId": 1, "dateNext": None, "coming": [],
        "dateCreated": "2026-11-22T10:00:00+00:00", "dateUpdated": "2026-11-22T10:00:00+00:00",
    }  # fmt: skip


async def test_list_goes_through_the_pages(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers += [
        ok({"schedules": [schedule("a"), schedule("b & c")], "next": "b & c"}),
        ok({"schedules": [schedule("d")], "next": None}),
    ]
    found = await sdk.result(sdk.client.schedules.list())
    assert [each.name for each in found] == ["a", "b & c", "d"]
    assert [dict(request.url.params) for request in api.requests] == [{}, {"after": "b & c"}]


async def test_a_firing_whose_answer_is_lost_is_asked_for_again_under_its_key(sdk: AnyClient, api: ScriptedApi) -> None:
    firing = {
        "dateDue": "2026-11-22T10:00:00+00:00", "dateFired": "2026-11-22T10:00:00+00:00", "outcome": "waiting",
        "detail": None, "runId": None, "batchId": None, "scriptRunId": None,
    }  # fmt: skip
    api.answers += [httpx2.ReadError("Connection reset by peer"), problem(503), ok(firing), ok(firing), ok(firing)]
    assert (await sdk.result(sdk.client.schedules.fire(7))).outcome == "waiting"
    await sdk.result(sdk.client.schedules.fire(7))
    await sdk.result(sdk.client.schedules.fire(7, idempotency_key="mine"))
    first, second, third, other, given = [request.headers["idempotency-key"] for request in api.requests]
    assert first == second == third != other
    assert given == "mine"
