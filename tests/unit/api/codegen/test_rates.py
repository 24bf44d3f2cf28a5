"""How often each kind of call may be made."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.unit.api.codegen.calls import CHECKS, SESSION, SPECIFIED, filled
from tests.unit.api.codegen.scene import ORG, Scene, scene

from treadle.api.app import create_app

RUN = f"{ORG}/agent/run"
MANY = {"message": "Rate limit exceeded. Please try again later.", "status_code": 429}

#: A call of each group, beside others of the same group.
GROUPS = {
    "standard": (f"GET {ORG}/users", f"GET {CHECKS}", f"POST {RUN}/ban", "GET /v1/users/me"),
    "create": (f"POST {RUN}", f"POST {RUN}/resume"),
    "setup": (f"POST {ORG}/setup-commands/generate",),
    "analysis": (f"POST {ORG}/sandbox/{{sandbox_id}}/analyze-logs",),
    "logs": ("GET /v1/alpha/organizations/{org_id}/agent/run/{agent_run_id}/logs",),
    "pulls": (f"PATCH {ORG}/prs/{{pr_id}}", f"PATCH {ORG}/repos/{{repo_id}}/prs/{{pr_id}}"),
    "rules": (f"GET {ORG}/cli/rules",),
}


@pytest.mark.anyio
@pytest.mark.parametrize("group", sorted(GROUPS))
async def test_a_group_is_counted_by_itself(tmp_path: Path, group: str) -> None:
    async with scene(tmp_path) as there:
        limited(there, "3/10")
        calls = GROUPS[group]
        for count in range(3):
            call = calls[count % len(calls)]
            answer = await there.send(*call.split(" "), **filled(SPECIFIED[call], there.ids))
            assert answer.status_code == 200, answer.text
            assert answer.headers["ratelimit-policy"] == f'"{group}";q=3;w=10'
            assert answer.headers["ratelimit"].startswith(f'"{group}";r={2 - count};t=')
        for call in calls:
            answer = await there.send(*call.split(" "), **filled(SPECIFIED[call], there.ids))
            assert answer.status_code == 429
            assert answer.json() == {**MANY, "detail": MANY["message"]}
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.headers["ratelimit"].startswith(f'"{group}";r=0;t=')
            assert (await there.send(call.split(" ")[0], call.split(" ")[1], content=b"{")).status_code == 429
        for other, (call, *_) in GROUPS.items():
            if other != group:
                answer = await there.send(*call.split(" "), **filled(SPECIFIED[call], there.ids))
                assert answer.status_code == 200, (other, answer.text)
        call = calls[0]
        method, path = call.split(" ")
        answer = await there.send(method, path, "MANAGER", **filled(SPECIFIED[call], there.ids))
        assert answer.status_code == 200, "another key has its own"
        there.here.clock.advance(10)
        answer = await there.send(*call.split(" "), **filled(SPECIFIED[call], there.ids))
        assert answer.status_code == 200


@pytest.mark.anyio
async def test_a_session_elsewhere_is_not_counted(tmp_path: Path) -> None:
    async with scene(tmp_path, rate_limit_standard="1/10", rate_limit_create="20/60") as there:
        await there.json("POST", SESSION, json={"session_id": "s"})
        for _ in range(70):
            answer = await there.send("POST", f"{SESSION}/s/log", json={"log": {"type": "user"}})
            assert answer.status_code == 200
            assert "ratelimit" not in answer.headers


@pytest.mark.anyio
async def test_whatever_is_asked_counts(tmp_path: Path) -> None:
    """An invalid call, one of a stranger, one by another header or another address: none is a way around."""
    async with scene(tmp_path) as there:
        key = there.here.admin.key
        ways: dict[str, Sequence[tuple[str, str, dict[str, Any]]]] = {
            "invalid": [("POST", f"{RUN}/ban", {"content": b"{"}), ("GET", f"{ORG}/users/x", {})],
            "strange": [("GET", "/v1/organizations/77/users", {}), ("GET", f"{RUN}/999", {})],
            "elsewhere": [("GET", f"{ORG}/repos", {}), ("GET", f"{ORG}/repositories", {})],
            "doubled": [("GET", "http://treadle.test//v1/users/me", {}), ("GET", "/v1/users/me?x=1", {})],
            "by another header": [
                ("GET", "/v1/users/me", {"headers": {"Authorization": f"bearer   {key}"}}),
                ("GET", "/v1/users/me", {"headers": {"Authorization": "", "X-Api-Key": f" {key} "}}),
            ],
        }
        for way, calls in ways.items():
            limited(there, "2/10")
            for method, path, options in calls:
                answer = await there.send(method, path, **options)
                assert answer.status_code != 429, way
                assert answer.headers["ratelimit-policy"] == '"standard";q=2;w=10', (way, answer.text)
            assert (await there.send("GET", "/v1/users/me")).status_code == 429, way
            there.here.clock.advance(10)


@pytest.mark.anyio
async def test_tokens_of_one_user_share_a_limit(tmp_path: Path) -> None:
    async with scene(tmp_path) as there:
        limited(there, "2/10")
        statuses = []
        for _ in range(3):
            issued = await there.here.http.post("/auth/token", headers=there.here.admin.headers)
            token = {"Authorization": f"Bearer {issued.json()['accessToken']}"}
            statuses.append((await there.here.http.get("/v1/users/me", headers=token)).status_code)
        assert statuses == [200, 200, 429]


def limited(there: Scene, rate: str) -> None:
    """Only now, so that what the scene did is not counted."""
    settings = there.here.settings.model_copy(update={f"rate_limit_{each}": rate for each in GROUPS})
    there.here.http._transport.app = create_app(there.here.services, settings)  # type: ignore[attr-defined]
