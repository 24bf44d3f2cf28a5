"""Validation that counts: commands that must pass before a step is committed, whatever the engine says."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from tests.e2e import test_claude_cli
from tests.e2e.conftest import HTTP_CREDENTIALS
from tests.e2e.test_kill import wait_until_gone, wait_until_there
from tests.support.git_server import GitServer
from tests.support.model_script import ModelRequest, Say, bash, say
from tests.support.model_server import ModelServer
from tests.support.service import Json, Service, is_event, step

#: Passes once `answer.txt` says 42.
CHECK = "grep -qx 42 answer.txt || { echo 'answer.txt is not 42'; exit 3; }"

WRONG: Json = {"write": ["answer.txt", "41\n"]}
RIGHT: Json = {"write": ["answer.txt", "42\n"]}
LYING: Json = {"structured": {"wasSuccessful": True}}

_PROCESSES = "/code-generation/processes"


@pytest.fixture(params=["none", "bubblewrap"])
def dummy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path / "data", SANDBOX=str(request.param)) as service:
        yield service


@pytest.fixture
def boxed(tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path / "data") as service:
        yield service


def start(service: Service, git: GitServer, *actions: Json, **fields: object) -> str:
    given: dict[str, object] = {
        "gitUrl": git.url("acme/demo"),
        "gitHttpCredentials": HTTP_CREDENTIALS,
        "branchSource": "main",
        "branchWork": "work",
        "engine": "Dummy",
        "validate": [CHECK],
        "steps": [step(f"dummy: Answer\n{json.dumps(actions)}", structured=LYING in actions)],
    }
    return service.start(**{**given, **fields})


def attempts(process: Json) -> list[tuple[int, int | None]]:
    return [(each["attempt"], each["exitCode"]) for each in process["steps"][0]["validation"]]


def told(service: Service, process: str, kind: str) -> list[Json]:
    return [event["data"] for event in service.events(process) if event["type"] == kind]


def test_what_fails_goes_back_to_the_engine_until_it_passes(dummy: Service, git: GitServer) -> None:
    mended: Json = {"usage": {"input": 5, "output": 7, "cost": 0.5}, "repair": 2}
    begun = start(dummy, git, WRONG, LYING, {**WRONG, "repair": 1}, {**RIGHT, "repair": 2}, mended)
    process = dummy.wait(begun, "Success")
    assert attempts(process) == [(1, 3), (2, 3), (3, 0)]
    assert git.show("acme/demo", "work", "answer.txt") == b"42\n"
    assert [each.get("repair", 0) for each in told(dummy, begun, "phase.started")] == [0, 0, 0, 1, 2]
    asked = told(dummy, begun, "phase.started")[3]["prompt"]
    assert "answer.txt is not 42" in asked
    assert "failed with exit code 3" in asked
    assert process["steps"][0]["phase"] == "Validation"
    assert process["usage"]["costUsd"] == 0.5, "mending is on the bill"
    assert process["validate"] == {"commands": [CHECK], "tries": 3}
    kinds = [event["type"] for event in dummy.events(begun)]
    assert kinds.index("git.committed") > max(at for at, kind in enumerate(kinds) if kind == "validation.finished")


def test_it_fails_saying_so_after_the_set_tries(dummy: Service, git: GitServer) -> None:
    begun = start(dummy, git, WRONG, LYING, validate={"commands": ["true", CHECK], "tries": 2})
    process = dummy.wait(begun, "Failed")
    assert attempts(process) == [(1, 0), (1, 3), (2, 0), (2, 3), (3, 0), (3, 3)]
    assert "failed with exit code 3 after 2 tries to mend it." in process["steps"][0]["failureDetails"]
    assert process["steps"][0]["failureDetails"] in process["failureDetails"]
    assert process["steps"][0]["commitSha"] is None
    assert git.branches("acme/demo") == ["main"], "nothing was pushed"
    patch = dummy.request("GET", f"{_PROCESSES}/by-id/{begun}/artifacts/partial-work-step-1.patch/content")
    assert b"+41" in patch.content
    assert "answer.txt is not 42" in process["steps"][0]["validation"][-1]["output"]


def test_commands_are_run_also_where_nothing_changed_and_not_for_an_analysis(boxed: Service, git: GitServer) -> None:
    looking = step("Look", commitable=False)
    idle = step('dummy: Nothing\n[{"say": "nothing to do"}]')
    process = boxed.wait(start(boxed, git, steps=[looking, idle], validate=["echo looked"]), "Success")
    assert process["steps"][0]["validation"] == []
    [result] = process["steps"][1]["validation"]
    assert (result["exitCode"], result["output"]) == (0, "looked\n")
    process = boxed.wait(start(boxed, git, steps=[idle], validate={"commands": ["false"], "tries": 0}), "Failed")
    assert process["failureDetails"].startswith("Nothing was committed: `false` failed with exit code 1. ")


def test_what_commands_leave_is_committed_unless_it_is_ignored(boxed: Service, git: GitServer) -> None:
    """What is committed is the tree that they passed on: a formatter's changes too."""
    git.commit("acme/demo", {".gitignore": "build/\n"})
    commands = ["sed -i s/wold/world/ hello.txt", "mkdir -p build && cp hello.txt build/ && cp hello.txt made.txt"]
    begun = start(boxed, git, {"write": ["hello.txt", "wold\n"]}, validate=commands)
    boxed.wait(begun, "Success")
    assert git.show("acme/demo", "work", "hello.txt") == b"world\n"
    assert git.files("acme/demo", "work") == [".gitignore", "README.md", "hello.txt", "made.txt", "src/app.py"]


