"""Setup commands and rules, through every door that they have."""

import asyncio
import json
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import HTTP_CREDENTIALS
from tests.support.agent_door import AgentDoor
from tests.support.cli import TREADLE
from tests.support.git_server import GitServer
from tests.support.service import PATIENCE_SECONDS, Json, Service, is_event

from treadle.sandbox import choose
from treadle.settings import Settings

RATES = {f"RATE_LIMIT_{name}": "0" for name in ("STANDARD", "CREATE", "LOGS", "SETUP", "ANALYSIS")}

REPOSITORY = ("acme/demo", "--org", "1")

#: The agent copies what the commands installed into a file of its own.
WORK = 'dummy: [{"run": "cat tools/* ~/.tool > seen.txt"}, {"say": "done"}]'


def admin(service: Service, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [str(TREADLE), "admin", *arguments],
        check=False,
        env={**service.environment(), **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def dummy(tmp_path: Path, git: GitServer) -> Iterator[Service]:
    with Service(tmp_path / "data", CLAUDE_API_KEY="000-dummy", **RATES) as service:
        git.commit("acme/demo", {"package-lock.json": "1\n"})
        options = ("--default-branch", "main", "--http-credentials-env", "GIT_CREDENTIALS")
        where = ("--org", "1", "--url", git.url("acme/demo"), "--name", "acme/demo")
        admin(service, "repo", "add", *where, *options, GIT_CREDENTIALS=HTTP_CREDENTIALS)
        yield service


def set_up(service: Service, commands: str) -> None:
    path = Path(service.environment()["TREADLE_DATA_DIR"]) / "setup.sh"
    path.write_text(commands)
    admin(service, "repo", "setup", "set", *REPOSITORY, "--file", str(path))


def repository(door: AgentDoor) -> Json:
    [found] = door.call("GET", "/repositories")["items"]
    return dict(found)


def newest(service: Service) -> str:
    return str(service.request("GET", "/code-generation/processes").json()[0]["id"])


def told(service: Service, process: str, kind: str) -> list[Json]:
    return [event["data"] for event in service.events(process) if event["type"] == kind]


def test_they_run_once_and_what_they_left_is_there_again(dummy: Service, git: GitServer) -> None:
    set_up(dummy, "mkdir tools\necho installed > tools/one\necho home > ~/.tool\necho changed > README.md\n")
    door = AgentDoor(dummy)
    runs = [door.wait(door.create(WORK)["id"], "COMPLETE") for _ in range(2)]
    git.commit("acme/demo", {"package-lock.json": "2\n"})
    runs.append(door.wait(door.create(WORK)["id"], "COMPLETE"))
    found = []
    for process in reversed(dummy.request("GET", "/code-generation/processes").json()):
        kinds = [event["type"] for event in dummy.events(process["id"])]
        found.append([kind for kind in kinds if kind in {"setup.finished", "setup.reused"}])
        branch = process["branchWork"]
        assert git.show("acme/demo", branch, "seen.txt") == b"installed\nhome\n"
        assert git.show("acme/demo", branch, "README.md") == b"# Demo\n"
        assert "tools/one" not in git.files("acme/demo", branch)
    assert len(runs) == 3
    # Without a sandbox a workspace's paths are its own.
    is_shown_alike = asyncio.run(choose(Settings.load({}))).name != "none"
    assert found == [["setup.finished"], ["setup.reused" if is_shown_alike else "setup.finished"], ["setup.finished"]]
    assert repository(door)["setup_status"] == "READY"


def test_a_resumed_run_finds_them_again(dummy: Service, git: GitServer) -> None:
    set_up(dummy, "mkdir tools\necho installed > tools/one\necho home > ~/.tool\n")
    door = AgentDoor(dummy)
    run = door.wait(door.create(WORK)["id"], "COMPLETE")
    door.resume(run["id"], 'dummy: [{"run": "cat tools/one > again.txt"}]')
    door.wait(run["id"], "COMPLETE")
    [process] = dummy.request("GET", "/code-generation/processes").json()
    assert git.show("acme/demo", process["branchWork"], "again.txt") == b"installed\n"
    assert len(told(dummy, process["id"], "setup.reused")) == 1, "the same workspace has the same paths"


def test_a_failure_is_told_and_looked_into(dummy: Service) -> None:
    set_up(dummy, "echo beginning\nno-such-installer --yes\n")
    door = AgentDoor(dummy)
    door.wait(door.create('dummy: [{"append": ["a.txt", "1"]}]')["id"], "COMPLETE")
    process = newest(dummy)
    [finished] = told(dummy, process, "setup.finished")
    assert finished["exitCode"] == 127
    prompts = [data["prompt"] for data in told(dummy, process, "phase.started")]
    assert "no-such-installer: " in prompts[0]
    assert not any("no-such-installer" in prompt for prompt in prompts[1:])
    assert repository(door)["setup_status"] == "FAILED"
    analysis = door.call("POST", f"/sandbox/{finished['sandbox']}/analyze-logs")
    door.wait(analysis["agent_run_id"], "COMPLETE")
    [asked] = told(dummy, newest(dummy), "phase.started")
    assert "+ no-such-installer --yes" in asked["prompt"]
    assert not told(dummy, newest(dummy), "setup.started")


def test_a_run_finds_them_out(dummy: Service) -> None:
    door = AgentDoor(dummy)
    answer = "So:\n```sh\nmkdir tools\necho found > tools/one\necho > ~/.tool\n```"
    script = f"dummy: {json.dumps([{'say': answer, 'phase': 'analysis'}])}"
    asked = door.call("POST", "/setup-commands/generate", json={"repo_id": repository(door)["id"], "prompt": script})
    door.wait(asked["agent_run_id"], "COMPLETE")
    assert repository(door)["setup_status"] == "READY"
    assert "echo found > tools/one" in admin(dummy, "repo", "setup", "show", *REPOSITORY)
    assert told(dummy, newest(dummy), "setup.commands_stored")[0]["lines"] == 3
    asked = door.call("POST", "/setup-commands/generate", json={"repo_id": repository(door)["id"]})
    door.wait(asked["agent_run_id"], "FAILED")
    assert "no setup commands" in told(dummy, newest(dummy), "run.finished")[0]["failureDetails"]
    assert repository(door)["setup_status"] == "READY", "those that there were are still there"


def test_a_stopped_run_stops_them(dummy: Service) -> None:
    set_up(dummy, "trap '' TERM\necho up\nsetsid sleep 1000 &\nwhile :; do sleep 1; done\n")
    door = AgentDoor(dummy)
    run = door.create('dummy: [{"append": ["a.txt", "1"]}]')
    dummy.wait_for(newest(dummy), is_event("setup.output"))
    door.call("POST", "/agent/run/ban", json={"agent_run_id": run["id"]})
    dummy.wait(newest(dummy), "Killed")
    # On a busy machine the sweeper may have said so in its worker's place.
    deadline = time.monotonic() + PATIENCE_SECONDS
    while dummy.workspaces:
        assert time.monotonic() < deadline, dummy.workspaces
        time.sleep(0.05)


def test_every_prompt_begins_with_the_rules(dummy: Service, git: GitServer) -> None:
    git.commit("acme/demo", {"AGENTS.md": "Of the repository.\n", "CLAUDE.md": "\n"})
    door = AgentDoor(dummy)
    door.wait(door.create('dummy: [{"append": ["a.txt", "1"]}]')["id"], "COMPLETE")
    prompts = [data["prompt"] for data in told(dummy, newest(dummy), "phase.started")]
    assert len(prompts) == 3
    assert all("Of the repository." in prompt for prompt in prompts)


def test_a_repositorys_secrets_reach_its_commands_and_nobody_else(dummy: Service, git: GitServer) -> None:
    """In the environment of setup commands and steps; masked in whatever they print; never committed."""
    value = f"canary-{secrets.token_hex(12)}"
    admin(dummy, "repo", "secret", "set", "acme/demo", "REGISTRY_TOKEN", REGISTRY_TOKEN=value)
    set_up(dummy, 'echo "setup has $REGISTRY_TOKEN"\n[ -n "$REGISTRY_TOKEN" ] && echo yes > ~/.has\n')
    admin(dummy, "repo", "update", *REPOSITORY, "--no-check", "--validate", 'echo "check has $REGISTRY_TOKEN"')
    door = AgentDoor(dummy)
    spill = "echo step has $REGISTRY_TOKEN; printf %s $REGISTRY_TOKEN | base64; cat ~/.has > has.txt"
    run = door.wait(door.create(f"dummy: {json.dumps([{'run': spill}])}")["id"], "COMPLETE")
    process = newest(dummy)
    text = json.dumps(dummy.events(process))
    assert "setup has ***" in text
    assert "step has ***" in text
    assert "check has ***" in text
    [result] = dummy.get(process)["steps"][0]["validation"]
    assert result["output"] == "check has ***\n"
    assert value not in text
    assert git.show("acme/demo", dummy.get(process)["branchWork"], "has.txt") == b"yes\n"
    listed = dummy.request("GET", f"/repositories/by-id/{repository(door)['id']}/secrets")
    assert value not in listed.text
    assert "REGISTRY_TOKEN" in listed.text
    door.resume(run["id"], f"dummy: {json.dumps([{'run': 'echo $REGISTRY_TOKEN > leaked.txt'}])}")
    door.wait(run["id"], "FAILED")
    failed = dummy.get(process)
    assert "Nothing was committed: leaked.txt" in failed["failureDetails"]
    assert "leaked.txt" not in git.files("acme/demo", failed["branchWork"])
    [found] = told(dummy, process, "git.secrets_found")
    assert found["findings"][0]["path"] == "leaked.txt"
    kept = dummy.request("GET", f"/code-generation/processes/by-id/{process}/artifacts")
    assert value not in kept.text
    partial = dummy.request("GET", f"/code-generation/processes/by-id/{process}/artifacts/partial-work-step-2.patch")
    assert value not in partial.text
