"""Scripts on a service that is killed: they go on where they were, and start nothing twice."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.test_secrets import search
from tests.support.cli import PATIENCE_SECONDS, Cli
from tests.support.repositories import BareRepositories
from tests.support.service import Service, is_event

from treadle import (
    AsyncClient,
    BadRequestError,
    Client,
    ConflictError,
    NotFoundError,
    ScriptRunStatus,
    ScriptWaitTimeoutError,
)

#: Ends when the file that it is given is there.
UNTIL = 'dummy: Wait\n[{{"run": "until test -e {gate}; do sleep 0.05; done"}}, {{"write": ["a.txt", "a"]}}]'

FOLLOWED = """
def begin(branch, step):
    run = codegeneration.start(
        repository = "acme/words", branch_work = branch, engine = "Dummy", steps = [step], max_cost_usd = 1,
    )
    print("started", run.id)
    return run

first = codegeneration.await(begin("first", inputs.step).id)
print("ended", first.status)
analysis = codegeneration.await(begin("look", {"analysis": inputs.question, "is_structured": True}).id)
answer = analysis.steps[0].structured_output
if answer.is_additional_work_required_to_continue:
    last = codegeneration.await(begin("more", "Write: " + answer.output).id)
    files = [file.filename for file in codegeneration.diff(last.id).files]
    output({"first": first.id, "last": last.id, "files": files})
else:
    output(None)
