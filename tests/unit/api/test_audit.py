"""`GET /audit`: who may ask, what for, and what an entry tells."""

from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.support.deployment import Deployment, Json, Member

from treadle.domain.errors import Unavailable
from treadle.domain.identity import Role
from treadle.domain.network import NetworkPolicy
from treadle.domain.validation import ValidationRules
from treadle.ports.trust import AuditEntry
from treadle.services.audit import MAX_CHANGED_VALUE, MAX_ENTRIES, Audit, Door, origin
from treadle.services.audit_actions import Action
from treadle.services.repository_change import RepositoryChange

pytestmark = pytest.mark.anyio


async def asked(here: Deployment, who: Member | None = None, **query: Any) -> Json:
    answer = await here.http.get("/audit", headers=(who or here.admin).headers, params=query)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


@pytest.fixture
async def outsider(here: Deployment) -> Member:
    """An ADMIN of organization 2."""
    other = await here.services.identity.add_organization("Other")
    return await here.member("outsider@example.com", Role.ADMIN, organization=other)


async def test_an_entry_tells_who_did_what_where(here: Deployment) -> None:
    made = await here.http.post("/auth/token", headers=here.admin.headers)
    assert made.status_code == 200
    (entry, *_) = (await asked(here, action="token.issued"))["entries"]
    assert entry == {
        "id": entry["id"],
        "date": "2026-10-01T09:30:00.125Z",
        "action": "token.issued",
        "actor": "admin@localhost",
        "userId": here.admin.user.id,
        "organizationId": 1,
        "target": entry["target"],
        "detail": {"key": 1},
        "door": "api",
        "address": "127.0.0.1",
    }


async def test_a_change_tells_what_was_before(here: Deployment) -> None:
    headers, http = here.admin.headers, here.http
    for cost in (5, 7.5):
        assert (await http.put("/budget", json={"monthlyCostUsd": cost}, headers=headers)).status_code == 200
    (entry, *_) = (await asked(here, action="organization.changed"))["entries"]
    assert entry["detail"] == {
        "changed": ["monthly_cost_usd"],
        "values": {"monthly_cost_usd": {"before": 5.0, "after": 7.5}},
    }
    await here.services.runs.set_slots(1, 3)
    (entry, *_) = (await asked(here, action="organization.changed"))["entries"]
    assert entry["detail"]["values"] == {"slots": {"before": None, "after": 3}}


async def test_a_repositorys_policy_tells_what_was_before_and_its_rules_do_not(here: Deployment) -> None:
    organization = await here.services.identity.organization(1)
    repositories = here.services.repositories
    await repositories.add(organization, name="acme/shop", url="https://git.example/acme/shop.git")
    allowed = NetworkPolicy.read({"allow": ["pkg.test"]})
    long = ValidationRules(tuple("x" * 4_000 for _ in range(3)))
    for change in (
        RepositoryChange(network=allowed, rules="do as I say"),
        RepositoryChange(network=NetworkPolicy.read("full"), validation=long, scans_secrets=False),
    ):
        await repositories.update(organization, "acme/shop", change)
    last, first = (await asked(here, action="repository.changed"))["entries"]
    assert first["detail"]["changed"] == ["rules", "network"]
    assert first["detail"]["values"] == {"network": {"before": None, "after": {"allow": ["pkg.test"]}}}
    values = last["detail"]["values"]
    assert values["network"] == {"before": {"allow": ["pkg.test"]}, "after": "full"}
    assert values["scans_secrets"] == {"before": True, "after": False}
    assert len(values["validation"]["after"]) == MAX_CHANGED_VALUE + 1


