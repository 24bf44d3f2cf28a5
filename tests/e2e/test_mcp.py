"""MCP as its clients meet it: the official one at every door of a service, and the real Claude CLI told of it."""

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from mcp.client.client import Client
from tests.e2e.conftest import HTTP_CREDENTIALS
from tests.support.cli import TREADLE, Cli
from tests.support.clis import require_claude
from tests.support.git_server import GitServer
from tests.support.mcp_doors import DOORS, Door, Json, Told, call, connected, refused
from tests.support.model_script import ModelRequest, ToolUse, Turn, say
from tests.support.model_server import ModelServer
from tests.support.repositories import BareRepositories
from tests.support.service import Service, is_event
from tests.support.tcp_proxy import TcpProxy

TOOLS = {
    *("start_run", "get_run", "list_runs", "wait_for_run", "resume_run", "kill_run"),
    *("run_logs", "run_diff", "upload_file", "list_repositories", "start_plan"),
    *("start_batch", "get_batch", "list_batches", "wait_for_batch", "batch_report", "retry_batch", "kill_batch"),
}

WRITES = 'dummy: Add a.py\n[{"write": ["src/a.py", "print(1)\\n"]}, {"write": ["src/b.py", "print(2)\\n"]}]'
PLAN = """
source: main
engine: dummy
variables: {what: {required: true}, gate: {required: true}}
steps:
  - 'dummy: [{"run": "until test -e ${{ gate }}; do sleep 0.05; done"}, {"write": ["${{ what }}.txt", "x"]}]'
"""
HANGS = 'dummy: Hang\n[{"hang": true}]'


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Without a sandbox: its steps look for the gate."""
    with Service(tmp_path / "data", RETRY_SECONDS="0.1,0.1,0.1", SANDBOX="none") as running:
        yield running


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """What waits for it goes on once it is touched."""
    return tmp_path / "gate"


def behind(gate: Path, script: str) -> str:
    """The script, which does nothing before the gate is there."""
    text, _, actions = script.partition("\n")
    waits = {"run": f"until test -e {gate}; do sleep 0.05; done"}
    return f"{text}\n{json.dumps([waits, *json.loads(actions)])}"


def wish(git: GitServer, *steps: str) -> Json:
    return {
        "git_url": git.url("acme/demo"),
        "git_http_credentials": HTTP_CREDENTIALS,
        "branch_source": "main",
        "engine": "Dummy",
        "steps": [{"text": text} for text in steps],
    }


async def ended(client: Client, run: int | str, told: Told | None = None) -> Json:
    """As a client is to do it: again for as long as it is told so."""
    for _ in range(20):
        waited = await call(client, "wait_for_run", told, run=run, seconds=30)
        if waited["advice"] is None:
            found: Json = waited["run"]
            return found
    raise AssertionError("the run does not end")


@pytest.mark.anyio
@pytest.mark.parametrize("door", DOORS)
async def test_a_run_from_start_to_end(door: Door, service: Service, git: GitServer, gate: Path) -> None:
    async with connected(door, service.url, service.key) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert tools.keys() == TOOLS
        assert all(tool.output_schema and tool.description and tool.annotations for tool in tools.values())

        file = await call(client, "upload_file", name="notes.txt", text="Be brief.")
        assert file["size"] == len("Be brief.")
        asked = {**wish(git, behind(gate, WRITES)), "file_ids": [file["id"]], "idempotency_key": "first"}
        started = await call(client, "start_run", **asked)
        assert (await call(client, "start_run", **asked))["id"] == started["id"], "the key makes it one run"
        assert started["steps"][0]["is_commitable"] is True

        told = Told()
        waiting = asyncio.create_task(ended(client, started["id"], told))
        await told.heard("step 1 of 1, Implementation")
        await asyncio.to_thread(gate.touch)
        run = await waiting
        assert run["status"] == "Success", run
        assert told.numbers == sorted(set(told.numbers))
        assert told.totals == {None}
        assert git.show("acme/demo", run["branch_work"], "src/a.py") == b"print(1)\n"
        assert (await call(client, "get_run", run=run["uuid"]))["id"] == run["id"]
        assert [each["id"] for each in (await call(client, "list_runs", statuses=["Success"]))["runs"]] == [run["id"]]

        entries = await pages(client, "run_logs", "entries", run=run["id"], limit=2)
        assert [entry["number"] for entry in entries] == sorted({entry["number"] for entry in entries})
        assert {"step.started", "tool.finished", "step.finished"} <= {entry["type"] for entry in entries}

        files = await pages(client, "run_diff", "files", run=run["id"], limit=1)
        assert [each["filename"] for each in files] == ["src/a.py", "src/b.py"]
        assert files[0]["is_new"]
        assert files[0]["patch"] == "@@ -0,0 +1 @@\n+print(1)\n"
        only = await call(client, "run_diff", run=run["id"], path="src/b.py")
        assert [each["patch"] for each in only["files"]] == ["@@ -0,0 +1 @@\n+print(2)\n"]
        assert only["additions"] == 2
        assert "no file of that path" in await refused(client, "run_diff", run=run["id"], path="nothing")

        assert "ended" in await refused(client, "kill_run", run=run["id"])
        more = {"run": run["id"], "text": "More of it", "git_http_credentials": HTTP_CREDENTIALS}
        resumed = await call(client, "resume_run", **more)
        assert len(resumed["steps"]) == 2
        again = await ended(client, run["id"])
        assert [step["status"] for step in again["steps"]] == ["Success", "Success"]
        assert b"More of it" in git.show("acme/demo", run["branch_work"], "DUMMY.md")
    noted = service.request("GET", "/audit", params={"limit": 50}).json()["entries"]
    by_mcp = [entry["action"] for entry in noted if entry["door"] == "mcp"]
    assert sorted(by_mcp) == ["file.uploaded", "run.created", "run.resumed"]


@pytest.mark.anyio
@pytest.mark.parametrize("door", DOORS)
async def test_bad_arguments_are_told_alike_at_every_door(door: Door, service: Service, git: GitServer) -> None:
    key = "a-key-of-a-test"
    async with connected(door, service.url, service.key) as client:
        asked = {**wish(git), "steps": ["Do it"], "claude_authentication": key, "netwrok": "none"}
        assert await refused(client, "start_run", **asked) == (
            "Error executing tool start_run: The request is not valid. steps[0]: Must be an object. "
            "claude_authentication: Must be an object. netwrok: Is not a known field; did you mean network?"
        )
        assert (await call(client, "list_runs"))["runs"] == []


async def pages(client: Client, tool: str, what: str, **arguments: object) -> list[Json]:
    """Every page, one after the other."""
    found, skip = list[Json](), 0
    while True:
        page = await call(client, tool, **arguments, skip=skip)
        found += page[what]
        if page["next_skip"] is None:
            assert len(found) == page["total"]
            return found
        skip = page["next_skip"]


@pytest.mark.anyio
@pytest.mark.parametrize("door", ["http", "stdio"])
async def test_a_batch_from_start_to_end(door: Door, service: Service, tmp_path: Path, gate: Path) -> None:
    bare = BareRepositories(tmp_path)
    for name in ("one", "two"):
        bare.create(name, {"README.md": f"# {name}\n"})
    async with connected(door, service.url, service.key) as client:
        targets = [str(bare.path("one")), {"url": str(bare.path("two"))}, "/not/there"]
        variables = {"what": "cats", "gate": str(gate)}
        asked = {"plan": PLAN, "targets": targets, "variables": variables, "idempotency_key": str(tmp_path)}
        started = await call(client, "start_batch", **asked)
        assert (await call(client, "start_batch", **asked))["id"] == started["id"], "the key makes it one batch"

        told = Told()
        waiting = asyncio.create_task(call(client, "wait_for_batch", told, batch=started["id"], seconds=120))
        await told.heard("of 3 repositories have ended")
        await asyncio.to_thread(gate.touch)
        ended = await waiting
        assert ended["advice"] is None
        assert told.totals == {3}
        assert told.numbers == sorted(set(told.numbers))
        batch = ended["batch"]
        assert (batch["status"], batch["counts"]["succeeded"], batch["counts"]["failed"]) == ("Failed", 2, 1)

        report = await call(client, "batch_report", batch=batch["uuid"], limit=2)
        assert [each["status"] for each in report["items"]] == ["Success", "Success"]
        assert [each["changed_files"] for each in report["items"]] == [1, 1]
        last = await call(client, "batch_report", batch=batch["id"], limit=2, after=report["next_after"])
        assert [(each["url"], each["status"]) for each in last["items"]] == [("/not/there", "Failed")]
        failed = await call(client, "batch_report", batch=batch["id"], statuses=["Failed"])
        assert failed["items"] == last["items"]
        run = report["items"][0]["run_id"]
        assert (await call(client, "run_diff", run=run))["total"] == 1

        again = await call(client, "retry_batch", batch=batch["id"])
        assert (again["attempt"], again["counts"]["succeeded"]) == (2, 2)
        await call(client, "wait_for_batch", batch=batch["id"], seconds=120)
        assert "ended" in await refused(client, "kill_batch", batch=batch["id"])
    noted = service.request("GET", "/audit", params={"limit": 50}).json()["entries"]
    by_mcp = [entry["action"] for entry in noted if entry["door"] == "mcp" and entry["action"].startswith("batch.")]
    assert set(by_mcp) == {"batch.started", "batch.retried"}


@pytest.mark.anyio
@pytest.mark.parametrize("door", ["http", "stdio"])
async def test_a_wait_ends_in_time_and_a_run_when_it_is_killed(door: Door, service: Service, git: GitServer) -> None:
    async with connected(door, service.url, service.key) as client:
        run = (await call(client, "start_run", **wish(git, HANGS)))["id"]
        waited = await call(client, "wait_for_run", run=run, seconds=1)
        assert not waited["run"]["is_finished"]
        assert "call wait_for_run again" in waited["advice"]
        await call(client, "kill_run", run=run)
        assert (await ended(client, run))["status"] == "Killed"


@pytest.mark.anyio
@pytest.mark.parametrize("door", ["http of before", "stdio"])
async def test_a_server_that_stops_and_another_that_goes_on(
    door: Door, service: Service, git: GitServer, gate: Path
) -> None:
    """The client stays connected; a wait is answered before the server goes, and the next call is to the next one."""
    with TcpProxy(("127.0.0.1", int(service.url.rpartition(":")[2]))) as link:
        async with connected(door, f"http://127.0.0.1:{link.port}", service.key) as client:
            slow = behind(gate, 'dummy: Slow\n[{"write": ["a.txt", "x"]}]')
            run = (await call(client, "start_run", **wish(git, slow)))["id"]
            told = Told()
            waiting = asyncio.create_task(call(client, "wait_for_run", told, run=run, seconds=300))
            await told.heard("Implementation")
            await asyncio.to_thread(service.stop)
            waited = await waiting
            assert not waited["run"]["is_finished"]
            assert "about to stop" in waited["advice"]
            await asyncio.to_thread(gate.touch)
            await asyncio.to_thread(service.launch)
            link.upstream = ("127.0.0.1", int(service.url.rpartition(":")[2]))
            assert (await ended(client, run))["status"] == "Success"


def test_the_bridge_says_what_is_wrong_on_standard_error(tmp_path: Path, service: Service) -> None:
    wrong = Cli(tmp_path / "cli", URL=service.url, API_KEY="trd_wrong").run("mcp", code=2)
    assert wrong.stdout == ""
    assert "key" in wrong.stderr
    nobody = Cli(tmp_path / "cli", URL="http://127.0.0.1:1", API_KEY="trd_any").run("mcp", code=2)
    assert nobody.stdout == ""
    assert "http://127.0.0.1:1 does not answer" in nobody.stderr
    other = Cli(tmp_path / "cli", URL=f"{service.url}/elsewhere", API_KEY=service.key).run("mcp", code=2)
    assert other.stdout == ""
    assert "/elsewhere" in other.stderr


def test_the_bridge_writes_nothing_but_the_protocol(service: Service) -> None:
    asked = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    lines = [
        json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": asked}),
        "this is no JSON",
        '{"jsonrpc":"2.0","method":"notifications/initialized"}',
        '{"jsonrpc":"2.0","id":"two","method":"tools/list"}',
        '{"jsonrpc":"2.0","id":3,"method":"nothing/known"}',
    ]
    process = subprocess.Popen(
        [str(TREADLE), "mcp"],
        env={"PATH": os.environ["PATH"], "TREADLE_URL": service.url, "TREADLE_API_KEY": service.key},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n".join(lines) + "\n")
        process.stdin.flush()
        answers = [json.loads(process.stdout.readline()) for _ in range(4)]
        process.stdin.close()
        assert process.stdout.read() == ""
    assert process.returncode == 0
    by_id = {answer["id"]: answer for answer in answers}
    assert by_id[1]["result"]["serverInfo"]["name"] == "treadle"
    assert by_id[None]["error"]["code"] == -32700
    assert {tool["name"] for tool in by_id["two"]["result"]["tools"]} == TOOLS
    assert by_id[3]["error"]["code"] == -32601


# ---- the real Claude CLI


@pytest.mark.claude
@pytest.mark.parametrize("transport", ["http", "stdio"])
def test_the_real_claude_cli_starts_waits_and_reads(
    transport: str, tmp_path: Path, service: Service, git: GitServer
) -> None:
    server: Json = (
        {"type": "http", "url": f"{service.url}/mcp", "headers": {"Authorization": f"Bearer {service.key}"}}
        if transport == "http"
        else {
            "type": "stdio",
            "command": str(TREADLE),
            "args": ["mcp"],
            "env": {"TREADLE_URL": service.url, "TREADLE_API_KEY": service.key},
        }
    )
    config = tmp_path / "mcp.json"
    config.write_text(json.dumps({"mcpServers": {"treadle": server}}))
    script = _Delegation(git)
    with ModelServer(script) as model:
        done = subprocess.run(
            [
                *(str(require_claude()), "-p", "Have a.py added.", "--output-format", "json"),
                *("--mcp-config", str(config), "--strict-mcp-config", "--allowedTools", "mcp__treadle"),
            ],
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "ANTHROPIC_BASE_URL": model.url,
                "ANTHROPIC_API_KEY": "sk-ant-api03-of-a-test",
                "DISABLE_AUTOUPDATER": "1",
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
                "MCP_TIMEOUT": "60000",
                "ENABLE_TOOL_SEARCH": "false",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert json.loads(done.stdout)["result"] == "It is done.", done.stdout
    assert script.offered >= {f"mcp__treadle__{name}" for name in TOOLS}
    assert "print(1)" in script.diff
    (run,) = service.request("GET", "/code-generation/processes").json()
    assert run["status"] == "Success"
    assert any(is_event("git.pushed")(event) for event in service.events(run["id"]))


class _Delegation:
    """A model that hands the work on: starts a run, waits, reads its diff, and says so."""

    def __init__(self, git: GitServer) -> None:
        self._git = git
        self._run: int | None = None
        self._at = 0
        self.offered: set[str] = set()
        self.diff = ""

    def __call__(self, request: ModelRequest) -> Turn:
        self.offered |= set(request.tools)
        if "mcp__treadle__start_run" not in request.tools:  # the CLI asks for a title, or the like
            return say("A title")
        if not request.is_tool_result:
            return say(ToolUse("mcp__treadle__start_run", wish(self._git, WRITES)))
        found = request.last
        if self._at == 1 and not json.loads(found)["run"]["is_finished"]:  # it is told to wait again
            return self._wait()
        self._at += 1
        if self._at == 1:
            self._run = json.loads(found)["id"]
            return self._wait()
        if self._at == 2:
            assert json.loads(found)["run"]["status"] == "Success", found
            return say(ToolUse("mcp__treadle__run_diff", {"run": self._run}))
        self.diff = found
        return say("It is done.")

    def _wait(self) -> Turn:
        return say(ToolUse("mcp__treadle__wait_for_run", {"run": self._run, "seconds": 50}))
