"""`client.webhooks`: what each operation sends, and what it makes of the answer."""

import inspect

import httpx2
import pytest
from tests.support.scripted_api import AnyClient, ScriptedApi, ok

from treadle.sdk import WebhookFilter, WebhookReply
from treadle.sdk._webhooks import AsyncWebhooks, Webhooks

pytestmark = pytest.mark.anyio

WEBHOOK = {
    "id": 3,
    "name": "told",
    "kind": "webhook",
    "target": "https://hooks.example.com/…",
    "filter": {"types": ["run.*"], "repositories": [7], "statuses": [], "sources": [], "more": 1},
    "isEnabled": True,
    "secret": "whsec_x",
    "dateCreated": "2031-04-05T06:07:08.123Z",
}
MESSAGE = {"id": 4, "lane": "run 1", "type": "run.finished", "status": "Dead", "tries": 12, "data": {"run": {}}}


async def test_one_is_added_and_its_secret_is_in_no_repr(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers.append(ok(WEBHOOK))
    wanted = WebhookFilter(types=["run.*"], repositories=[7])
    made = await sdk.result(sdk.client.webhooks.add("told", "https://hooks.example.com/x", filter=wanted))
    assert (made.id, made.secret, made.filter) == (3, "whsec_x", WebhookFilter(("run.*",), (7,)))
    assert "whsec_x" not in repr(made)
    assert api.paths == ["POST /webhooks"]
    assert api.sent_json() == {
        "name": "told",
        "target": "https://hooks.example.com/x",
        "kind": "webhook",
        "filter": {"types": ["run.*"], "repositories": [7], "statuses": [], "sources": []},
    }


async def test_what_is_not_given_is_not_sent(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers.append(ok(WEBHOOK))
    await sdk.result(sdk.client.webhooks.update(3, is_enabled=False))
    assert api.paths == ["PATCH /webhooks/3"]
    assert api.sent_json() == {"isEnabled": False}


async def test_the_others(sdk: AnyClient, api: ScriptedApi) -> None:
    webhooks = sdk.client.webhooks
    api.answers += [
        ok({"webhooks": [WEBHOOK]}), ok(WEBHOOK), ok(WEBHOOK),
        ok({"isDelivered": False, "status": 500, "error": "No."}),
        ok({"messages": [MESSAGE], "next": None}), ok(MESSAGE), ok({"count": 2}), httpx2.Response(204),
    ]  # fmt: skip
    assert [each.id for each in await sdk.result(webhooks.list())] == [3]
    assert (await sdk.result(webhooks.get(3))).name == "told"
    assert (await sdk.result(webhooks.rotate(3))).secret == "whsec_x"
    assert await sdk.result(webhooks.test(3)) == WebhookReply(False, 500, "No.")
    [message] = await sdk.result(webhooks.messages(3, status="Dead", limit=5))
    assert (message.id, message.tries, message.data) == (4, 12, {"run": {}})
    assert (await sdk.result(webhooks.resend(3, 4))).status == "Dead"
    assert await sdk.result(webhooks.resend_dead(3)) == 2
    assert await sdk.result(webhooks.remove(3)) is None
    assert api.paths == [
        "GET /webhooks", "GET /webhooks/3", "POST /webhooks/3/rotate", "POST /webhooks/3/test",
        "GET /webhooks/3/messages", "POST /webhooks/3/messages/4/resend", "POST /webhooks/3/resend-dead",
        "DELETE /webhooks/3",
    ]  # fmt: skip


def test_both_clients_have_the_same_methods() -> None:
    for name in ("list", "add", "get", "update", "remove", "rotate", "test", "messages", "resend", "resend_dead"):
        ours, theirs = getattr(Webhooks, name), getattr(AsyncWebhooks, name)
        assert inspect.signature(ours).parameters == inspect.signature(theirs).parameters
        assert ours.__doc__
        assert ours.__doc__ == theirs.__doc__
