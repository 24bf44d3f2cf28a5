"""Nobody has to trust the agent: the real Claude CLI in the box, the key outside of it, the bill counted on the way."""

import json
import shlex
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.e2e.conftest import HTTP_CREDENTIALS
from tests.e2e.test_claude_cli import API_KEY, license_of, service, start
from tests.support.claude_accounts import ClaudeAccounts
from tests.support.git_server import GitServer
from tests.support.model_script import Fail, ModelRequest, Say, Turn, bash, say
from tests.support.model_server import ModelServer
from tests.support.service import Json, Service, is_event, step

pytestmark = [pytest.mark.claude, pytest.mark.bubblewrap]

#: Looks for a text (given backwards, lest it find itself) in every file, environment and command line that it can read.
SEARCH = r"""
import os, sys
needles = [word[::-1].encode() for word in sys.argv[1:]]
skipped = {"/usr", "/nix", "/opt", "/proc"}  # the system, as it is for everybody
found, looked = [], 0
def look(path):
    global looked
    try:
        with open(path, "rb") as file:
            data = file.read(64 << 20)
    except OSError:
        return
    looked += 1
    found.extend(path for needle in needles if needle in data)
for folder, folders, files in os.walk("/"):
    folders[:] = [name for name in folders if os.path.join(folder, name) not in skipped]
    folders[:] = [name for name in folders if not name.startswith("python3")]
    for name in files:
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            look(path)
for pid in filter(str.isdigit, os.listdir("/proc")):
    for name in ("environ", "cmdline", "maps"):
        look(f"/proc/{pid}/{name}")
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
            if target.startswith("/") and os.path.isfile(target):
                look(f"/proc/{pid}/fd/{fd}")
    except OSError:
        pass
print("LOOKED", looked, "FOUND", sorted(set(found)))
"""

#: What there is of a network: interfaces, routes, and whether anything answers.
NETWORK = r"""
import socket
print("INTERFACES", sorted(name for _, name in socket.if_nameindex()))
for host, port in (("127.0.0.1", PORT), ("10.0.0.1", 80), ("169.254.169.254", 80), ("1.1.1.1", 53)):
    probe = socket.socket()
    probe.settimeout(2)
    try:
        probe.connect((host, port))
        print("REACHED", host, port)
    except OSError as error:
        print("refused", host, port, error.errno)
"""


@pytest.fixture
def model() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture
def claude(tmp_path: Path, model: ModelServer) -> Iterator[Service]:
    with service(tmp_path, model) as running:
        yield running


def outputs(claude: Service, process: Json) -> str:
    """What the agent's tools printed."""
    events = claude.events(process["id"])
    return "\n".join(str(event["data"]["output"]) for event in events if event["type"] == "tool.finished")


def heredoc(program: str, *arguments: str) -> str:
    return f"python3 - {shlex.join(arguments)} <<'PROGRAM'\n{program}\nPROGRAM"


def test_the_key_is_nowhere_inside(claude: Service, git: GitServer, model: ModelServer) -> None:
    search = heredoc(SEARCH, API_KEY[::-1], HTTP_CREDENTIALS[::-1], claude.key[::-1])
    model.play([say(bash(search)), say("searched")])
    process = claude.wait(start(claude, git, step("Search", commitable=False)), "Success")
    said = outputs(claude, process)
    assert "FOUND []" in said, said
    assert int(said.partition("LOOKED ")[2].split()[0]) > 20, "it did look"
    assert {turn.credential for turn in model.turns} == {f"x-api-key {API_KEY}"}


def test_the_only_network_is_the_gateway(claude: Service, git: GitServer, model: ModelServer) -> None:
    port = int(model.url.rpartition(":")[2])
    model.play([say(bash(heredoc(NETWORK.replace("PORT", str(port))))), say("looked")])
    process = claude.wait(start(claude, git, step("Look", commitable=False)), "Success")
    said = outputs(claude, process)
    assert "INTERFACES ['lo']" in said, said
    assert "REACHED" not in said
    policies = [event["data"] for event in claude.events(process["id"]) if event["type"] == "network.policy"]
    assert policies == [{"policy": "model", "isEnforced": True}]


def test_neither_environment_nor_state_hold_the_key(claude: Service, git: GitServer, model: ModelServer) -> None:
    """Not even while the CLI holds what it authenticates with."""
    model.play([say(bash("cat /proc/*/fd/3 2>/dev/null; env; ls -R /config")), say("looked")])
    process = claude.wait(start(claude, git, step("Look", commitable=False)), "Success")
    inside = outputs(claude, process)
    assert API_KEY not in inside
    assert {request.credential for request in model.turns} == {f"x-api-key {API_KEY}"}


