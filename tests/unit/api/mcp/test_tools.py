"""What tools do for whom: the caller's own rights, errors as sentences, answers with bounds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mcp.client.client import Client
from structlog.testing import capture_logs
from tests.support.cli import PATIENCE_SECONDS
from tests.support.deployment import Deployment, Member, deployed
from tests.support.mcp_doors import Door, Told, call, connected, refused

from treadle.api.mcp import diff_pages, shapes, waiting
from treadle.domain.events import Draft, EventType
from treadle.domain.identity import Role
from treadle.server import listening
from treadle.services.runs import Runs

pytestmark = pytest.mark.anyio

LEAST = {
    "git_url": "https://git.example/acme/shop.git",
    "branch_source": "main",
    "steps": [{"text": "Do it"}],
    "engine": "Dummy",
}


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Deployment]:
    async with deployed(tmp_path) as found:
        yield found


@asynccontextmanager
async def client_of(here: Deployment, who: Member) -> AsyncIterator[Client]:
    async with listening(here.app, "127.0.0.1", 0) as url, connected("http", url, who.key) as client:
        yield client


async def test_runs_of_others_are_as_if_there_were_none(here: Deployment) -> None:
    ada, bob = await here.member("ada@example.com"), await here.member("bob@example.com")
    other = await here.services.identity.add_organization("Other")
    eve = await here.member("eve@example.com", Role.ADMIN, organization=other)
    async with client_of(here, ada) as client:
        run = await call(client, "start_run", **LEAST)
    calls: list[tuple[str, dict[str, object]]] = [
        ("get_run", {}),
        ("wait_for_run", {"seconds": 1}),
        ("resume_run", {"text": "More"}),
        ("kill_run", {}),
        ("run_logs", {}),
        ("run_diff", {}),
    ]
    for stranger in (bob, eve):
        async with client_of(here, stranger) as client:
            said = set[str]()
            for tool, arguments in calls:
                for run_id in (run["id"], run["uuid"], str(run["id"])):
                    said.add((await refused(client, tool, run=run_id, **arguments)).partition(": ")[2])
                for nothing in (999_999, 10**30, -1, "nonsense", "0" * 32):
                    said.add((await refused(client, tool, run=nothing, **arguments)).partition(": ")[2])
            assert len(said) == 1, said
            assert (await call(client, "list_runs"))["runs"] == []
    async with client_of(here, here.admin) as client:
        assert [each["id"] for each in (await call(client, "list_runs"))["runs"]] == [run["id"]]


async def test_a_run_on_a_registered_repository(here: Deployment) -> None:
    added = await here.services.repositories.add(
        here.admin.organization, name="acme/shop", url="https://git.example/acme/shop.git", default_branch="trunk"
    )
    ada = await here.member("ada@example.com")
    async with client_of(here, ada) as client:
        (shown,) = (await call(client, "list_repositories"))["repositories"]
        assert shown["id"] == added.id
        for name in (added.id, str(added.id), "acme/shop"):
            run = await call(client, "start_run", repository=name, steps=LEAST["steps"], engine="Dummy")
            assert run["repository_id"] == added.id
            assert run["branch_source"] == "trunk"
            assert run["branch_work"].startswith(f"treadle/{run['id']}-do-it")
        assert "nothing/such" in await refused(client, "start_run", repository="nothing/such", steps=LEAST["steps"])
    other = await here.services.identity.add_organization("Other")
    eve = await here.member("eve@example.com", Role.ADMIN, organization=other)
    async with client_of(here, eve) as client:
        assert (await call(client, "list_repositories"))["total"] == 0
        assert "not found" in await refused(client, "start_run", repository=added.id, steps=LEAST["steps"])


async def test_every_fault_of_a_run_is_told_at_once(here: Deployment) -> None:
    async with client_of(here, here.admin) as client:
        said = await refused(
            client,
            "start_run",
            git_url="file:///etc",
            branch_source="-x",
            branch_work="a b",
            steps=[{"text": " "}],
            code_guidelines="",
            model="no model",
            max_cost_usd=-1,
            network={"allow": ["not a host"]},
            claude_authentication={"source": "ClientApiKey"},
            git_http_credentials="a\nb",
            git_ssh_key_base64="!",
            idempotency_key="é",
        )
        assert "network" in said
        said = await refused(
            client,
            "start_run",
            **{
                **LEAST,
                "git_url": "file:///etc",
                "branch_source": "-x",
                "branch_work": "a b",
                "steps": [{"text": " "}],
            },
            code_guidelines="",
            model="no model",
            max_cost_usd=-1,
            claude_authentication={"source": "ClientApiKey"},
            git_http_credentials="a\nb",
            git_ssh_key_base64="!",
            idempotency_key="é",
        )
        for field in (
            *("git_url", "branch_source", "branch_work", "steps[0].text", "code_guidelines", "model", "max_cost_usd"),
            *("claude_authentication.api_key", "git_http_credentials", "git_ssh_key_base64", "idempotency_key"),
        ):
            assert f"{field}: " in said, (field, said)
        assert "file_ids[0]" in await refused(client, "start_run", **LEAST, file_ids=["0" * 32])
        assert "file_ids[0]" in await refused(
            client, "resume_run", run=(await call(client, "start_run", **LEAST))["id"], text="x", file_ids=["0" * 32]
        )
        both = {**LEAST, "idempotency_key": "one"}
        first = await call(client, "start_run", **both)
        assert (await call(client, "start_run", **both))["id"] == first["id"]
        assert "Idempotency-Key" in await refused(client, "start_run", **{**both, "model": "other"})
        more = {"run": first["id"], "text": "More", "idempotency_key": "one"}
        assert len((await call(client, "resume_run", **more))["steps"]) == 2
        assert len((await call(client, "resume_run", **more))["steps"]) == 2
        assert "Idempotency-Key" in await refused(client, "resume_run", **{**more, "text": "Other"})
        assert "idempotency_key: " in await refused(client, "resume_run", **{**more, "idempotency_key": "é"})
        assert len((await call(client, "resume_run", **{**more, "idempotency_key": "two"}))["steps"]) == 3
    assert len(await here.services.runs.list(await here.services.identity.authenticate(here.admin.key))) == 2


async def test_a_defect_is_an_id_in_the_log(here: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise ValueError("internals: 10.0.0.7")

    async with client_of(here, here.admin) as client:
        monkeypatch.setattr(Runs, "get", broken)
        monkeypatch.setattr("treadle.services.agents.Agents.get", broken)
        with capture_logs() as logged:
            said = await refused(client, "get_run", run=1)
    (line,) = [each for each in logged if each["event"] == "request_failed"]
    assert line["incident"] in said
    assert "10.0.0.7" not in said


async def test_a_wait_tells_where_the_run_is(here: Deployment) -> None:
    async with client_of(here, here.admin) as client:
        run_id = (await call(client, "start_run", **LEAST))["id"]
        told = Told()
        wait = asyncio.create_task(call(client, "wait_for_run", told, run=run_id, seconds=600))
        await told.heard("New")
        run, fence = await here.claim()
        await here.store.record(
            fence,
            [
                Draft(EventType.STEP_STARTED, {"text": "Do it"}, step=1),
                Draft(EventType.PHASE_STARTED, {"prompt": "x"}, step=1, phase=run.steps[0].phases[0]),
                Draft(EventType.TOOL_STARTED, {"id": "1", "tool": "Bash", "input": {}}, step=1),
            ],
            here.clock.now(),
        )
        here.signals.notify(run.id)
        await told.heard("step 1 of 1, Analysis, Bash")
        await here.finish(fence)
        waited = await wait
        assert waited["advice"] is None
        assert waited["run"]["status"] == "Success"


async def test_a_wait_ends_when_the_server_stops(here: Deployment) -> None:
    async with client_of(here, here.admin) as client:
        run_id = (await call(client, "start_run", **LEAST))["id"]
        told = Told()
        wait = asyncio.create_task(call(client, "wait_for_run", told, run=run_id, seconds=600))
        await told.heard("New")
        here.app.state.streams.close()
        waited = await wait
        assert "about to stop" in waited["advice"]


@pytest.mark.parametrize("door", ["http", "stdio", "stdio of before"])
async def test_a_call_that_is_given_up_waits_no_longer(here: Deployment, door: Door) -> None:
    async with listening(here.app, "127.0.0.1", 0) as url, connected(door, url, here.admin.key) as client:
        run_id = (await call(client, "start_run", **LEAST))["id"]
        told = Told()
        wait = asyncio.create_task(call(client, "wait_for_run", told, run=run_id, seconds=600))
        await told.heard("New")
        (watch,) = [task for task in asyncio.all_tasks() if task.get_name() == f"wait for run {run_id}"]
        wait.cancel()
        done, _ = await asyncio.wait({watch}, timeout=PATIENCE_SECONDS)
        assert done
        assert (await call(client, "get_run", run=run_id))["status"] == "New", "the client goes on, and so does the run"


async def test_a_wait_ends_with_the_credentials(here: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "RECHECK_SECONDS", 0.05)
    ada = await here.member("ada@example.com")
    async with client_of(here, ada) as client:
        run_id = (await call(client, "start_run", **LEAST))["id"]
        told = Told()
        wait = asyncio.create_task(refused(client, "wait_for_run", told, run=run_id, seconds=600))
        await told.heard("New")  # the request was let in
        identity = here.services.identity
        (key,) = [each for each in await identity.keys(1) if each.user_id == ada.user.id]
        await identity.revoke_key(key.id)
        assert "do not hold any more" in await wait


async def test_answers_are_bounded(here: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "MAX_RUN_TEXT", 1000)
    monkeypatch.setattr(shapes, "MAX_LOG_TEXT", 100)
    monkeypatch.setattr("treadle.api.mcp.reading_tools.MAX_LOG_PAGE_TEXT", 1000)
    async with client_of(here, here.admin) as client:
        run = await call(client, "start_run", **{**LEAST, "steps": [{"text": "word " * 1000}] * 2})
        assert run["steps"][0]["text"] == ("word " * 50) + "… [4,750 more characters]"
        found, fence = await here.claim()
        said = [Draft(EventType.ENGINE_TEXT, {"text": "word " * 1000}, step=1) for _ in range(20)]
        await here.store.record(fence, said, here.clock.now())
        page = await call(client, "run_logs", run=found.id, limit=20)
        assert page["total"] == 20
        assert 1 < page["next_skip"] == len(page["entries"]) < 20
        assert page["entries"][0]["data"]["text"] == ("word " * 20) + "… [4,900 more characters]"


def test_patches_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diff_pages, "MAX_FILE_PATCH", 100)
    monkeypatch.setattr(diff_pages, "MAX_PAGE_PATCH", 150)
    line = {"type": "Added", "content": "x" * 60, "oldLine": None, "newLine": 1, "noNewlineAtEnd": False}
    file = {
        "oldFilename": None,
        "isNew": True,
        "isDeleted": False,
        "isRenamed": False,
        "isBinary": False,
        "oldMode": None,
        "newMode": "100644",
        "additions": 3,
        "deletions": 0,
        "encoding": "utf-8",
        "filenameEncoding": "utf-8",
        "changes": [{"header": "@@ -0,0 +1,3 @@", "diff": [line] * 3}],
    }
    import json

    data = json.dumps({"files": [{**file, "filename": f"{at}.txt"} for at in range(3)]}).encode()
    page = diff_pages._page(data, path=None, has_patch=True, limit=3, skip=0)
    assert [each.filename for each in page.files] == ["0.txt"]
    assert page.files[0].is_patch_cut
    assert len(page.files[0].patch or "") == 100
    assert (page.total, page.additions, page.next_skip) == (3, 9, 1)
    rest = diff_pages._page(data, path=None, has_patch=False, limit=3, skip=1)
    assert [each.patch for each in rest.files] == [None, None]
    assert rest.next_skip is None


PLAN = """
repo: https://git.example/acme/shop.git
source: main
engine: Dummy
variables: {what: {required: true}}
validate: [make test]
steps: ["Add ${{ what }}"]
"""


async def test_a_plan_is_started_once_by_its_key_and_a_run_with_commands(here: Deployment) -> None:
    async with client_of(here, here.admin) as client:
        asked = {"plan": PLAN, "variables": {"what": "cats"}, "idempotency_key": "k"}
        first, again = [await call(client, "start_plan", **asked) for _ in range(2)]
        assert first["id"] == again["id"]
        assert first["steps"][0]["text"] == "Add cats"
        run = await here.store.get_run_by_id(first["id"])
        assert run.validation is not None
        assert run.validation.commands == ("make test",)
        assert "is missing" in await refused(client, "start_plan", plan=PLAN)
        assert "Give this or repository_plan" in await refused(client, "start_plan")
        assert "built in" in await refused(client, "start_plan", plan=PLAN, variables={"trigger.a": "b"})
        assert "printable ASCII" in await refused(client, "start_plan", plan=PLAN, idempotency_key="a\0b")
        started = await call(
            client,
            "start_run",
            git_url="https://git.example/acme/shop.git",
            branch_source="main",
            steps=[{"text": "x"}],
            validation_commands=["make lint", "make test"],
        )
        other = await here.store.get_run_by_id(started["id"])
        assert other.validation is not None
        assert other.validation.commands == ("make lint", "make test")
        assert "validation_commands" in await refused(
            client,
            "start_run",
            git_url="https://git.example/acme/shop.git",
            branch_source="main",
            steps=[{"text": "x"}],
            validation_commands=[""],
        )


@pytest.mark.parametrize("number", [10**30, -(10**30)])
@pytest.mark.parametrize("argument", ["repository_id", "before"])
async def test_a_number_that_no_database_holds_is_refused(here: Deployment, argument: str, number: int) -> None:
    async with client_of(here, here.admin) as client:
        assert argument in await refused(client, "list_runs", **{argument: number})
