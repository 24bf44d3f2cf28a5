"""A stop that stops: whatever the engine does, and wherever its children went."""

import json
import os
import time
from pathlib import Path

import httpx2
import psutil
import pytest
from tests.e2e.conftest import HTTP_CREDENTIALS
from tests.support.git_server import GitServer
from tests.support.service import PATIENCE_SECONDS, Service, is_alive, is_event, step, waits


def alive_with(marker: str) -> list[psutil.Process]:
    """Processes of this machine that have `marker` in their command line or environment."""
    found = []
    for process in psutil.process_iter():
        try:
            seen = " ".join(process.cmdline()) + " ".join(f"{k}={v}" for k, v in process.environ().items())
        except psutil.Error:
            continue
        if marker in seen and process.pid != os.getpid() and is_alive(process):
            found.append(process)
    return found


def wait_until_there(marker: str) -> None:
    """A process that has just become another program is seen without its command line for a moment."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not alive_with(marker):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def wait_until_gone(marker: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while left := alive_with(marker):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


@pytest.mark.parametrize("sandbox", ["none", "bubblewrap"])
def test_kill_ends_everything_within_five_seconds(tmp_path: Path, git: GitServer, sandbox: str) -> None:
    """Now and then a machine stands still for longer: one time in five it does not."""
    with Service(tmp_path / "data", SANDBOX=sandbox, KILL_GRACE_SECONDS="1") as service:
        assert any(is_killed_in_time(service, git, f"{sandbox}-{number}") for number in range(5))


def is_killed_in_time(service: Service, git: GitServer, branch: str) -> bool:
    """By the worker itself; on a busy machine the sweeper may say so in its place, and the rest goes a little later."""
    marker = f"treadle-kill-test-{os.getpid()}-{branch}"
    stubborn = (
        'dummy: [{"write": ["half.txt", "x\\n"]}, {"ignore_sigterm": true}, {"spawn": 300}, '
        f'{{"run": "MARKER={marker} setsid sleep 300 & (MARKER={marker} setsid sleep 301 &) ; true"}}, '
        '{"say": "settled"}, {"hang": true}]'
    )
    process_id = service.start(
        gitUrl=git.url("acme/demo"),
        gitHttpCredentials=HTTP_CREDENTIALS,
        branchSource="main",
        branchWork=branch,
        engine="Dummy",
        steps=[step('dummy: [{"write": ["done.txt", "1\\n"]}]'), step(stubborn), step("never")],
    )
    service.wait_for(process_id, lambda event: event["data"].get("text") == "settled")
    wait_until_there(marker)
    assert service.descendants()
    began = time.monotonic()
    answer = service.request("PUT", f"/code-generation/processes/by-id/{process_id}/kill")
    assert answer.status_code == httpx2.codes.NO_CONTENT
    finished = service.wait_for(process_id, is_event("run.finished"))
    took = time.monotonic() - began
    is_in_time = took < 5 and "did not answer" not in finished["data"]["failureDetails"]
    if is_in_time:
        assert alive_with(marker) == []
        assert service.workspaces == []
    wait_until_gone(marker)
    service.wait_until_clean()
    process = service.get(process_id)
    assert process["status"] == "Killed"
    assert git.log("acme/demo", branch)[0].sha == process["steps"][0]["commitSha"]
    again = service.request("PUT", f"/code-generation/processes/by-id/{process_id}/kill")
    assert again.status_code == httpx2.codes.CONFLICT
    if is_in_time:
        assert [each["status"] for each in process["steps"]] == ["Success", "Failed", "NotStarted"]
        assert process["steps"][1]["usage"]["durationMs"] > 0, "a call that was broken off is on the bill too"
    return is_in_time


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
            steps=[step(f'dummy: [{json.dumps(waits())}, {{"write": ["x", "1\\n"]}}]')],
        )
        service.wait_at(process_id)
        working = service.descendants()
        assert working
        service.stop()
        assert not [process for process in working if is_alive(process)]
        assert service.workspaces == []
        service.restart()  # the lease of ten minutes was given back: it goes on at once
        service.let_go(process_id, lease=2)
        service.wait(process_id, "Success")
        assert len(git.log("acme/demo", "work")) == 2