"""


@pytest.fixture
def bare(tmp_path: Path) -> BareRepositories:
    repositories = BareRepositories(tmp_path)
    repositories.create("words", {"README.md": "# Words\n"})
    return repositories


@pytest.fixture
def service(tmp_path: Path, bare: BareRepositories) -> Iterator[Service]:
    with Service(tmp_path / "data", RETRY_SECONDS="0.05", SANDBOX="none") as running:
        admin = Cli(tmp_path / "admin")
        admin.environment.update(running.environment())
        admin.run("admin", "repo", "add", "--name", "acme/words", "--url", f"file://{bare.path('words')}")
        yield running


def restarted(service: Service, cli: Cli) -> None:
    service.kill9()
    service.launch()
    cli.environment["TREADLE_URL"] = service.url


def started(service: Service) -> list[str]:
    """Ids of all runs, the oldest first."""
    return [each["id"] for each in service.request("GET", "/code-generation/processes").json()][::-1]


def test_a_script_killed_with_the_service_goes_on_and_starts_nothing_twice(service: Service, tmp_path: Path) -> None:
    cli = Cli(tmp_path / "cli", URL=service.url, API_KEY=service.key)
    gate, script = tmp_path / "gate", tmp_path / "night.star"
    script.write_text(FOLLOWED)
    assert cli.run("script", "save", "night", script, "--json").json["version"] == 1
    wanted = {"output": "tests of b()", "isAdditionalWorkRequiredToContinue": True}
    inputs = tmp_path / "inputs.json"
    question = f'dummy: Look\n[{{"structured": {json.dumps(wanted)}}}]'
    inputs.write_text(json.dumps({"step": UNTIL.format(gate=gate), "question": question}))
    run = str(cli.run("script", "start", "night", "--inputs-file", inputs, "--json").json["id"])

    restarted(service, cli)  # maybe before its first call, maybe after
    following = cli.begin("script", "logs", run, "--follow")
    assert following.stdout is not None
    first = following.stdout.readline().split()[1]
    service.wait_for(first, is_event("step.started"))
    following.kill()
    following.communicate(timeout=PATIENCE_SECONDS)
    restarted(service, cli)  # in mid-await
    assert cli.run("script", "runs").rows[-1][:4] == [run, "night", "1", "Running"]
    gate.touch()

    said = cli.run("script", "logs", run, "--follow").stdout.splitlines()
    runs = started(service)
    assert runs[0] == first
    assert said == [f"started {runs[0]}", "ended Success", f"started {runs[1]}", f"started {runs[2]}"]
    ended = service.request("GET", f"/script-runs/{run}").json()
    assert ended["status"] == "Success", ended
    assert ended["outputs"] == {"first": runs[0], "last": runs[2], "files": ["DUMMY.md"]}
    assert (ended["calls"], ended["waitsFor"]) == (7, None)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("for i in range(1 << 40):\n    x = i\n", "took more than 1,000,000 steps"),
        ("x = [0]\nfor i in range(60):\n    x = x + x\n", "bad.star:3: "),
        ("def f(n):\n    return f(n)\nf(1)\n", "recursi"),
    ],
)
def test_one_without_end_is_ended_and_the_service_goes_on(
    shared: Service, tmp_path: Path, source: str, said: str
) -> None:
    cli = Cli(tmp_path / "cli", URL=shared.url, API_KEY=shared.key)
    script = tmp_path / "bad.star"
    script.write_text(source)
    cli.run("script", "save", "bad.star", script)
    assert said in cli.run("script", "start", "bad.star", "--wait", code=1).stderr
    script.write_text('print("fine")\noutput(inputs.a)\n')
    cli.run("script", "save", "good", script)
    assert cli.run("script", "start", "good", "--input", "a=b", "--wait").stdout == 'fine\n"b"\n'


def test_by_the_command_line(shared: Service, tmp_path: Path) -> None:
    cli = Cli(tmp_path / "cli", URL=shared.url, API_KEY=shared.key)
    script = tmp_path / "one.star"
    script.write_text("codegeneration.await(inputs.run)\n")
    cli.run("script", "save", "one", script, "--description", "Waits")
    assert cli.run("script", "show", "one").stdout == script.read_text()
    assert (
        "has version 1"
        in cli.run("script", "save", "one", script, "--if-version", "0", "--description", "x", code=1).stderr
    )
    assert "Waits" in cli.run("script", "list").stdout
    gate = tmp_path / "gate"
    bare = BareRepositories(tmp_path)
    bare.create("words", {"README.md": "# Words\n"})
    process = shared.start(
        gitUrl=str(bare.path("words")),
        branchSource="main",
        branchWork="waits",
        engine="Dummy",
        steps=[{"step": UNTIL.format(gate=gate)}],
    )
    run = str(cli.run("script", "start", "one", "--input", f"run={process}", "--json").json["id"])
    killed = cli.run("script", "kill", run, "--json").json
    assert killed["status"] == "Killed"
    assert "has ended: Killed" in cli.run("script", "kill", run, code=1).stderr
    gate.touch()
    shared.wait(process, "Success")
    cli.run("script", "remove", "one")
    assert "no such script" in cli.run("script", "show", "one", code=1).stderr


def test_no_address_with_credentials_is_kept_whichever_door_it_comes_by(shared: Service, tmp_path: Path) -> None:
    cli = Cli(tmp_path / "cli", URL=shared.url, API_KEY=shared.key)
    secret = "https://bot:hush-hush@git.example/acme/shop.git"
    script = tmp_path / "sealed.star"
    script.write_text("x = 1\n")
    cli.run("script", "save", "sealed", script)
    given = ("--input", f"a={secret}")
    assert "inputs.a: Holds credentials" in cli.run("script", "start", "sealed", *given, code=2).stderr
    scheduled = cli.run("schedule", "add", "x", "--cron", "@yearly", "--script", "sealed", *given, code=2).stderr
    assert "script.inputs.a: Holds credentials" in scheduled
    script.write_text(f"x = 1\ny = '{secret}'\n")
    assert "sealed:2: The line holds an address" in cli.run("script", "save", "sealed", script, code=2).stderr
    with Client(shared.url, shared.key) as client:
        for start in (client.scripts.start, client.scripts.run_source):
            with pytest.raises(BadRequestError) as refused:
                start("sealed" if start == client.scripts.start else "x = 1", {"a": [{"b": secret}]})
            assert list(refused.value.errors) == ["inputs.a[0].b"]
    assert kept_in(shared, "sealed")
    assert not kept_in(shared, "hush-hush")


def kept_in(service: Service, text: str) -> bool:
    return bool(search(service.data, [text]))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    with Service(folder / "data", RETRY_SECONDS="0.05", SANDBOX="none") as running:
        yield running


@pytest.mark.anyio
async def test_by_the_sdk(shared: Service, bare: BareRepositories, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with Client(shared.url, shared.key) as sync:
        saved = sync.scripts.save("by-sdk", "print(inputs.a)\noutput([inputs.a])", description="x")
        assert (sync.scripts.save("by-sdk", "x = 1", if_version=1).version, saved.version) == (2, 1)
        with pytest.raises(ConflictError, match="has version 2"):
            sync.scripts.save("by-sdk", "x = 2", if_version=1)
        assert [each.version for each in sync.scripts.versions("by-sdk")] == [2, 1]
        run = sync.scripts.start("by-sdk", {"a": 5}, version=1)
        assert [line.text for line in sync.scripts.follow(run.id, poll=0.05)] == ["5"]
        assert sync.scripts.wait(run.uuid, poll=0.05).outputs == [5]
        assert "by-sdk" in [each.name for each in sync.scripts.list()]
        assert [each.id for each in sync.scripts.runs(saved.id)] == [run.id]
    async with AsyncClient(shared.url, shared.key) as client:
        waits = await client.processes.start(
            git_url=str(bare.path("words")),
            branch_source="main",
            branch_work="x",
            steps=[UNTIL.format(gate=gate)],
            engine="Dummy",
        )
        failed = await client.scripts.run_source(f'print("a")\nfail(codegeneration.await("{waits.id}").status)')
        with pytest.raises(ScriptWaitTimeoutError):
            await client.scripts.wait(failed.id, timeout=0)
        gate.touch()
        assert (await client.scripts.wait(failed.id, poll=0.05)).status is ScriptRunStatus.FAILED
        assert [line.number async for line in client.scripts.log(failed.id)] == [1]
        with pytest.raises(ConflictError):
            await client.scripts.kill(failed.id)
        await client.scripts.remove(saved.id)
        with pytest.raises(NotFoundError):
            await client.scripts.get("by-sdk")
