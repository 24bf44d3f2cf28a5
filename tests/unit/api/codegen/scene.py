"""An organization with everything in it that the agent-run API tells of, and people of every kind."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
from tests.support.deployment import Deployment, Json, Member, deployed
from tests.support.forge_server import ForgeServer

from treadle.domain.events import Draft, EventType
from treadle.domain.identity import Organization, Role
from treadle.domain.repository import ForgeKind, PullRequest, PullRequestState, SandboxStatus
from treadle.domain.run import EngineName
from treadle.domain.states import RunStatus
from treadle.ports import Fence
from treadle.services.connections import NewProvider

#: No test of anything else is to meet a limit.
NO_LIMITS = dict.fromkeys(
    ("standard", "create", "setup", "analysis", "logs", "pulls", "rules"),
    "0",
)

ORG = "/v1/organizations/{org_id}"


@dataclass(frozen=True)
class Scene:
    """`ids` are those of what there is in organization 1, by the names of the path's parameters."""

    here: Deployment
    ids: Mapping[str, int]
    other: Organization
    people: dict[str, Member] = field(default_factory=dict)

    async def send(self, method: str, path: str, who: str | None = "ADMIN", **options: Any) -> httpx2.Response:
        """`path` may hold the names of `ids`."""
        headers = {"Authorization": f"Bearer {self.people[who].key}"} if who is not None else {}
        if "json" in options:  # in ASCII, so that a test may send half of a surrogate pair
            options["content"] = json.dumps(options.pop("json"))
            headers["Content-Type"] = "application/json"
        return await self.here.http.request(
            method, path.format(**self.ids), headers={**headers, **options.pop("headers", {})}, **options
        )

    async def json(self, method: str, path: str, who: str = "ADMIN", **options: Any) -> Json:
        answer = await self.send(method, path, who, **options)
        assert answer.status_code == httpx2.codes.OK, answer.text
        found: Json = answer.json()
        return found

    async def create(self, who: str = "ADMIN", **fields: Any) -> Json:
        """An agent run."""
        return await self.json("POST", f"{ORG}/agent/run", who, json={"prompt": "Do it", **fields})


@asynccontextmanager
async def scene(folder: Path, **overrides: object) -> AsyncIterator[Scene]:
    limits = {f"rate_limit_{name}": rate for name, rate in NO_LIMITS.items()}
    settings: dict[str, Any] = {"allow_private_hosts": True, **limits, **overrides}
    with ForgeServer(ForgeKind.GITHUB) as forge:
        async with deployed(folder, **settings) as here:
            yield await _furnished(here, forge)


async def _furnished(here: Deployment, forge: ForgeServer) -> Scene:
    services = here.services
    organization = here.admin.organization
    repository = await services.repositories.add(
        organization,
        name="acme/shop",
        url="https://git.example/acme/shop.git",
        forge=forge.access,
        forge_token=forge.token,
    )
    other = await services.identity.add_organization("Other")
    people = {
        "ADMIN": here.admin,
        "MANAGER": await here.member("manager@example.com", Role.MANAGER),
        "MEMBER": await here.member("member@example.com"),
        "outsider": await here.member("outsider@example.com", Role.ADMIN, organization=other),
        # A member here, by a key of another organization.
        "elsewhere": await here.member("elsewhere@example.com", Role.ADMIN, organization=other),
        "roleless": await here.member("gone@example.com"),
    }
    await services.identity.set_role(1, people["elsewhere"].user.id, Role.ADMIN)
    await services.identity.set_role(1, people["roleless"].user.id, None)
    _, everywhere = await services.identity.create_key("elsewhere@example.com", other.id, reaches_all=True)
    people["everywhere"] = Member(other, people["elsewhere"].user, everywhere)
    await services.connections.add_provider(
        NewProvider("notes", "https://notes.example", "https://notes.example/a", "https://notes.example/t", is_mcp=True)
    )
    found = Scene(here, {"org_id": 1, "repo_id": repository.id, "user_id": here.admin.user.id}, other, people)
    return Scene(here, {**found.ids, **await _with_a_run(found, repository.id, forge)}, other, people)


async def _with_a_run(found: Scene, repository_id: int, forge: ForgeServer) -> Mapping[str, int]:
    """A member's run that ended well, with a pull request, and with the setup commands' log."""
    here = found.here
    run = await found.create("MEMBER", model="dummy", metadata={"ticket": 7})
    now = here.clock.now()
    claimed, fence = await here.claim()
    assert claimed.id == run["id"]
    assert claimed.engine is EngineName.DUMMY
    await here.store.record(fence, EVENTS, now)
    project = forge.add("acme/shop")
    project.checks["main"] = ["build", "lint"]
    opened = project.open("Do it", claimed.branch_work)
    pull = await here.store.put_pull_request(
        fence,
        PullRequest(
            0,
            1,
            repository_id,
            run["id"],
            opened.number,
            "Do it",
            "https://forge.example/acme/shop/pull/1",
            PullRequestState.OPEN,
            claimed.branch_work,
            now,
        ),
        now,
    )
    sandbox = await here.store.add_sandbox(fence, repository_id, "digest", now)
    await here.blobs.put("setup.log", _once(b"npm: not found\n"))
    await here.store.finish_sandbox(
        fence, sandbox.id, SandboxStatus.FAILED, now + timedelta(seconds=1), exit_code=1, log_blob="setup.log"
    )
    await here.finish(Fence(run["id"], claimed.lease), RunStatus.SUCCESS)
    return {"agent_run_id": run["id"], "pr_id": pull.id, "sandbox_id": sandbox.id}


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


EVENTS = (
    Draft(EventType.STEP_STARTED, {"text": "Do it", "isCommitable": True}, 1),
    Draft(EventType.ENGINE_THOUGHT, {"text": "Hm."}, 1),
    Draft(EventType.TOOL_STARTED, {"id": "t1", "tool": "Bash", "input": {"command": "ls"}}, 1),
    Draft(EventType.TOOL_FINISHED, {"id": "t1", "output": "a\n", "isError": False}, 1),
    Draft(EventType.STEP_FINISHED, {"status": "Success", "failureDetails": None, "output": "Done.\nAll."}, 1),
)
