"""Resumed runs: the same branch and conversation, after a restart, on another worker, for a run that failed, and behind
a step that is at work."""

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import HTTP_CREDENTIALS
from tests.support.agent_door import AgentDoor
from tests.support.cli import TREADLE
from tests.support.clis import require_claude
from tests.support.cluster import Cluster, database_of
from tests.support.git_server import GitServer, Kind
from tests.support.model_script import Fail, bash, say, write
from tests.support.model_server import ModelServer
from tests.support.postgres import PostgresServer
from tests.support.service import PATIENCE_SECONDS, Json, Service, is_event

#: No test here is about rates.
NO_RATES = {"RATE_LIMIT_STANDARD": "0", "RATE_LIMIT_CREATE": "0", "RATE_LIMIT_LOGS": "0"}

API_KEY = "sk-ant-api03-the-systems-own-key"


def register(git: GitServer, environment: dict[str, str], *, credentials: str | None = HTTP_CREDENTIALS) -> None:
    """The repository, with its credentials, as an operator does."""
    arguments = ["--org", "1", "--url", git.url("acme/demo"), "--name", "acme/demo", "--default-branch", "main"]
    if credentials is not None:
        environment = {**environment, "GIT_CREDENTIALS": credentials}
        arguments += ["--http-credentials-env", "GIT_CREDENTIALS"]
    done = subprocess.run(
        [str(TREADLE), "admin", "repo", "add", *arguments],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def dummy(tmp_path: Path, git: GitServer) -> Iterator[Service]:
    with Service(tmp_path / "data", **NO_RATES) as service:
        register(git, service.environment())
        yield service


def appends(path: str, text: str = "1", **more: object) -> str:
    actions = "".join(f', {{"{name}": {value}}}' for name, value in more.items())
    return f'dummy: [{{"append": ["{path}", "{text}\\n"]}}{actions}, {{"say": "{path} is written"}}]'


def commits(git: GitServer, branch: str) -> int:
    return len(git.log("acme/demo", branch)) - 1


def branch_of(service: Service) -> str:
    """The work branch of the only run."""
    [process] = service.request("GET", "/code-generation/processes").json()
    return str(process["branchWork"])


def test_a_finished_run_goes_on_after_a_restart(dummy: Service, git: GitServer) -> None:
    door = AgentDoor(dummy)
    run = door.wait(door.create(appends("one.txt"), model="dummy")["id"], "COMPLETE")
    branch = branch_of(dummy)
    assert commits(git, branch) == 1
    dummy.kill9()
    dummy.restart()
    resumed = door.resume(run["id"], appends("two.txt"))
    assert resumed["id"] == run["id"]
    assert resumed["status"] in {"PENDING", "RUNNING"}
    again = door.wait(run["id"], "COMPLETE")
    assert again["result"] == "two.txt is written"
    assert commits(git, branch) == 2
    assert git.show("acme/demo", branch, "two.txt") == b"1\n"
    [process] = dummy.request("GET", "/code-generation/processes").json()
    whole = dummy.get(process["id"])
    assert (whole["status"], [one["status"] for one in whole["steps"]]) == ("Success", ["Success", "Success"])
    assert [file["filename"] for file in whole["diff"]["files"]] == ["one.txt", "two.txt"]


def test_a_follow_up_waits_behind_the_step_at_work(dummy: Service, git: GitServer) -> None:
    door = AgentDoor(dummy)
    gate = git.hold(Kind.RECEIVE_REFS)
    run = door.create(appends("one.txt"), model="dummy")
    gate.wait()
    for name in ("two.txt", "three.txt"):
        assert door.resume(run["id"], appends(name))["status"] == "RUNNING"
    gate.release()
    ended = door.wait_until(run["id"], lambda found: found["result"] == "three.txt is written")
    door.wait(ended["id"], "COMPLETE")
    branch = branch_of(dummy)
    assert commits(git, branch) == 3
    answers = [entry["observation"] for entry in door.logs(run["id"]) if entry["message_type"] == "FINAL_ANSWER"]
    assert answers == ["one.txt is written", "two.txt is written", "three.txt is written"]


def test_the_work_of_a_step_that_failed_is_there_for_the_next(dummy: Service, git: GitServer) -> None:
    door = AgentDoor(dummy)
    run = door.wait(door.create(appends("half.txt", fail=400), model="dummy")["id"], "FAILED")
    assert "half.txt is written" not in str(run["result"])
    ended = door.wait(door.resume(run["id"], appends("half.txt", "2"))["id"], "COMPLETE")
    assert ended["result"] == "half.txt is written"
    branch = branch_of(dummy)
    assert git.show("acme/demo", branch, "half.txt") == b"1\n2\n"
    assert commits(git, branch) == 1
    [process] = dummy.request("GET", "/code-generation/processes").json()
    restored = [event for event in dummy.events(process["id"]) if event["type"] == "workspace.work_restored"]
    assert [event["data"] for event in restored] == [{"name": "partial-work-step-1.patch"}]
    [gone_on] = [event for event in dummy.events(process["id"]) if event["type"] == "workspace.restored"]
    assert gone_on["data"]["steps"] == []  # the one that failed is not done
    first_prompt = [event for event in dummy.events(process["id"]) if event["type"] == "phase.started"][-3]
    assert "did not finish" in first_prompt["data"]["prompt"]


def test_a_run_that_was_stopped_goes_on(dummy: Service, git: GitServer) -> None:
    door = AgentDoor(dummy)
    run = door.create(appends("one.txt", hang="true"), model="dummy")
    [process] = dummy.request("GET", "/code-generation/processes").json()
    dummy.wait_for(process["id"], is_event("phase.started", phase="Implementation"))
    door.call("POST", "/agent/run/ban", json={"agent_run_id": run["id"]})
    door.wait(run["id"], "STOPPED")
    door.call("POST", "/agent/run/unban", json={"agent_run_id": run["id"]})
    door.wait(door.resume(run["id"], appends("two.txt"))["id"], "COMPLETE")
    assert git.show("acme/demo", branch_of(dummy), "two.txt") == b"1\n"


@pytest.mark.claude
def test_claude_remembers_what_was_said(tmp_path: Path, git: GitServer) -> None:
    with (
        ModelServer() as model,
        Service(
            tmp_path / "data",
            CLAUDE_CLI=str(require_claude()),
            CLAUDE_BASE_URL=model.url,
            CLAUDE_API_KEY=API_KEY,
            SANDBOX="bubblewrap",
            RETRY_SECONDS=",",
            **NO_RATES,
        ) as service,
    ):
        register(git, service.environment())
        door = AgentDoor(service)
        model.play(
            [
                say("The secret word is heliotrope."),
                say("Writing.", write("/workspace/hello.py", "print('hello')\n")),
                say("Wrote hello.py."),
                say("It compiles."),
            ]
        )
        run = door.wait(door.create("Say hello")["id"], "COMPLETE")
        assert (run["result"], run["summary"]) == ("Wrote hello.py.", "Wrote hello.py.")
        service.kill9()
        service.restart()
        model.play([say("Narwhals come next."), *[Fail(400)] * 20])
        door.wait(door.resume(run["id"], "And say goodbye")["id"], "FAILED")
        assert "heliotrope" in model.turns[-1].transcript, "the conversation goes on after the end and a restart"
        model.play(
            [say("I know what you said."), say("Done.", bash("echo 'y = 2' >> hello.py")), say("Both."), say("ok")]
        )
        ended = door.wait(door.resume(run["id"], "Try again")["id"], "COMPLETE")
        assert ended["result"] == "Both."
        assert "heliotrope" in model.turns[-1].transcript
        assert "Narwhals" in model.turns[-1].transcript
        assert "And say goodbye" in model.turns[-1].transcript, "also what was said in the step that failed"


@pytest.mark.postgres
def test_resumed_twice_once_elsewhere_and_its_log_paged_meanwhile(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    with (
        GitServer() as git,
        Cluster(
            tmp_path, database=database_of(postgres_server), apis=2, workers=2, settings={**NO_RATES, "SLOTS": "1"}
        ) as cluster,
    ):
        git.create("acme/demo", {"README.md": "# Demo\n"})
        own = {"TREADLE_DATABASE_URL": cluster.database_url, "TREADLE_DATA_DIR": str(tmp_path / "operator")}
        register(git, {"PATH": os.environ["PATH"], "TREADLE_ALLOW_PRIVATE_HOSTS": "1", **own}, credentials=None)
        door = AgentDoor(cluster)
        run = door.create(appends("one.txt", sleep=1), model="dummy")
        reader = Reader(door, run["id"])
        reader.start()
        door.wait(run["id"], "COMPLETE")
        [process] = cluster.request("GET", "/code-generation/processes").json()
        first = cluster.worker_of(process["id"])
        door.resume(run["id"], appends("two.txt", sleep=1))
        door.wait_until(run["id"], lambda found: found["result"] == "two.txt is written")
        door.wait(run["id"], "COMPLETE")
        first.kill9()
        door.resume(run["id"], appends("three.txt"))
        door.wait_until(run["id"], lambda found: found["result"] == "three.txt is written")
        door.wait(run["id"], "COMPLETE")
        assert cluster.worker_of(process["id"]) is not first
        reader.end()
        whole = door.logs(run["id"])
        assert reader.seen == whole, "what was read page by page while it went is what there is"
        assert door.logs(run["id"], limit=3, reverse=True) == whole[::-1]
        kinds = [entry["message_type"] for entry in whole]
        assert kinds.count("USER_MESSAGE") == kinds.count("FINAL_ANSWER") == 3
        branch = cluster.request("GET", "/code-generation/processes").json()[0]["branchWork"]
        assert commits(git, branch) == 3


class Reader(threading.Thread):
    """Pages forward through a log while it grows, as a client does that remembers how many entries it has."""

    def __init__(self, door: AgentDoor, run_id: int) -> None:
        super().__init__(daemon=True)
        self.seen: list[Json] = []
        self._door = door
        self._run_id = run_id
        self._ending = threading.Event()

    def run(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._ending.wait(0.1)
            while page := self._door.page(self._run_id, skip=len(self.seen), limit=3)["logs"]:
                self.seen += page

    def end(self) -> None:
        self._ending.set()
        self.join(PATIENCE_SECONDS)
        assert not self.is_alive()
