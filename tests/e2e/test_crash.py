"""The service killed with -9 at the worst moments: started again, it finishes, and no step is committed twice."""

import json
import time
from pathlib import Path

import pytest
from tests.e2e.conftest import HTTP_CREDENTIALS
from tests.support.git_server import GitServer, Kind
from tests.support.service import PATIENCE_SECONDS, Json, Service, is_alive, is_event, step, waits

STEPS = [
    step('dummy: [{"append": ["one.txt", "1\\n"]}]'),
    step('dummy: [{"append": ["two.txt", "2\\n"]}]'),
    step("Sum it up", commitable=False),
]


@pytest.fixture(params=["none", "bubblewrap"])
def crashing(request: pytest.FixtureRequest, tmp_path: Path) -> Service:
    return Service(tmp_path / "data", SANDBOX=str(request.param))


def slow(phase: str) -> Json:
    """The second step, which waits in a phase until it is let go."""
    return step(f'dummy: [{{"append": ["two.txt", "2\\n"]}}, {json.dumps({"phase": phase, **waits()})}]')


def start(service: Service, git: GitServer, steps: list[Json] = STEPS) -> str:
    return service.start(
        gitUrl=git.url("acme/demo"),
        gitHttpCredentials=HTTP_CREDENTIALS,
        branchSource="main",
        branchWork="work",
        engine="Dummy",
        steps=steps,
    )


def check(service: Service, git: GitServer, process_id: str) -> Json:
    """Finished, with one commit for each commitable step in order, and nothing done twice."""
    process = service.wait(process_id, "Success")
    commits = git.log("acme/demo", "work")[:-1]
    wanted = [each for each in process["steps"] if each["isCommitableStep"]][::-1]
    assert [commit.sha for commit in commits] == [each["commitSha"] for each in wanted]
    for commit, done in zip(commits, wanted, strict=True):
        assert commit.message.count("Treadle-Step:") == 1
        assert commit.message.endswith(done["id"])
    assert git.show("acme/demo", "work", "one.txt") == b"1\n"
    assert git.show("acme/demo", "work", "two.txt") == b"2\n"
    numbers = [event["number"] for event in service.events(process_id)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert service.workspaces == []
    return process


def crash_at(service: Service, git: GitServer, kind: Kind, *, after: bool) -> None:
    hold = git.hold(kind, after=after)
    process_id = start(service, git)
    hold.wait()
    service.kill9()
    hold.release()
    service.restart()
    check(service, git, process_id)


def test_between_commit_and_push(crashing: Service, git: GitServer) -> None:
    with crashing as service:
        crash_at(service, git, Kind.RECEIVE_REFS, after=False)


def test_after_the_push_was_taken(crashing: Service, git: GitServer) -> None:
    with crashing as service:
        crash_at(service, git, Kind.RECEIVE, after=True)


def test_a_push_that_is_taken_after_the_next_worker_has_cloned(crashing: Service, git: GitServer) -> None:
    with crashing as service:
        old = git.hold(Kind.RECEIVE)
        process_id = start(service, git)
        old.wait()
        new = git.hold(Kind.RECEIVE_REFS)
        service.kill9()
        service.restart()
        new.wait()
        old.release()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while "work" not in git.branches("acme/demo"):
            assert time.monotonic() < deadline, "the old push was not taken"
            time.sleep(0.02)
        late = git.log("acme/demo", "work")[0].sha
        new.release()
        assert check(service, git, process_id)["steps"][0]["commitSha"] == late


def test_in_the_middle_of_a_phase(crashing: Service, git: GitServer, tmp_path: Path) -> None:
    with crashing as service:
        process_id = start(service, git, [STEPS[0], slow("implementation"), STEPS[2]])
        service.wait_at(process_id)
        left = service.descendants()
        assert left
        service.kill9()
        service.restart()
        service.let_go(process_id, lease=2)
        check(service, git, process_id)
        assert not [process for process in left if is_alive(process)]


def test_costs_no_more_than_the_phase_that_it_hit(crashing: Service, git: GitServer) -> None:
    """Killed in validation: analysis and implementation are not paid for again, their work is still there."""
    with crashing as service:
        process_id = start(service, git, [STEPS[0], slow("validation"), STEPS[2]])
        service.wait_at(process_id)
        service.kill9()
        service.restart()
        service.let_go(process_id, lease=2)
        check(service, git, process_id)
        phases = [
            event["phase"]
            for event in service.events(process_id)
            if event["type"] == "phase.started" and event["step"] == 2
        ]
    assert phases == ["Analysis", "Implementation", "Validation", "Validation"]


def test_what_the_last_worker_pushed_that_a_run_may_lose_counts(tmp_path: Path, git: GitServer) -> None:
    """Twice: the step that is found on the branch lets the next one lose its worker too."""
    with Service(tmp_path / "data", SANDBOX="none", MAX_LOST_WORKERS="1") as service:
        hold = git.hold(Kind.RECEIVE, after=True)
        process_id = start(service, git)
        hold.wait()
        following = git.hold(Kind.RECEIVE, after=True)
        for each in (hold, following):
            each.wait()
            service.kill9()
            each.release()
            service.restart()
        process = check(service, git, process_id)
        kinds = [event["type"] for event in service.events(process_id)]
    assert kinds.count("run.requeued") == 2
    assert [each["status"] for each in process["steps"]] == ["Success"] * 3


def test_a_run_that_kills_its_workers_is_given_up(tmp_path: Path, git: GitServer) -> None:
    with Service(tmp_path / "data", MAX_LOST_WORKERS="2") as service:
        process_id = start(service, git, [step('dummy: [{"hang": true}]')])
        for lease in (1, 2):
            service.wait_for(process_id, is_event("run.started", lease=lease))
            service.kill9()
            service.restart()
        process = service.wait(process_id, "Failed")
        assert "worker" in process["failureDetails"]
