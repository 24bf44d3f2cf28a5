"""What an operator sees of a real run: figures, one trace, log lines; and never a secret in any of them."""

import json
import re
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.e2e.test_secrets import forms
from tests.support.figures import Figures
from tests.support.git_faults import Hold, Kind
from tests.support.git_server import GitServer
from tests.support.otlp import Collector, Seen
from tests.support.service import PATIENCE_SECONDS, Service, is_event, step

from treadle import telemetry

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"

#: Fails once, is paid for, and does its work.
STEP = (
    'dummy: [{"fail": 529, "times": 1}, {"usage": {"input": 100, "output": 20, "cost": 0.5}}, {"append": ["a", "b"]}]'
)

PHASES = ("Analysis", "Implementation", "Validation")


def fields(git: GitServer, password: str = "correct horse", **more: object) -> dict[str, object]:
    return {
        "gitUrl": git.url("acme/demo"),
        "gitHttpCredentials": f"ada:{password}",
        "branchSource": "main",
        "branchWork": "work",
        "engine": "Dummy",
        "steps": [step(STEP)],
        **more,
    }


def operations(log: str) -> str:
    """The address that the process has told its log."""
    return str(next(line["address"] for line in lines(log) if line["event"] == "operations"))


def lines(log: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.splitlines() if line.startswith("{")]


def scrape(address: str) -> Figures:
    answer = httpx2.get(f"{address}/metrics", timeout=30)
    assert answer.status_code == 200, answer.text
    return Figures(answer.text)