def test_a_license_is_refreshed_outside(tmp_path: Path, git: GitServer, model: ModelServer) -> None:
    with ClaudeAccounts() as accounts:

        def script(request: ModelRequest) -> Turn:
            is_new = request.credential in {f"Bearer {access}" for access, _ in accounts.issued}
            return say("All good.") if is_new else Fail(401, "OAuth token has expired")

        model.play(script)
        with service(tmp_path, model, CLAUDE_TOKEN_URL=accounts.url) as claude:
            old = license_of("sk-ant-oat01-old-access", "sk-ant-ort01-old-refresh", expires_in=timedelta(hours=1))
            process = claude.wait(start(claude, git, step("Say it"), claudeAuthentication=old), "Success")
            events = claude.events(process["id"])
            claude.wait(start(claude, git, step("Say it"), claudeAuthentication=old), "Success")  # the used-up copy
        assert process["steps"][0]["status"] == "Success"
        assert accounts.refreshes == ["sk-ant-ort01-old-refresh"], "once: the next phase and run had the new ones"
        updated = [event["data"] for event in events if event["type"] == "run.credentials_updated"]
        assert updated == [{"kind": "claude"}]
        assert not any("oat01" in json.dumps(event) for event in events)


def test_a_budget_of_one_cent_stops_a_run_within_an_answer(claude: Service, git: GitServer, model: ModelServer) -> None:
    """1,000 tokens in and 100 out are less than a cent with every model in the table, four such answers are more."""

    def script(_request: ModelRequest) -> Say:
        return say(bash("echo x >> work.txt"), input_tokens=1000, output_tokens=100)

    model.play(script)
    run = start(claude, git, step("Work without end"), maxCostUsd=0.01)
    process = claude.wait(run, "Failed")
    events = claude.events(process["id"])
    answers = [event["data"] for event in events if event["type"] == "model.answered"]
    costs = [answer["costUsd"] for answer in answers]
    assert "its budget is $0.01" in process["failureDetails"]
    assert sum(costs) > 0.01
    assert sum(costs[:-1]) <= 0.01, "within one answer of passing it"
    assert len(answers) == len(model.turns), "the bill has what the server counted, and nothing else"
    assert process["usage"]["inputTokens"] == 1000 * len(model.turns)
    assert process["usage"]["outputTokens"] == 100 * len(model.turns)
    assert process["usage"]["costUsd"] == pytest.approx(sum(costs))
    (passed,) = [event["data"] for event in events if event["type"] == "budget.passed"]
    assert (passed["of"], passed["limitUsd"]) == ("run", 0.01)


def test_the_bill_is_the_servers_own_count(claude: Service, git: GitServer, model: ModelServer) -> None:
    said: list[Say] = []

    def script(_request: ModelRequest) -> Say:
        number = len(said)
        turn = say(bash(f"echo {number}"), input_tokens=1000 + number, output_tokens=10 + number, cache_read_tokens=7)
        said.append(turn if number % 4 else say("done", input_tokens=500 + number, output_tokens=5))
        return said[-1]

    model.play(script)
    process = claude.wait(start(claude, git, step("One"), step("Two", commitable=False)), "Success")
    usage = process["usage"]
    assert usage["inputTokens"] == sum(turn.input_tokens + turn.cache_read_tokens for turn in said)
    assert usage["outputTokens"] == sum(turn.output_tokens for turn in said)
    assert usage["inputTokens"] == sum(each["usage"]["inputTokens"] for each in process["steps"])


def test_a_killed_worker_loses_nothing_of_the_bill(claude: Service, git: GitServer, model: ModelServer) -> None:
    """What was answered before a kill -9 in the middle of a phase is on the bill all the same."""
    model.play(lambda _request: say(bash("sleep 2"), input_tokens=300, output_tokens=30))
    process_id = start(claude, git, step("Work", commitable=False))
    claude.wait_for(process_id, is_event("model.answered"))
    claude.kill9()
    before = len(model.turns)
    model.play(lambda _request: say("done", input_tokens=300, output_tokens=30))
    claude.launch()
    process = claude.wait(process_id, "Success")
    assert before >= 1
    answered = [event for event in claude.events(process_id) if event["type"] == "model.answered"]
    assert process["usage"]["outputTokens"] == 30 * len(answered)
    # Of the answer that was on its way when the process died, nobody can tell.
    assert len(model.turns) - 1 <= len(answered) <= len(model.turns)
