"""Who may do what: every operation and every kind of caller, by the one table of permissions."""

import json

import pytest
from tests.support.deployment import PROCESSES
from tests.unit.api.codegen.calls import BESIDES, NEEDS, SESSION, SPECIFIED, filled
from tests.unit.api.codegen.scene import ORG, Scene

from treadle.api.front import ANSWER_HEADERS
from treadle.domain.identity import Role
from treadle.domain.permissions import PERMISSIONS
from treadle.services.guesses import BAD_CREDENTIALS_SECONDS

CALLS = {**SPECIFIED, **BESIDES}

#: Told about the caller, or about nobody in particular: everybody who is known may ask.
OPEN = {call for call, needed in NEEDS.items() if needed is None}
NO_ACCESS = {
    "message": "You do not have access to this organization.",
    "status_code": 403,
    "detail": "You do not have access to this organization.",
}


@pytest.mark.anyio
@pytest.mark.parametrize("role", [Role.MEMBER, Role.MANAGER, Role.ADMIN])
@pytest.mark.parametrize("call", sorted(CALLS))
async def test_a_role_may_what_the_table_says(there: Scene, call: str, role: Role) -> None:
    """The run in question is the member's own."""
    method, path = call.split(" ")
    answer = await there.send(method, path, role, **filled(CALLS[call], there.ids))
    needed = NEEDS[call]
    if needed is None or needed in PERMISSIONS[role]:
        assert answer.status_code == 200, answer.text
    else:
        assert answer.status_code == 403, answer.text
        assert needed in answer.json()["message"]


@pytest.mark.anyio
async def test_strangers_learn_nothing(there: Scene) -> None:
    """Whoever is not in the organization is told the same, word for word, whether it is there or not, whether what is
    asked for is there or not, and whether what was sent is valid or not."""
    for call, given in CALLS.items():
        method, path = call.split(" ")
        if call in OPEN:
            continue
        for who in ("outsider", "elsewhere", "roleless"):
            for organization in (1, 77, -1, 2**63, 10**40):
                for thing in (None, 999):
                    ids = {name: thing or id_ for name, id_ in there.ids.items()} | {"org_id": organization}
                    key = {"Authorization": f"Bearer {there.people[who].key}"}
                    answer = await there.here.http.request(
                        method, path.format(**ids), headers=key, **filled(given, ids)
                    )
                    assert (answer.status_code, answer.json()) == (403, NO_ACCESS), (call, who, ids)
                    assert answer.headers.keys() == {"content-type", "content-length", *map(str.lower, ANSWER_HEADERS)}
            if "org_id}" in path:
                for content in (b"{", b""):
                    answer = await there.send(method, path, who, content=content)
                    assert (answer.status_code, answer.json()) == (403, NO_ACCESS), (call, who)


@pytest.mark.anyio
async def test_without_a_key_that_counts_there_is_nothing(there: Scene) -> None:
    for call, given in CALLS.items():
        method, path = call.split(" ")
        there.here.clock.advance(BAD_CREDENTIALS_SECONDS)  # so that nobody is told to wait instead
        for headers in (
            {},
            {"Authorization": "Bearer trd_unknown"},
            {"Authorization": "Basic eDp5"},
            {"Authorization": "Bearer "},
            {"X-Api-Key": "trd_unknown"},
            {"Authorization": "Bearer a.b.c"},
        ):
            answer = await there.here.http.request(
                method, path.format(**there.ids), headers=headers, **filled(given, there.ids)
            )
            assert answer.status_code == 401, (call, headers)
            assert list(answer.json()) == ["detail"]
            assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.anyio
async def test_a_key_that_reaches_all_counts_in_each_organization_of_its_user(there: Scene) -> None:
    for call, given in CALLS.items():
        method, path = call.split(" ")
        answer = await there.send(method, path, "everywhere", **filled(given, there.ids))
        assert answer.status_code == 200, (call, answer.text)
    found = await there.json("GET", "/v1/organizations", "everywhere")
    # The key's own first: that is where clients are that name none.
    assert [each["id"] for each in found["items"]] == [there.other.id, 1]
    answer = await there.send("GET", "/v1/organizations/77/users", "everywhere")
    assert (answer.status_code, answer.json()) == (403, NO_ACCESS)
    for who in ("elsewhere", "outsider"):
        found = await there.json("GET", "/v1/organizations", who)
        assert [each["id"] for each in found["items"]] == [there.other.id]


