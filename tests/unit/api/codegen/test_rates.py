"""How often each kind of call may be made."""

from pathlib import Path

import pytest
from tests.unit.api.codegen.calls import CHECKS, SESSION, SPECIFIED, filled
from tests.unit.api.codegen.scene import ORG, scene

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
        # Only now, so that what the scene did is not counted.
        limits = {f"rate_limit_{each}": "3/10" for each in GROUPS}
        settings = there.here.settings.model_copy(update=limits)
        from treadle.api.app import create_app

        there.here.http._transport.app = create_app(there.here.services, settings)  # type: ignore[attr-defined]
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
            # An invalid call counts too, and a stranger's is counted before it is refused.
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
