"""`client.secrets`: what each operation sends, and what it makes of the answer."""

import inspect
from datetime import UTC, datetime

import httpx2
import pytest
from tests.support.scripted_api import AnyClient, ScriptedApi, ok

from treadle.sdk import RepositorySecret, UnexpectedAnswerError
from treadle.sdk._secrets import AsyncSecrets, Secrets

pytestmark = pytest.mark.anyio

ANSWER = {"secrets": [{"name": "TOKEN", "dateUpdated": "2031-04-05T06:07:08.123Z", "more": 1}]}
SECRET = RepositorySecret("TOKEN", datetime(2031, 4, 5, 6, 7, 8, 123_000, tzinfo=UTC))


async def test_names_are_listed(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers.append(ok(ANSWER))
    assert await sdk.result(sdk.client.secrets.list(7)) == [SECRET]
    assert api.paths == ["GET /repositories/by-id/7/secrets"]


async def test_values_are_sent_and_do_not_come_back(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers.append(ok(ANSWER))
    assert await sdk.result(sdk.client.secrets.set(7, {"TOKEN": "hunter2"})) == [SECRET]
    assert api.paths == ["PUT /repositories/by-id/7/secrets"]
    assert api.sent_json() == {"values": {"TOKEN": "hunter2"}}


async def test_one_is_removed(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers.append(httpx2.Response(204))
    assert await sdk.result(sdk.client.secrets.remove(7, "A/B")) is None
    assert api.only.url.raw_path == b"/repositories/by-id/7/secrets/A%2FB"
    assert api.only.method == "DELETE"


async def test_a_secret_without_a_date_is_no_answer(sdk: AnyClient, api: ScriptedApi) -> None:
    api.answers.append(ok({"secrets": [{"name": "TOKEN"}]}))
    with pytest.raises(UnexpectedAnswerError):
        await sdk.result(sdk.client.secrets.list(7))


def test_both_clients_have_the_same_methods() -> None:
    for name in ("list", "set", "remove"):
        ours, theirs = getattr(Secrets, name), getattr(AsyncSecrets, name)
        assert inspect.signature(ours).parameters == inspect.signature(theirs).parameters
        assert ours.__doc__
        assert ours.__doc__ == theirs.__doc__
