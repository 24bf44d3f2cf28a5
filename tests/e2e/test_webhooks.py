"""Webhooks of a whole service: receivers that are down, slow or out of temper, and a service that is killed."""

import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook as StandardWebhook
from tests.e2e.conftest import HTTP_CREDENTIALS
from tests.e2e.test_resume import NO_RATES, appends, register
from tests.support.cli import TREADLE
from tests.support.git_server import GitServer
from tests.support.service import PATIENCE_SECONDS, Json, Service
from tests.support.webhooks import Receiver, Told


@pytest.fixture
def service(tmp_path: Path, git: GitServer) -> Iterator[Service]:
    with Service(tmp_path / "data", **NO_RATES) as made:
        register(git, made.environment())
        yield made


def add(service: Service, receiver: Receiver, **fields: object) -> Json:
    answer = service.request("POST", "/webhooks", json={"name": "all", "target": receiver.url, **fields})
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def start(service: Service, git: GitServer, branch: str, *steps: str) -> str:
    return service.start(
        gitUrl=git.url("acme/demo"),
        gitHttpCredentials=HTTP_CREDENTIALS,
        branchSource="main",
        branchWork=branch,
        engine="Dummy",
        steps=[{"step": text} for text in steps or (appends("a.txt"),)],
    )


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def has_ended(receiver: Receiver, *branches: str) -> bool:
    ended = [each for each in receiver.accepted if each.json["type"] == "run.finished"]
    return {each.json["data"]["run"]["branchWork"] for each in ended} >= set(branches)


def order_of(receiver: Receiver, branch: str) -> list[int]:
    """Numbers of the events of a run, each once, as they were first accepted."""
    found = [
        each.json["data"]["event"]["number"]
        for each in receiver.accepted
        if each.json["data"].get("run", {}).get("branchWork") == branch
    ]
    return list(dict.fromkeys(found))


def all_told(service: Service, webhook: int, branch: str) -> list[int]:
    """What should have been, by the service's own list."""
    found = service.request("GET", f"/webhooks/{webhook}/messages?limit=500").json()["messages"]
    return sorted(each["number"] for each in found if each["data"]["run"]["branchWork"] == branch)


def make_due(service: Service) -> None:
    """What waits is tried now, as if for the first time: time that a test does not have has passed. Of a service that
    does not run. The pauses grow with the tries, and how many there were depends on the machine's pace."""
    with sqlite3.connect(service.data / "treadle.db") as database:
        database.execute("UPDATE messages SET date_next = 0, tries = 0 WHERE status = 'Waiting'")
        database.execute("UPDATE chores SET date_due = 0 WHERE kind = 'messages' AND date_due IS NOT NULL")
    database.close()


def test_what_arrives_is_signed_in_order_and_holds_no_secret(service: Service, git: GitServer) -> None:
    with Receiver() as receiver:
        webhook = add(service, receiver)
        service.wait(start(service, git, "signed"))
        receiver.wait(lambda here: has_ended(here, "signed"))
    verifier = StandardWebhook(webhook["secret"])
    for told in receiver.told:
        assert verifier.verify(told.body.decode(), told.headers) == told.json
        assert b"correct horse" not in told.body
    types = [told.json["type"] for told in receiver.accepted]
    assert types == ["run.created", "run.started", "step.started", "git.committed", "git.pushed", "step.finished",
                     "run.finished"]  # fmt: skip
    assert order_of(receiver, "signed") == all_told(service, webhook["id"], "signed")


def test_a_receiver_that_is_down_slow_and_answers_500_loses_nothing(service: Service, git: GitServer) -> None:
    tempers, lock = [500, 500, 503], threading.Lock()
    hold = threading.Event()

    def answer(told: Told) -> int:
        if told.json["type"] == "step.started":
            hold.wait(2)  # slow, and no run waits for it
        with lock:
            return tempers.pop() if tempers else 200

    with Receiver() as receiver:
        receiver.answer = answer
        receiver.down()
        webhook = add(service, receiver)
        for branch in ("one", "two", "three"):
            assert service.wait(start(service, git, branch))["status"] == "Success"
        waiting = service.request("GET", f"/webhooks/{webhook['id']}/messages?status=Waiting").json()["messages"]
        assert len(waiting) == 21
        service.stop()
        make_due(service)
        receiver.up()
        service.restart()
        # Three fail once more, and are tried again after their pause.
        receiver.wait(lambda here: len(here.accepted) > 3)
        receiver.wait(lambda _: not tempers)
        hold.set()
        service.stop()
        make_due(service)
        service.restart()
        receiver.wait(lambda here: has_ended(here, "one", "two", "three"))
        for branch in ("one", "two", "three"):
            assert order_of(receiver, branch) == all_told(service, webhook["id"], branch)
            assert len(order_of(receiver, branch)) == 7