def test_commands_that_behave_badly_fail_and_harm_nothing(tmp_path: Path, git: GitServer) -> None:
    marker = f"treadle-validation-test-{os.getpid()}"

    def fails(service: Service, command: str) -> Json:
        begun = start(service, git, RIGHT, validate={"commands": [command], "tries": 0})
        [result] = service.wait(begun, "Failed")["steps"][0]["validation"]
        return dict(result)

    with Service(tmp_path / "impatient", VALIDATE_SECONDS="1") as service:
        hung = fails(service, f"trap '' TERM; export MARKER={marker}; (setsid sleep 300 &) ; sleep 300")
        assert (hung["exitCode"], hung["reason"]) == (None, "it took longer than 1 s")
        wait_until_gone(marker)
        service.wait_until_clean()
    with Service(tmp_path / "data") as service:
        missing = fails(service, "no-such-program --now")
        assert missing["exitCode"] == 127
        assert "no-such-program" in missing["output"]
        assert fails(service, "kill -9 $$")["exitCode"] == 137
        assert fails(service, "false | cat")["exitCode"] == 1, "a pipe is as good as its worst part"
        assert fails(service, "chmod 0 . ; exit 4")["exitCode"] == 4
        assert service.workspaces == []


def test_output_without_end_is_told_in_part(tmp_path: Path, git: GitServer) -> None:
    with Service(tmp_path / "data", VALIDATE_SECONDS="120") as service:
        command = "(yes 0123456789 || true) | head -c 110000000; echo THE END; exit 5"
        begun = start(service, git, RIGHT, validate={"commands": [command], "tries": 0})
        [result] = service.wait(begun, "Failed")["steps"][0]["validation"]
        assert result["exitCode"] == 5
        assert result["output"].endswith("0123456789\nTHE END\n")
        assert len(result["output"]) <= 4096
        assert sum(len(each["text"]) for each in told(service, begun, "validation.output")) < 100_000


@pytest.mark.parametrize("sandbox", ["none", "bubblewrap"])
def test_a_kill_ends_a_command_at_once(tmp_path: Path, git: GitServer, sandbox: str) -> None:
    marker = f"treadle-validation-kill-{os.getpid()}-{sandbox}"
    command = f"trap '' TERM; export MARKER={marker}; (setsid sleep 300 &) ; echo settled; while :; do sleep 1; done"
    with Service(tmp_path / "data", SANDBOX=sandbox) as service:
        begun = start(service, git, RIGHT, validate=[command])
        service.wait_for(begun, is_event("validation.output"))
        wait_until_there(marker)
        answer = service.request("PUT", f"{_PROCESSES}/by-id/{begun}/kill")
        assert answer.status_code == httpx2.codes.NO_CONTENT
        process = service.wait(begun, "Killed")
        wait_until_gone(marker)
        service.wait_until_clean()
    assert process["steps"][0]["commitSha"] is None
    assert git.branches("acme/demo") == ["main"]


@pytest.mark.parametrize("sandbox", ["none", "bubblewrap"])
def test_a_killed_worker_costs_no_engine_call_and_no_try(tmp_path: Path, git: GitServer, sandbox: str) -> None:
    command = f"{CHECK}; if grep -q slow how.txt; then echo settled; sleep 300; fi"
    slow: Json = {"write": ["how.txt", "slow\n"], "repair": 1}
    with Service(tmp_path / "data", SANDBOX=sandbox, VALIDATE_SECONDS="20") as service:
        quick: Json = {"write": ["how.txt", "quick\n"], "repair": 2}
        begun = start(service, git, WRONG, {**RIGHT, "repair": 1}, slow, quick, validate=[command])
        service.wait_for(begun, is_event("validation.output", text="settled\n"))
        service.kill9()
        service.restart()
        process = service.wait(begun, "Success")
        assert attempts(process) == [(1, 3), (2, None), (3, 0)]
        asked = told(service, begun, "phase.started")
        assert [each.get("repair", 0) for each in asked] == [0, 0, 0, 1, 2], "no call was made again"
        assert len(told(service, begun, "validation.started")) == 4, "the second attempt was begun twice"
    assert len(git.log("acme/demo", "work")) == 2


@pytest.mark.claude
@pytest.mark.bubblewrap
def test_the_real_claude_claims_success_and_is_not_believed(tmp_path: Path, git: GitServer) -> None:
    seen: list[str] = []

    def script(request: ModelRequest) -> Say:
        seen.append(request.last)
        if "answer.txt is not 42" in request.last and not request.is_tool_result:
            return say("Mending.", bash("echo 42 > answer.txt"))
        return say("All tests pass, I am certain.")

    with ModelServer() as model, test_claude_cli.service(tmp_path, model) as claude:
        model.play(script)
        begun = test_claude_cli.start(claude, git, step("Answer"), validate=[CHECK])
        process = claude.wait(begun, "Success")
        assert attempts(process) == [(1, 3), (2, 0)]
        assert git.show("acme/demo", "work", "answer.txt") == b"42\n"
        assert sum("failed with exit code 3" in prompt for prompt in seen) == 1
        model.play(lambda _request: say("All tests pass, I am certain."))
        again = test_claude_cli.start(claude, git, step("Answer"), validate=["exit 7"])
        process = claude.wait(again, "Failed")
        assert attempts(process) == [(1, 7), (2, 7), (3, 7), (4, 7)]
        assert "`exit 7` failed with exit code 7 after 3 tries to mend it." in process["failureDetails"]
        assert len(git.log("acme/demo", "work")) == 2, "the first run's commit alone"
