"""Agent runs from end to end: rules in every prompt, a pull request at each forge, the same story in both dialects."""

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests.e2e.conftest import HTTP_CREDENTIALS
from tests.support.agent_door import AgentDoor
from tests.support.cli import TREADLE
from tests.support.forge_server import ForgeServer, Meet
from tests.support.git_server import GitServer
from tests.support.service import PATIENCE_SECONDS, Json, Service

from treadle.domain.repository import ForgeKind

NO_RATES = {"RATE_LIMIT_STANDARD": "0", "RATE_LIMIT_CREATE": "0", "RATE_LIMIT_LOGS": "0", "RATE_LIMIT_PULLS": "0"}
SAY_HELLO = 'dummy: Say hello\n[{"write": ["hello.txt", "hello\\n"]}, {"say": "hello.txt is there.\\nIt says hello."}]'
IMAGE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGBg"
    "AAAABQABXvMqOgAAAABJRU5ErkJggg=="
)


def admin(service: Service, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(TREADLE), "admin", *arguments],
        env={**service.environment(), **(environment or {})},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def service(tmp_path: Path, git: GitServer) -> Iterator[Service]:
    with Service(tmp_path / "data", RETRY_SECONDS="0.1", PUBLIC_URL="https://treadle.example", **NO_RATES) as running:
        yield running


def register(service: Service, git: GitServer, *more: str, **environment: str) -> None:
    repository = ("--url", git.url("acme/demo"), "--name", "acme/demo", "--http-credentials-env", "GIT_CREDENTIALS")
    admin(service, "repo", "add", *repository, *more, environment={"GIT_CREDENTIALS": HTTP_CREDENTIALS, **environment})


def register_with_forge(service: Service, git: GitServer, forge: ForgeServer) -> None:
    forge.add("acme/demo")
    where = ("--forge", forge.kind.value, "--forge-api-url", forge.api_url, "--forge-token-env", "FORGE_TOKEN")
    register(service, git, *where, FORGE_TOKEN=forge.token)


def process_of(service: Service, run: Json) -> Json:
    """The same run in the other dialect, found by its branch."""
    found = [
        one
        for one in service.request("GET", "/code-generation/processes").json()
        if one["branchWork"].startswith(f"treadle/{run['id']}-")
    ]
    assert len(found) == 1
    return service.get(found[0]["id"])


@pytest.mark.parametrize("kind", list(ForgeKind))
def test_a_pull_request_is_opened_listed_and_edited(service: Service, git: GitServer, kind: ForgeKind) -> None:
    with ForgeServer(kind, git) as forge:
        register_with_forge(service, git, forge)
        door = AgentDoor(service)
        run = door.wait(door.create(SAY_HELLO, model="dummy")["id"], "COMPLETE")
        [listed] = run["github_pull_requests"]
        [pull] = forge.projects["acme/demo"].pulls
        assert (pull.head, pull.base, pull.state) == (listed["head_branch_name"], "main", "open")
        assert f"https://treadle.example/runs/{run['id']}" in pull.body
        assert "hello.txt is there." in pull.body
        edited = door.call("PATCH", f"/prs/{listed['id']}", json={"state": "closed"})
        assert (edited["success"], edited["state"], edited["url"]) == (True, "closed", listed["url"])
        assert forge.projects["acme/demo"].pulls[0].state == "closed"
        door.call("PATCH", f"/repos/1/prs/{listed['id']}", json={"state": "open"})
        door.wait(door.resume(run["id"], SAY_HELLO.replace("hello.txt", "bye.txt"))["id"], "COMPLETE")
        assert len(forge.projects["acme/demo"].pulls) == 1, "the same one has the new commit"
        kinds = [event["type"] for event in service.events(process_of(service, run)["id"])]
        assert kinds.count("pull_request.opened") == 1
        assert forge.token not in service.log


def test_no_key_gets_into_a_message_or_a_pull_request(service: Service, git: GitServer) -> None:
    """Both say what was asked for, and what was answered; unless keys may be committed to the repository, none."""
    key = "AK" + "IA" + "QPZRYXGFTVDWSJN3"
    asked = f'dummy: Say {key}\n[{{"append": ["a.txt", "1"]}}, {{"say": "{key} is set."}}]'
    with ForgeServer(ForgeKind.GITHUB, git) as forge:
        register_with_forge(service, git, forge)
        door = AgentDoor(service)
        door.wait(door.create(asked, model="dummy")["id"], "COMPLETE")
        [pull] = forge.projects["acme/demo"].pulls
        message = git.log("acme/demo", pull.head)[0].message
        assert message.startswith("dummy: Say ***\n\n")
        assert message.splitlines()[-1].startswith("Treadle-Step: ")
        assert pull.title == "dummy: Say ***"
        assert "*** is set." in pull.body
        assert key not in message + pull.title + pull.body
        assert key.lower() not in pull.head
        admin(service, "repo", "update", "acme/demo", "--no-check", "--no-scan-secrets")
        door.wait(door.create(asked, model="dummy")["id"], "COMPLETE")
        pull = forge.projects["acme/demo"].pulls[1]
        assert key in git.log("acme/demo", pull.head)[0].subject
        assert key in pull.title


