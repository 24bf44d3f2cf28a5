"""`client.audit`."""

from datetime import UTC, datetime

import pytest
from tests.support.scripted_api import AnyClient, ScriptedApi, ok

from treadle.sdk import AuditEntry

pytestmark = pytest.mark.anyio

ENTRY = {
    "id": 9,
    "date": "2026-11-22T10:00:00Z",
    "action": "key.created",
    "actor": "ada@example.com",
    "userId": 3,
    "organizationId": 1,
    "target": "7",
    "detail": {"name": "CI"},
    "door": "page",
    "address": "192.0.2.1",
}


async def test_the_audit_log_is_listed(api: ScriptedApi, sdk: AnyClient) -> None:
    api.answers.append(
        ok({"entries": [ENTRY, {**ENTRY, "userId": None, "organizationId": None, "target": None}], "next": 9})
    )
    since = datetime(2026, 11, 1, tzinfo=UTC)
    found = await sdk.result(
        sdk.client.audit.list(action="key.", user=3, since=since, before=10, limit=2, everywhere=True)
    )
    assert found[0] == AuditEntry(
        9, datetime(2026, 11, 22, 10, tzinfo=UTC), "key.created", "ada@example.com", 3, 1, "7", {"name": "CI"}, "page",
        "192.0.2.1",
    )  # fmt: skip
    assert (found[1].user_id, found[1].organization_id, found[1].target) == (None, None, None)
    asked = api.only.url
    assert asked.path == "/audit"
    assert dict(asked.params) == {
        "action": "key.", "user": "3", "since": "2026-11-01T00:00:00+00:00", "before": "10", "limit": "2",
        "scope": "all",
    }  # fmt: skip


async def test_nothing_is_asked_for_that_is_not_given(api: ScriptedApi, sdk: AnyClient) -> None:
    api.answers.append(ok({"entries": [], "next": None}))
    assert list(await sdk.result(sdk.client.audit.list())) == []
    assert not api.only.url.params
