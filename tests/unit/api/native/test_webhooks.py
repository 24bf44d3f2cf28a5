"""`/webhooks`: who may, what is refused, and what is told of an address and a secret."""

import sqlite3
from pathlib import Path

import pytest
from tests.support.chores import work_off
from tests.support.deployment import deployed

from treadle.domain.identity import Role
from treadle.ports.chores import ChoreKind

pytestmark = pytest.mark.anyio

HOOK = {"name": "told", "target": "https://hooks.example.com/a/secret/path"}


async def test_a_secret_is_told_once_and_an_address_not_whole(tmp_path: Path) -> None:
    async with deployed(tmp_path) as here:
        made = (await here.http.post("/webhooks", json=HOOK, headers=here.admin.headers)).json()
        assert made["secret"].startswith("whsec_")
        assert made["target"] == "https://hooks.example.com/…"
        at = f"/webhooks/{made['id']}"
        rotated = (await here.http.post(f"{at}/rotate", headers=here.admin.headers)).json()
        assert rotated["secret"] not in {None, made["secret"]}
        for path in ("/webhooks", at):
            text = (await here.http.get(path, headers=here.admin.headers)).text
            assert "whsec_" not in text
            assert "secret/path" not in text


async def test_a_manager_looks_and_an_admin_changes(tmp_path: Path) -> None:
    async with deployed(tmp_path) as here:
        member = await here.member("member@example.com")
        manager = await here.member("manager@example.com", Role.MANAGER)
        made = (await here.http.post("/webhooks", json=HOOK, headers=here.admin.headers)).json()
        at = f"/webhooks/{made['id']}"
        assert (await here.http.get(at, headers=member.headers)).status_code == 403
        assert (await here.http.get(f"{at}/messages", headers=manager.headers)).status_code == 200
        assert (await here.http.post(f"{at}/test", headers=manager.headers)).status_code == 200
        for method, path in (("POST", "/webhooks"), ("PATCH", at), ("DELETE", at), ("POST", f"{at}/rotate")):
            answer = await here.http.request(method, path, json=HOOK, headers=manager.headers)
            assert answer.status_code == 403, (method, path)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"target": "http://hooks.example.com/"}, "target"),
        ({"target": "https://user:word@hooks.example.com/"}, "target"),
        ({"target": 7}, "target"),
        ({"kind": "pigeon"}, "kind"),
        ({"kind": "email", "target": "ops@example.com"}, "kind"),
        ({"kind": "email", "target": "ops@example.com\nBcc: all@example.com"}, "target"),
        ({"filter": {"types": ["run.nothing"]}}, "filter.types"),
        ({"filter": {"statuses": ["Lost"]}}, "filter.statuses"),
        ({"filter": {"sources": ["api"]}}, "filter.sources"),
        ({"filter": {"repositories": ["one"]}}, "filter.repositories"),
        ({"filter": {"colours": []}}, "filter"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_faults_are_named(tmp_path: Path, changed: dict[str, object], field: str) -> None:
    async with deployed(tmp_path) as here:
        answer = await here.http.post("/webhooks", json={**HOOK, **changed}, headers=here.admin.headers)
        assert answer.status_code == 400, answer.text
        assert field in answer.json()["errors"]


async def test_what_there_is_not_and_what_signs_nothing(tmp_path: Path) -> None:
    async with deployed(tmp_path) as here:
        for method, path in (("GET", "/webhooks/9"), ("GET", "/webhooks/x"), ("POST", "/webhooks/9/resend-dead")):
            assert (await here.http.request(method, path, headers=here.admin.headers)).status_code == 404
        made = (await here.http.post("/webhooks", json={**HOOK, "kind": "slack"}, headers=here.admin.headers)).json()
        assert made["secret"] is None
        at = f"/webhooks/{made['id']}"
        assert (await here.http.post(f"{at}/rotate", headers=here.admin.headers)).status_code == 409
        assert (await here.http.get(f"{at}/messages?limit=501", headers=here.admin.headers)).status_code == 400
        assert (await here.http.get(f"{at}/messages?status=Lost", headers=here.admin.headers)).status_code == 400


async def test_a_broken_seal_is_a_failed_try_and_no_end_of_all_tries(tmp_path: Path) -> None:
    async with deployed(tmp_path) as here:
        http, headers = here.http, here.admin.headers
        made = (await http.post("/webhooks", json=HOOK, headers=headers)).json()
        with sqlite3.connect(tmp_path / "treadle.db") as database:
            row = database.execute("SELECT sealed_target FROM webhooks").fetchone()[0]
            database.execute("UPDATE webhooks SET sealed_target = ?", (row[:-6] + "AAAAAA",))
        database.close()
        told = await http.post(f"/webhooks/{made['id']}/test", headers=headers)
        assert told.status_code == 200, told.text
        assert told.json()["isDelivered"] is False
        await here.start()
        await work_off(here, ChoreKind.MESSAGES)
        (message,) = (await http.get(f"/webhooks/{made['id']}/messages", headers=headers)).json()["messages"]
        assert (message["status"], message["tries"]) == ("Waiting", 1)


async def test_a_private_address_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    async with deployed(tmp_path) as here:
        made = (await here.http.post("/webhooks", json=HOOK, headers=here.admin.headers)).json()
        for host in ("127.0.0.1", "[::1]", "10.1.1.1", "169.254.169.254", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]"):
            sent = {**HOOK, "target": f"https://{host}/x"}
            for method, path in (("POST", "/webhooks"), ("PATCH", f"/webhooks/{made['id']}")):
                answer = await here.http.request(method, path, json=sent, headers=here.admin.headers)
                assert answer.status_code == 400, (method, host)
                assert "is on a private address, which this service does not connect to." in answer.text


async def test_a_private_address_is_taken_where_they_are_allowed(tmp_path: Path) -> None:
    async with deployed(tmp_path, allow_private_hosts=True) as here:
        sent = {**HOOK, "target": "https://127.0.0.1/x"}
        assert (await here.http.post("/webhooks", json=sent, headers=here.admin.headers)).is_success


async def test_a_body_that_is_nested_too_deeply_is_told_so(tmp_path: Path) -> None:
    async with deployed(tmp_path) as here:
        for body, said in (("[" * 5_000 + "]" * 5_000, "Is nested too deeply."), ("[", "Is no JSON.")):
            answer = await here.http.post("/webhooks", content=body, headers=here.admin.headers)
            assert answer.status_code == 400
            assert answer.json()["errors"] == {"$": [said]}