def test_a_forge_that_refuses_fails_no_run(service: Service, git: GitServer) -> None:
    with ForgeServer(ForgeKind.GITHUB, git) as forge:
        register_with_forge(service, git, forge)
        forge.meet(Meet.STATUS, method="POST", times=9)
        door = AgentDoor(service)
        run = door.wait(door.create(SAY_HELLO, model="dummy")["id"], "COMPLETE")
        assert run["github_pull_requests"] == []
        events = service.events(process_of(service, run)["id"])
        assert [event["type"] for event in events].count("pull_request.failed") == 1


def test_an_organization_that_wants_none_gets_its_branch(service: Service, git: GitServer) -> None:
    with ForgeServer(ForgeKind.GITEA, git) as forge:
        register_with_forge(service, git, forge)
        admin(service, "org", "set", "1", "--no-pr-creation")
        door = AgentDoor(service)
        run = door.wait(door.create(SAY_HELLO, model="dummy")["id"], "COMPLETE")
        assert (run["github_pull_requests"], forge.projects["acme/demo"].pulls) == ([], [])
        assert git.show("acme/demo", process_of(service, run)["branchWork"], "hello.txt") == b"hello\n"


def test_rules_stand_in_every_prompt_in_their_order(service: Service, git: GitServer) -> None:
    git.commit("acme/demo", {"AGENTS.md": "Repository file: use tabs.\n", ".cursorrules": "Cursor: be brief.\n"})
    register(service, git)
    admin(service, "org", "rules", "1", "--text", "Organization: use spaces.")
    admin(service, "repo", "rules", "acme/demo", "--org", "1", "--text", "Repository: use three spaces.")
    admin(service, "user", "rules", "admin@localhost", "--text", "User: never mind.")
    door = AgentDoor(service)
    run = door.wait(door.create(SAY_HELLO, model="dummy")["id"], "COMPLETE")
    events = service.events(process_of(service, run)["id"])
    prompts = [event["data"]["prompt"] for event in events if event["type"] == "phase.started"]
    assert len(prompts) == 3
    for prompt in prompts:
        said = ["Organization: use spaces.", "Repository: use three", "Repository file: use tabs", "User: never mind."]
        places = [prompt.index(one) for one in said]
        assert places[0] < min(places[1:3]) < max(places[1:3]) < places[3]
        assert "Cursor: be brief." in prompt
    assert door.call("GET", "/cli/rules") == {
        "organization_rules": "Organization: use spaces.",
        "user_custom_prompt": "User: never mind.",
    }
    admin(service, "org", "set", "1", "--no-rules-detection")
    again = door.wait(door.create(SAY_HELLO, model="dummy")["id"], "COMPLETE")
    events = service.events(process_of(service, again)["id"])
    assert not [event for event in events if "use tabs" in str(event["data"].get("prompt"))]


def test_both_dialects_tell_the_same_story(service: Service, git: GitServer) -> None:
    register(service, git)
    door = AgentDoor(service)
    run = door.create(SAY_HELLO, model="dummy", images=[IMAGE], metadata={"ticket": {"id": 7, "tags": ["a", None]}})
    assert run["metadata"] == {"ticket": {"id": 7, "tags": ["a", None]}}
    assert run["web_url"] == f"https://treadle.example/runs/{run['id']}"
    done = door.wait(run["id"], "COMPLETE")
    process = process_of(service, run)
    [step] = process["steps"]
    assert (process["status"], step["status"]) == ("Success", "Success")
    assert (process["gitUrl"], process["branchSource"]) == (git.url("acme/demo"), "main")
    assert step["output"] == done["result"] == "hello.txt is there.\nIt says hello."
    assert done["summary"] == "hello.txt is there."
    assert process["dateCreated"][:19] == done["created_at"][:19]
    assert len(process["fileIds"]) == 1
    [file] = [one for one in service.request("GET", "/files").json() if one["id"] == process["fileIds"][0]]
    assert (file["name"], file["contentType"]) == ("image-1.png", "image/png")
    logs = door.logs(run["id"])
    assert logs[0]["message_type"] == "USER_MESSAGE"
    assert [entry["observation"] for entry in logs if entry["message_type"] == "FINAL_ANSWER"] == [step["output"]]
    tools = [event for event in service.events(process["id"]) if event["type"] == "tool.finished"]
    assert len([entry for entry in logs if entry["message_type"] == "ACTION"]) == len(tools)


def test_a_run_of_the_other_dialect_is_seen_and_resumed_here(service: Service, git: GitServer) -> None:
    process_id = service.start(
        gitUrl=git.url("acme/demo"),
        gitHttpCredentials=HTTP_CREDENTIALS,
        branchSource="main",
        branchWork="work",
        engine="Dummy",
        steps=[{"step": 'dummy: [{"write": ["one.txt", "1\\n"]}, {"say": "one"}]'}],
    )
    service.wait(process_id, "Success")
    register(service, git)
    door = AgentDoor(service)
    [run] = door.call("GET", "/agent/runs")["items"]
    assert (run["status"], run["result"], run["source_type"]) == ("COMPLETE", "one", "API")
    door.wait(door.resume(run["id"], 'dummy: [{"write": ["two.txt", "2\\n"]}, {"say": "two"}]')["id"], "COMPLETE")
    process = service.get(process_id)
    assert [step["output"] for step in process["steps"]] == ["one", "two"]
    assert git.show("acme/demo", "work", "two.txt") == b"2\n"
    assert door.get(run["id"])["github_pull_requests"] == []