def test_a_service_killed_while_it_tells_loses_nothing_and_tells_under_the_same_id(
    service: Service, git: GitServer
) -> None:
    hold, is_asked = threading.Event(), threading.Event()

    def answer(told: Told) -> int:
        if told.json["type"] == "git.pushed" and not hold.is_set():
            is_asked.set()
            hold.wait(PATIENCE_SECONDS)
        return 200

    with Receiver() as receiver:
        receiver.answer = answer
        webhook = add(service, receiver)
        service.wait(start(service, git, "killed"))
        assert is_asked.wait(PATIENCE_SECONDS)
        service.kill9()
        hold.set()
        service.restart()
        receiver.wait(lambda here: has_ended(here, "killed"))
        assert order_of(receiver, "killed") == all_told(service, webhook["id"], "killed")
    pushed = [told.id for told in receiver.told if told.json["type"] == "git.pushed"]
    assert len(pushed) > 1
    assert len(set(pushed)) == 1


def test_a_dead_receiver_holds_up_no_run_and_no_other_webhook(service: Service, git: GitServer) -> None:
    hold = threading.Event()

    def silence(_: Told) -> int:
        hold.wait()
        return 200

    with Receiver(silence) as dead, Receiver() as other:
        for _ in range(10):
            add(service, dead)
        add(service, other)
        try:
            assert service.wait(start(service, git, "alive"))["status"] == "Success"
            other.wait(lambda here: has_ended(here, "alive"))
            assert not dead.accepted
        finally:
            hold.set()


def test_a_receiver_that_is_gone_is_told_nothing_more(service: Service, git: GitServer) -> None:
    with Receiver(lambda _: 410) as receiver:
        webhook = add(service, receiver, filter={"types": ["run.*"]})
        service.wait(start(service, git, "gone"))
        until(lambda: not service.request("GET", f"/webhooks/{webhook['id']}").json()["isEnabled"])
        until(lambda: noted(service) == ["webhook.disabled", "webhook.added"])  # a moment later
        assert len(receiver.told) == 1


def noted(service: Service) -> list[str]:
    """The audit log of webhooks, newest first."""
    entries = service.request("GET", "/audit?action=webhook.").json()["entries"]
    return [each["action"] for each in entries]


def test_the_command_line_looks_after_webhooks(service: Service, git: GitServer) -> None:
    def treadle(*arguments: str, code: int = 0) -> str:
        environment = {**service.environment(), "TREADLE_URL": service.url, "TREADLE_API_KEY": service.key}
        done = subprocess.run(
            [str(TREADLE), "webhook", *arguments],
            check=False, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    with Receiver() as receiver:
        assert "whsec_" in treadle("add", "mine", receiver.url, "--type", "run.finished")
        assert "run.finished" in treadle("list")
        assert "It was taken (200)." in treadle("test", "1")
        receiver.answer = lambda _: 302
        assert "sends on elsewhere" in treadle("test", "1", code=1)
        assert "whsec_" in treadle("rotate", "1")
        assert "whsec_" not in treadle("show", "1")
        receiver.answer = lambda _: 200
        service.wait(start(service, git, "line"))
        receiver.wait(lambda here: has_ended(here, "line"))
        until(lambda: "Delivered" in treadle("messages", "1"))
        treadle("resend", "1", "1")
        receiver.wait(lambda here: len(order_of(here, "line")) == 1 and len(here.told) == 4)
        assert "disabled" in treadle("update", "1", "--disable", "--everything")
        assert "0 messages" in treadle("resend", "1", "--dead")
        treadle("remove", "1")
        assert "webhook 1" in treadle("show", "1", code=1)