@pytest.mark.anyio
async def test_a_key_that_reaches_all_outlives_its_own_organizations_role(there: Scene) -> None:
    """It counts where its user is still a member, and nowhere else."""
    user, identity = there.people["everywhere"].user, there.here.services.identity
    await identity.set_role(there.other.id, user.id, None)
    for call, given in CALLS.items():
        method, path = call.split(" ")
        answer = await there.send(method, path, "everywhere", **filled(given, there.ids))
        assert answer.status_code == 200, (call, answer.text)
    found = await there.json("GET", "/v1/organizations", "everywhere")
    assert [each["id"] for each in found["items"]] == [1]
    answer = await there.send("GET", f"/v1/organizations/{there.other.id}/users", "everywhere")
    assert (answer.status_code, answer.json()) == (403, NO_ACCESS)
    # The other dialect knows a key's own organization alone.
    answer = await there.send("GET", PROCESSES, "everywhere")
    assert answer.status_code == 403
    await identity.set_role(1, user.id, None)
    for call in sorted(OPEN):
        method, path = call.split(" ")
        answer = await there.send(method, path, "everywhere")
        assert (answer.status_code, answer.json()) == (403, NO_ACCESS)


@pytest.mark.anyio
async def test_somebody_without_a_role_is_nobody_here(there: Scene) -> None:
    for call in sorted(OPEN):
        method, path = call.split(" ")
        answer = await there.send(method, path, "roleless")
        assert (answer.status_code, answer.json()) == (403, NO_ACCESS)


@pytest.mark.anyio
async def test_a_members_colleague_has_its_own(there: Scene) -> None:
    """What is not theirs is not there, in the words for what does not exist."""
    there.people["colleague"] = await there.here.member("colleague@example.com")
    unknown = {**there.ids, "agent_run_id": 999, "pr_id": 999, "sandbox_id": 999}
    for call, given in CALLS.items():
        method, path = call.split(" ")
        if not any(name in path or name in json.dumps(given) for name in ("agent_run_id", "pr_id", "sandbox_id")):
            continue
        theirs = await there.send(method, path, "colleague", **filled(given, there.ids))
        key = {"Authorization": f"Bearer {there.people['colleague'].key}"}
        nobodys = await there.here.http.request(method, path.format(**unknown), headers=key, **filled(given, unknown))
        assert (theirs.status_code, theirs.json()) == (nobodys.status_code, nobodys.json()), call
        assert theirs.status_code == 404 or theirs.json()["success"] is False, call
    assert (await there.json("GET", f"{ORG}/agent/runs", "colleague"))["items"] == []
    assert (await there.json("GET", f"{ORG}/agent/runs", "MANAGER"))["total"] == 1


@pytest.mark.anyio
async def test_a_local_session_is_its_users(there: Scene) -> None:
    opened = await there.json("POST", SESSION, "MEMBER", json={"session_id": "s"})
    shown = f"{ORG}/agent/run/{opened['agent_run_id']}"
    for who, status in (("MEMBER", 200), ("MANAGER", 200), ("ADMIN", 200), ("outsider", 403)):
        assert (await there.send("GET", shown, who)).status_code == status
    there.people["colleague"] = await there.here.member("colleague@example.com")
    for path in (shown, f"{shown}/logs"):
        answer = await there.send("GET", path, "colleague")
        assert (answer.status_code, answer.json()["message"]) == (404, "Agent run not found.")
    for path, sent in (("status", {"status": "ERROR"}), ("log", {"log": {"type": "user"}})):
        assert (await there.send("POST", f"{SESSION}/s/{path}", "colleague", json=sent)).status_code == 404
        assert (await there.send("POST", f"{SESSION}/s/{path}", "MANAGER", json=sent)).status_code == 403
        assert (await there.send("POST", f"{SESSION}/s/{path}", "MEMBER", json=sent)).status_code == 200
