"""A stop that stops: whatever the engine does, and wherever its children went."""

import os
import time
from pathlib import Path

import httpx2
import psutil
import pytest
from tests.e2e.conftest import HTTP_CREDENTIALS
from tests.support.git_server import GitServer
from tests.support.service import Service, is_alive, is_event, step


def alive_with(marker: str) -> list[psutil.Process]:
    """Processes of this machine that have `marker` in their command line or environment."""
    found = []
    for process in psutil.process_iter():
        try:
            seen = " ".join(process.cmdline()) + " ".join(f"{k}={v}" for k, v in process.environ().items())
        except psutil.Error:
            continue
        if marker in seen and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


@pytest.mark.parametrize("sandbox", ["none", "bubblewrap"])
def test_kill_ends_everything_within_five_seconds(tmp_path: Path, git: GitServer, sandbox: str) -> None:
    marker = f"treadle-kill-test-{os.getpid()}-{sandbox}"
    with Service(tmp_path / "data", SANDBOX=sandbox) as service:
        stubborn = (
            'dummy: [{"write": ["half.txt", "x\\n"]}, {"ignore_sigterm": true}, {"spawn": 300}, '
            f'{{"run": "MARKER={marker} setsid sleep 300 & (MARKER={marker} setsid sleep 301 &) ; true"}}, '
            '{"say": "settled"}, {"hang": true}]'
        )
        process_id = service.start(
            gitUrl=git.url("acme/demo"),
            gitHttpCredentials=HTTP_CREDENTIALS,
            branchSource="main",
            branchWork="work",
            engine="Dummy",
            steps=[step('dummy: [{"write": ["done.txt", "1\\n"]}]'), step(stubborn), step("never")],
        )
        service.wait_for(process_id, lambda event: event["data"].get("text") == "settled")
        assert alive_with(marker)
        before = service.descendants()
        assert before
        began = time.monotonic()
        answer = service.request("PUT", f"/code-generation/processes/by-id/{process_id}/kill")
        assert answer.status_code == httpx2.codes.NO_CONTENT
        service.wait_for(process_id, is_event("run.finished"), seconds=10)
        assert time.monotonic() - began < 5
        assert alive_with(marker) == []
        assert service.descendants() == []
        assert service.workspaces == []
        process = service.get(process_id)
        assert process["status"] == "Killed"
        assert [each["status"] for each in process["steps"]] == ["Success", "Failed", "NotStarted"]
        assert process["steps"][1]["usage"]["durationMs"] > 0, "a call that was broken off is on the bill too"
        assert git.log("acme/demo", "work")[0].sha == process["steps"][0]["commitSha"]
        again = service.request("PUT", f"/code-generation/processes/by-id/{process_id}/kill")
        assert again.status_code == httpx2.codes.CONFLICT


def test_a_run_that_nobody_holds_is_killed_at_once(tmp_path: Path, git: GitServer) -> None:
    with Service(tmp_path / "data", ("--no-worker",)) as service:
        process_id = service.start(
            gitUrl=git.url("acme/demo"), branchSource="main", branchWork="work", engine="Dummy", steps=[step("x")]
        )
        service.request("PUT", f"/code-generation/processes/by-id/{process_id}/kill")
        assert service.get(process_id)["status"] == "Killed"


@pytest.mark.parametrize("sandbox", ["none", "bubblewrap"])
def test_a_stopped_service_hands_its_runs_over_and_leaves_nothing(tmp_path: Path, git: GitServer, sandbox: str) -> None:
    with Service(tmp_path / "data", LEASE_SECONDS="600", SANDBOX=sandbox) as service:
        process_id = service.start(
            gitUrl=git.url("acme/demo"),
            gitHttpCredentials=HTTP_CREDENTIALS,
            branchSource="main",
            branchWork="work",
            engine="Dummy",
            steps=[step('dummy: [{"sleep": 4}, {"write": ["x", "1\\n"]}]')],
        )
        service.wait_for(process_id, is_event("phase.started", phase="Implementation"))
        working = service.descendants()
        assert working
        service.stop()
        assert not [process for process in working if is_alive(process)]
        assert service.workspaces == []
        service.restart()  # the lease of ten minutes was given back: it goes on at once
        service.wait(process_id, "Success", seconds=30)
        assert len(git.log("acme/demo", "work")) == 2
