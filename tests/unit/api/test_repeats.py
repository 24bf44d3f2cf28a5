"""Calls that are repeated with their Idempotency-Key: answered as the first was, whatever has changed since."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.deployment import PROCESSES, Deployment, Json, body, deployed
from tests.support.git_server import GitServer
from tests.support.mcp_doors import call, connected

from treadle.domain.credentials import GitCredentials
from treadle.domain.identity import Role
from treadle.domain.repository import Repository
from treadle.domain.run import Usage
from treadle.domain.states import Phase, StepStatus
from treadle.ports import RunFilter, StepUpdate
from treadle.server import listening

pytestmark = pytest.mark.anyio

RESUME = "/v1/organizations/1/agent/run/resume"
SMALL = {"source": "main", "engine": "Dummy", "steps": ["Do it"]}


@pytest.fixture
async def here(tmp_path: Path, anyio_backend: str) -> AsyncIterator[Deployment]:
    async with deployed(tmp_path, allow_private_hosts=True) as found:
        yield found


@pytest.fixture
def git() -> Iterator[GitServer]:
    with GitServer(username="ada", password="correct horse") as server:
        yield server


async def post(here: Deployment, path: str, sent: Json, status: int = 200, *, key: str = "k") -> Json:
    headers = {**here.admin.headers, "Idempotency-Key": key}
    answer = await here.http.post(path, headers=headers, json=sent)
    assert answer.status_code == status, answer.text
    found: Json = answer.json()
    return found


async def spend(here: Deployment, dollars: float) -> None:
    """By the run that waits, which goes on."""
    _, fence = await here.claim()
    update = StepUpdate(1, StepStatus.RUNNING, Phase.ANALYSIS, usage=Usage(cost_usd=dollars))
    await here.store.record(fence, [], here.clock.now(), step=update)


async def cap(here: Deployment, *, month: float | None = None, run: float | None = None) -> None:
    organizations = here.services.organizations
    found = await organizations.get(1)
    await organizations.save(replace(found, monthly_cost_usd=month, default_max_cost_usd=run))


async def registered(here: Deployment, url: str = "https://git.example/acme/shop.git") -> Repository:
    git = GitCredentials(http="ada:correct horse")
    return await here.services.repositories.add(
        here.admin.organization, name="acme/shop", url=url, default_branch="main", git=git
    )


async def test_a_resume_whose_budget_is_used_up_since(here: Deployment) -> None:
    process = await here.start(maxCostUsd=0.5)
    run = await here.store.get_run_seen(1, RunFilter(1))
    assert str(run.uuid) == process["id"]
    asked = {"agent_run_id": run.id, "prompt": "More"}
    first = await post(here, RESUME, asked)
    await spend(here, 0.5)
    assert (await post(here, RESUME, asked))["id"] == first["id"]
    await post(here, RESUME, asked, 409, key="another")
    await cap(here, month=0.5)
    await post(here, RESUME, asked)
    await post(here, RESUME, {**asked, "prompt": "Else"}, 409)
    assert len((await here.store.get_run_by_id(run.id)).steps) == 2


async def test_a_process_whose_budget_is_too_large_since(here: Deployment) -> None:
    ada = replace(here, admin=await here.member("ada@example.com"))
    asked = body(maxCostUsd=5)
    first = await post(ada, PROCESSES, asked)
    await cap(here, run=1.0)
    assert await post(ada, PROCESSES, asked) == first
    await post(ada, PROCESSES, asked, 403, key="another")


async def test_an_agent_run_whose_repository_is_gone(here: Deployment) -> None:
    repository = await registered(here)
    asked = {"prompt": "Do it", "repo_id": repository.id}
    first = await post(here, "/v1/organizations/1/agent/run", asked)
    await here.services.repositories.remove(1, repository.name)
    assert (await post(here, "/v1/organizations/1/agent/run", asked))["id"] == first["id"]
    await post(here, "/v1/organizations/1/agent/run", asked, 404, key="another")


async def test_a_plan_whose_file_and_whose_repository_are_gone(here: Deployment, git: GitServer) -> None:
    git.create("acme/shop", {".treadle/plans/tidy.yaml": "steps: [Do it]\nengine: Dummy\n"})
    repository = await registered(here, git.url("acme/shop"))
    of_file, given = (
        {"repositoryPlan": "tidy", "repositoryId": repository.id},
        {"plan": SMALL, "repositoryId": repository.id},
    )
    first = await post(here, "/plans/start", of_file), await post(here, "/plans/start", given, key="given")
    async with (
        listening(here.app, "127.0.0.1", 0) as url,
        connected("http", url, here.admin.key) as client,
    ):
        tools: list[tuple[str, Json]] = [
            ("start_plan", {"repository_plan": "tidy", "repository": "acme/shop", "idempotency_key": "k"}),
            ("start_run", {"steps": [{"text": "x"}], "repository": "acme/shop", "idempotency_key": "one"}),
        ]
        told = [(await call(client, tool, **asked))["id"] for tool, asked in tools]
        await here.services.repositories.remove(1, repository.name)
        assert [(await call(client, tool, **asked))["id"] for tool, asked in tools] == told
    assert await post(here, "/plans/start", of_file) == first[0]
    assert await post(here, "/plans/start", given, key="given") == first[1]
    await post(here, "/plans/start", given, 404, key="another")


async def test_a_batch_whose_repository_is_gone(here: Deployment) -> None:
    repository = await registered(here)
    asked = {"plan": SMALL, "targets": [repository.id]}
    first = await post(here, "/batches", asked)
    await here.services.repositories.remove(1, repository.name)
    assert (await post(here, "/batches", asked))["id"] == first["id"]
    await post(here, "/batches", asked, 400, key="another")


async def test_a_script_that_is_archived_since(here: Deployment) -> None:
    await post(here, "/scripts", {"name": "night", "source": "x = 1"})
    first = await post(here, "/scripts/night/runs", {"inputs": {}})
    assert (await here.http.delete("/scripts/night", headers=here.admin.headers)).status_code == 204
    assert (await post(here, "/scripts/night/runs", {"inputs": {}}))["id"] == first["id"]
    await post(here, "/scripts/night/runs", {"inputs": {}}, 404, key="another")


async def test_a_key_is_of_its_user(here: Deployment) -> None:
    ada = replace(here, admin=await here.member("ada@example.com", Role.ADMIN))
    assert (await post(ada, PROCESSES, body()))["id"] != (await post(here, PROCESSES, body()))["id"]