def wait_for(address: str, name: str, labels: dict[str, str], least: float) -> Figures:
    """A scrape in which that figure is at least so much: the last of them are counted just after a run's last event."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = scrape(address)
        if name in found and found[name, labels] >= least:
            return found
        assert time.monotonic() < deadline, (name, labels)
        time.sleep(0.05)


# ---- figures


def test_figures_of_a_run(tmp_path: Path, git: GitServer) -> None:
    with Service(tmp_path / "data", RETRY_SECONDS="0.1", OPERATIONS_PORT="0") as service:
        here = operations(service.log)
        before = scrape(here)
        assert [before[f"treadle_slots_{which}", {}] for which in ("used", "free")] == [0, 4]
        assert before["treadle_store_up", {}] == 1
        gate = git.hold(Kind.UPLOAD_REFS)  # so that somebody follows when events happen
        process_id = service.start(**fields(git))
        gate.wait()
        with followed(service, process_id, gate):
            service.wait(process_id, "Success")
        wait_for(here, "treadle_runs_finished_total", {"status": "Success"}, 1)
        found = wait_for(here, "treadle_slots_free", {}, 4)

    for phase in PHASES:
        assert found["treadle_phase_seconds_count", {"engine": "Dummy", "phase": phase, "outcome": "ok"}] == 1
    assert found["treadle_phase_seconds_count", {}] == 3
    assert found["treadle_engine_retries_total", {"engine": "Dummy"}] == 1
    assert found["treadle_tokens_total", {"engine": "Dummy", "direction": "input"}] >= 100
    assert found["treadle_cost_dollars_total", {"engine": "Dummy"}] == pytest.approx(0.5)
    assert found["treadle_claims_total", {}] == found["treadle_claim_wait_seconds_count", {}] == 1
    assert found["treadle_workspace_prepare_seconds_count", {"start": "cold", "outcome": "ok"}] == 1
    assert found["treadle_git_command_seconds_count", {"command": "push", "outcome": "ok"}] == 1
    verbs = {labels["command"] for labels in found.labels("treadle_git_command_seconds_count")}
    assert {"clone", "add", "push", "diff"} <= verbs
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", verb) for verb in verbs), verbs
    assert found["treadle_event_lag_seconds_count", {}] > 5
    assert found["treadle_store_call_seconds_count", {"kind": "write", "outcome": "ok"}] > 5
    route = "/code-generation/processes"
    assert found["treadle_http_request_seconds_count", {"route": route, "method": "POST", "status": "2xx"}] == 1
    assert found["treadle_runs_finished_total", {"status": "Failed"}] == 0
    assert found["treadle_leases_lost_total", {}] == 0
    assert found["treadle_queue_depth", {}] == found["treadle_slots_used", {}] == 0

    kept = {name: family(found, name) for name in (metric.name for metric in telemetry.METRICS)}
    assert [name for name, samples in kept.items() if not samples] == []
    values = {value for name in found.names() for labels in found.labels(name) for value in labels.values()}
    assert not [value for value in values if process_id in value or re.search(r"://|[0-9a-f]{16}", value)]


def family(found: Figures, name: str) -> list[str]:
    """The names of its samples."""
    return [sample for sample in found.names() if sample in {name, f"{name}_count"}]


@contextmanager
def followed(service: Service, process_id: str, gate: Hold) -> Iterator[None]:
    """A reader of the run's event stream beside the body, to the stream's end; it opens `gate` when it has begun."""

    def read() -> None:
        path = f"{service.url}/code-generation/processes/by-id/{process_id}/events"
        headers = {"X-Api-Key": service.key, "Accept": "text/event-stream"}
        with httpx2.Client(timeout=PATIENCE_SECONDS) as http, http.stream("GET", path, headers=headers) as answer:
            for _ in answer.iter_bytes():
                gate.release()

    reading = threading.Thread(target=read)
    reading.start()
    try:
        yield
    finally:
        reading.join(PATIENCE_SECONDS)
        assert not reading.is_alive()


def test_the_apis_port_answers_admins_only(service: Service) -> None:
    assert service.http.get(f"{service.url}/metrics").status_code == 401
    assert Figures(service.request("GET", "/metrics").text)["treadle_store_up", {}] == 1


def test_a_taken_port_of_operations_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        service = Service(tmp_path / "data", OPERATIONS_PORT=str(taken.getsockname()[1]))
        with pytest.raises(AssertionError, match="TREADLE_OPERATIONS_PORT"), service:
            pass
    assert not (tmp_path / "data").exists()


# ---- traces


def test_one_trace_from_the_request_to_the_last_git_command(tmp_path: Path, git: GitServer) -> None:
    """Through two processes: the API's, and a worker's."""
    with (
        Collector() as collector,
        Service(tmp_path / "data", ("--no-worker",), RETRY_SECONDS="0.1", OTLP_ENDPOINT=collector.url) as service,
        worker_of(service) as worker,
    ):
        answer = service.request(
            "POST",
            "/code-generation/processes",
            json=fields(git),
            headers={"traceparent": f"00-{TRACE}-{CALLER}-01"},
        )
        service.wait(answer.json()["id"], "Success")
        claimed = wait_for(operations(worker.read_text()), "treadle_slots_free", {}, 4)
        spans = collector.wait_for(lambda spans: {"run", "create run"} <= {each.name for each in spans})
        assert claimed["treadle_claims_total", {}] == 1
    spans = [span for span in collector.spans if span.trace == TRACE]
    only = {span.name: span for span in spans}
    post, create, run = only["POST /code-generation/processes"], only["create run"], only["run"]
    assert [post.parent, create.parent, run.parent] == [CALLER, post.id, create.id]
    assert run.resource["service.instance.id"] != post.resource["service.instance.id"]
    assert run.attributes["treadle.run"] == answer.json()["id"]
    assert run.attributes["treadle.end"] == "success"

    prepare, work = only["prepare workspace"], only["step"]
    assert [prepare.parent, work.parent] == [run.id, run.id]
    assert prepare.attributes["treadle.start"] == "cold"
    assert prepare.id in {span.parent for span in spans if span.name.startswith("git ")}
    phases = sorted((span for span in spans if span.name == "phase"), key=lambda span: PHASES.index(phase_of(span)))
    assert [phase_of(span) for span in phases] == list(PHASES)
    assert {span.parent for span in phases} == {work.id}
    calls = [span for span in spans if span.name == "engine call"]
    assert sorted(phase_of(by_id(spans, call.parent)) for call in calls) == sorted((*PHASES, "Implementation"))
    assert [call.attributes["treadle.attempt"] for call in calls if "treadle.error" in call.attributes] == [1]
    assert work.id in ancestors(spans, only["git push"])
    assert all(run.id in ancestors(spans, span) for span in spans if span.name.startswith("git "))


def phase_of(span: Seen) -> str:
    return str(span.attributes["treadle.phase"])


def by_id(spans: Sequence[Seen], span_id: str) -> Seen:
    return next(span for span in spans if span.id == span_id)


def ancestors(spans: Sequence[Seen], span: Seen) -> list[str]:
    known: Mapping[str, Seen] = {each.id: each for each in spans}
    found: list[str] = []
    while span.parent in known:
        found.append(span.parent)
        span = known[span.parent]
    return found


@contextmanager
def worker_of(service: Service) -> Iterator[Path]:
    """`treadle worker` beside the service; gives its log."""
    log_path = service.data.with_name("worker.log")
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("treadle")), "worker"],
            env={**service.environment(), "TREADLE_OPERATIONS_PORT": "0", "TREADLE_LOG_LEVEL": "debug"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield log_path
    finally:
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0, log_path.read_text()


@pytest.mark.parametrize("is_silent", [False, True], ids=["refuses", "silent"])
def test_a_collector_that_is_away_delays_neither_a_run_nor_the_end(
    tmp_path: Path, git: GitServer, *, is_silent: bool
) -> None:
    with Collector(is_silent=True) as silent, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = silent.url if is_silent else f"http://127.0.0.1:{closed.getsockname()[1]}"
        with Service(tmp_path / "data", OTLP_ENDPOINT=address) as service:
            process_id = service.start(**fields(git, steps=[step("Go")]))
            service.wait_for(process_id, is_event("run.finished"))
            assert service.get(process_id)["status"] == "Success"
            started = time.monotonic()
            service.stop()
            assert time.monotonic() - started < PATIENCE_SECONDS / 2


# ---- log lines


def test_log_lines_name_run_step_phase_and_trace(tmp_path: Path, git: GitServer) -> None:
    with (
        Collector() as collector,
        Service(tmp_path / "data", RETRY_SECONDS="0.1", LOG_LEVEL="debug", OTLP_ENDPOINT=collector.url) as service,
    ):
        process = service.wait(service.start(**fields(git)), "Success")
        service.stop()
        said = lines(service.log)
    run = process["id"]
    trace = next(span.trace for span in collector.spans if span.name == "run")
    of_run = [line for line in said if line.get("run") == run]
    assert {line.get("trace_id") for line in of_run if line["event"] != "the run is taken up"} == {trace}

    git_lines = [line for line in said if line["event"] == "git"]
    assert len(git_lines) > 5
    assert {line.get("run") for line in git_lines} == {run}
    assert {line.get("step") for line in git_lines if line["command"] in {"commit", "push"}} == {1}

    [retry] = [line for line in said if line["event"] == "the engine is called again"]
    assert (retry["run"], retry["step"], retry["phase"], retry["trace_id"]) == (run, 1, "Implementation", trace)
    ended = [line for line in said if line["event"] == "the engine has ended"]
    assert [(line["step"], line["phase"]) for line in ended] == [
        (1, phase) for phase in ("Analysis", "Implementation", "Implementation", "Validation")
    ]
    left = next(line for line in said if line["event"] == "the run is left")
    assert (left["run"], left["end"], "phase" in left) == (run, "success", False)


# ---- secrets


def test_no_secret_is_in_a_span_a_figure_or_a_line(tmp_path: Path) -> None:
    password, wrong_password, branch = (f"canary{secrets.token_hex(12)}" for _ in range(3))
    text = f"canary{secrets.token_hex(12)}"
    with (
        GitServer(username="ada", password=password) as git,
        Collector() as collector,
        Service(
            tmp_path / "data", LOG_LEVEL="debug", OTLP_ENDPOINT=collector.url, OPERATIONS_PORT="0", RETRY_SECONDS="0.1"
        ) as service,
    ):
        git.create("acme/demo", {"README.md": "# Demo\n"})
        steps = [step(f'dummy: [{{"say": "{text}"}}, {{"run": "echo {text} >&2; env"}}, {{"exit": 3}}]')]
        body = fields(git, password, branchWork=branch, steps=steps, engine="Claude")
        body["claudeAuthentication"] = {"source": "ClientApiKey", "apiKey": "000-dummy"}
        body["gitUrl"] = git.url("acme/demo").replace("://", f"://ada:{password}@")
        del body["gitHttpCredentials"]
        service.wait(service.start(**body), "Failed")
        wrong = fields(git, wrong_password, branchWork=branch, steps=steps)
        service.wait(service.start(**wrong), "Failed")
        figures = httpx2.get(f"{operations(service.log)}/metrics", timeout=30).text
        service.stop()
        log = service.log
    assert {"run", "engine call", "git clone"} <= {span.name for span in collector.spans}
    spans = b"".join(collector.raw).decode(errors="replace")
    for needle in (*forms(password), *forms(wrong_password), *forms(service.key)):
        assert needle not in figures + log + spans
    for needle in (text, branch, git.url("acme/demo").partition("://")[2]):
        assert needle not in figures + spans