async def test_it_takes_an_admin(here: Deployment) -> None:
    for role in (Role.MEMBER, Role.MANAGER):
        member = await here.member(f"{role}@example.com", role)
        answer = await here.http.get("/audit", headers=member.headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert (await here.http.get("/audit")).status_code == 401


async def test_each_organization_has_its_own(here: Deployment, outsider: Member) -> None:
    await here.http.post("/auth/token", headers=here.admin.headers)
    await here.http.post("/auth/token", headers=outsider.headers)
    theirs = (await asked(here, outsider))["entries"]
    assert {entry["organizationId"] for entry in theirs} == {outsider.organization.id}
    assert [entry["actor"] for entry in theirs if entry["action"] == "token.issued"] == ["outsider@example.com"]
    assert {entry["organizationId"] for entry in (await asked(here))["entries"]} == {1}


async def test_who_runs_the_house_sees_all_of_it(here: Deployment, outsider: Member) -> None:
    await here.services.audit.note(Action.PRUNED)
    found = (await asked(here, scope="all"))["entries"]
    assert {entry["organizationId"] for entry in found} == {None, 1, outsider.organization.id}
    for who in (outsider, await here.member("manager@example.com", Role.MANAGER)):
        answer = await here.http.get("/audit?scope=all", headers=who.headers)
        assert answer.status_code == 403


async def test_pages_are_whole(here: Deployment) -> None:
    for number in range(7):
        await here.services.audit.note(Action.FILE_DELETED, target=number, organization_id=1)
    seen = list[str]()
    query: dict[str, Any] = {"action": "file.", "limit": "3"}
    while True:
        page = await asked(here, **query)
        seen += [entry["target"] for entry in page["entries"]]
        if page["next"] is None:
            break
        query["before"] = str(page["next"])
    assert seen == ["6", "5", "4", "3", "2", "1", "0"]


async def test_since_is_a_date_or_a_time(here: Deployment) -> None:
    here.clock.advance(24 * 3600)
    await here.services.audit.note(Action.PRUNED, organization_id=1)
    for since in ("2026-10-02", "2026-10-02T11:30:00+02:00", "2026-10-02T09:30:00Z"):
        assert [entry["action"] for entry in (await asked(here, since=since))["entries"]] == ["service.pruned"]
    assert (await asked(here, since="2026-10-03"))["entries"] == []


@pytest.mark.parametrize(
    "query",
    ["limit=0", f"limit={MAX_ENTRIES + 1}", "limit=x", "before=-1", "before=9999999999999999999", "user=x",
     "since=yesterday", "since=9999-12-31T23:59:59-14:00", "scope=mine", "action=" + "a" * 101, "action=a%00",
     "action=zzz", "action=key", "action=ke.", "action=."],
)  # fmt: skip
async def test_what_is_no_question(here: Deployment, query: str) -> None:
    answer = await here.http.get(f"/audit?{query}", headers=here.admin.headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")
    assert list(answer.json()["errors"]) == [query.partition("=")[0]]


async def test_what_cannot_be_noted_undoes_nothing_and_is_in_the_log(here: Deployment) -> None:
    class Away:
        async def add_audit(self, entry: AuditEntry) -> None:
            raise Unavailable(f"The database is away: {entry.id}.")

        async def audit(self, *_: Any, **__: Any) -> list[AuditEntry]:
            return []

    with capture_logs() as logged, origin(Door.CLI, actor="operator"):
        await Audit(Away(), here.clock).note(Action.PRUNED, target="x", detail={"events": 3})
    (line,) = logged
    assert (line["event"], line["log_level"]) == ("audit_entry_lost", "error")
    assert (line["action"], line["target"], line["detail"]) == ("service.pruned", "x", {"events": 3})
    assert (line["door"], line["actor"]) == ("cli", "operator")


async def test_nobody_is_remembered_beyond_a_request(here: Deployment) -> None:
    """Whoever asks next is not whoever asked before."""
    with origin(Door.API, "192.0.2.1"):
        await here.http.get("/audit", headers=here.admin.headers)
        entry = here.services.audit.entry(Action.PRUNED)
        assert (entry.actor, entry.user_id, entry.address) == ("nobody", None, "192.0.2.1")
    entry = here.services.audit.entry(Action.PRUNED)
    assert (entry.actor, entry.door, entry.address) == ("service", Door.SERVICE, None)


async def test_sign_ins_that_fail_are_noted_and_do_not_fill_the_log(here: Deployment) -> None:
    await here.services.sessions.reset_password(here.admin.user.email, "correct horse battery")
    for number in range(30):
        sent = {"by": "password", "email": "admin@localhost", "password": f"wrong {number}"}
        await here.http.post("/sign-in", data=sent, headers={"Origin": "http://treadle.test"})
    await here.http.post("/sign-in", data={"by": "key", "key": "trd_wrong"}, headers={"Origin": "http://treadle.test"})
    found = (await asked(here, scope="all", action="session."))["entries"]
    assert [entry["action"] for entry in reversed(found)] == ["session.refused"] * 10 + ["session.throttled"]
    assert {(entry["actor"], entry["door"]) for entry in found[1:]} == {("admin@localhost", "page")}
    assert "wrong" not in str(found)


async def test_a_password_in_the_wrong_field_is_not_kept(here: Deployment) -> None:
    sent = {"by": "password", "email": "my secret word", "password": "x"}
    await here.http.post("/sign-in", data=sent, headers={"Origin": "http://treadle.test"})
    (entry,) = (await asked(here, scope="all", action="session.refused"))["entries"]
    assert entry["actor"] == "nobody"
    assert "secret" not in str(entry)
