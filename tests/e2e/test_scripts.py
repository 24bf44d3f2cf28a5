"""`treadle script run` against a real service, and every example of its page."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.cli import CTRL_C, PATIENCE_SECONDS, Cli
from tests.support.repositories import BareRepositories
from tests.support.service import Service, is_event
from tests.support.tcp_proxy import TcpProxy
from tests.unit.docs.pages import blocks, page

EXAMPLES = {block.heading: block.code for block in blocks(page("how-to/scripts.md")) if block.language == "starlark"}

#: Ends when the file that it is given is there.
UNTIL = 'dummy: Wait\n[{{"run": "until test -e {gate}; do sleep 0.05; done"}}, {{"write": ["a.txt", "a"]}}]'

WAITING = """
run = codegeneration.start(
    git_url = inputs.repository, branch_source = "main", branch_work = "waits", engine = "Dummy", steps = [inputs.step],
)
print("started", run.id)
run = codegeneration.await(run.id)
print("ended", run.status)
output(run.id)
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    with Service(folder / "data", RETRY_SECONDS="0.05", CLAUDE_API_KEY="000-dummy", SANDBOX="none") as running:
        yield running


@pytest.fixture
def cli(tmp_path: Path, service: Service) -> Cli:
    return Cli(tmp_path, URL=service.url, API_KEY=service.key)


@pytest.fixture
def bare(tmp_path: Path) -> BareRepositories:
    repositories = BareRepositories(tmp_path)
    for name in ("words", "more"):
        repositories.create(name, {"README.md": f"# {name}\n"})
    return repositories


def script(cli: Cli, source: str) -> Path:
    path = cli.folder / "test.star"
    path.write_text(source)
    return path


def runs_of(service: Service, repository: Path) -> list[str]:
    """Ids of the runs on a repository, newest first."""
    found = service.request("GET", "/code-generation/processes").json()
    return [one["id"] for one in found if one["gitUrl"] == str(repository)]


def example(cli: Cli, bare: BareRepositories, heading: str, *arguments: str | Path, code: int = 0) -> list[str]:
    """The lines that an example of the page prints."""
    path = script(cli, EXAMPLES.pop(heading))
    cli.run("script", "check", path)
    repository = ("--input", f"repository={bare.path('words')}")
    return cli.run("script", "run", path, *repository, *arguments, code=code).stdout.splitlines()


def test_the_examples_of_the_page(cli: Cli, bare: BareRepositories, service: Service) -> None:
    lines = example(cli, bare, "Start a run and wait for it")
    (run_id,) = runs_of(service, bare.path("words"))
    commits = bare.log("words", "feature/docs-and-tests")
    assert lines[0] == f"Started {run_id}"
    assert [line.split()[:2] for line in lines[1:3]] == [["Success", commit.sha[:8]] for commit in commits[1::-1]]
    assert json.loads("\n".join(lines[3:])) == {"id": run_id}

    assert example(cli, bare, "See what changed") == ["DUMMY.md (new)"]

    lines = example(cli, bare, "List runs")
    assert lines[0] == "Active: 0"
    assert any(line.startswith(f"{run_id} feature/docs-and-tests Success 20") for line in lines)
    assert lines[-1] == "[]"

    decide = EXAMPLES["Analyse first, then decide"]
    lines = example(cli, bare, "Analyse first, then decide")
    assert json.loads("\n".join(lines[1:])) == {"changed": False}
    EXAMPLES["Analyse first, then decide"] = decide
    wanted = {"output": "none for b()", "isAdditionalWorkRequiredToContinue": True}
    question = f'dummy: Look\n[{{"structured": {json.dumps(wanted)}}}]'
    lines = example(cli, bare, "Analyse first, then decide", "--input", f"question={question}")
    assert json.loads("\n".join(lines)) == {"changed": True}
    assert "What an analysis found: none for b()" in bare.git("words", "show", "feature/missing-tests:DUMMY.md")

    inputs = cli.folder / "inputs.json"
    inputs.write_text(json.dumps({"repositories": [str(bare.path("words")), str(bare.path("more")), "/not/there"]}))
    lines = example(cli, bare, "Many at once", "--inputs-file", inputs)
    assert lines[0].startswith("/not/there ")
    assert json.loads("\n".join(lines[1:])) == {"succeeded": 2, "failed": 1}
    assert EXAMPLES == {}


def test_an_address_with_credentials_is_the_runs_own_and_not_in_the_journal(cli: Cli, service: Service) -> None:
    source = """
run = codegeneration.start(
    git_url = inputs.repository, branch_source = "main", branch_work = "b", engine = "Dummy", steps = ["Look"],
)
output([run.git_url, codegeneration.kill(run.id).id == run.id])
"""
    journal = cli.folder / "journal"
    given = ("--input", f"repository=http://bot:hush-hush@{service.url.partition('://')[2]}/none.git")
    done = cli.run("script", "run", script(cli, source), *given, "--journal", journal)
    assert done.json == [f"{service.url}/none.git", True]
    assert b"none.git" in journal.read_bytes()
    assert b"hush-hush" not in journal.read_bytes()


def test_a_script_that_was_killed_goes_on_and_starts_nothing_twice(
    cli: Cli, bare: BareRepositories, service: Service, tmp_path: Path
) -> None:
    gate, journal = tmp_path / "gate", tmp_path / "journal"
    inputs = ("--input", f"repository={bare.path('words')}", "--input", f"step={UNTIL.format(gate=gate)}")
    command = ("script", "run", script(cli, WAITING), *inputs, "--journal", journal)
    killed = cli.begin(*command)
    assert killed.stdout is not None
    assert killed.stdout.readline().startswith("started ")
    in_use = cli.run(*command, code=2)
    assert "is in use" in in_use.stderr
    killed.kill()
    killed.communicate(timeout=PATIENCE_SECONDS)

    gate.touch()
    done = cli.run(*command)
    (run_id,) = runs_of(service, bare.path("words"))
    assert done.stdout == f'ended Success\n"{run_id}"\n'
    assert cli.run(*command).stdout == f'"{run_id}"\n'
    assert runs_of(service, bare.path("words")) == [run_id]


SAME = """
first = codegeneration.await(codegeneration.start(
    repository = "acme/words", branch_work = "by-steps", engine = "Dummy", steps = ["Do it"],
).id)
first = codegeneration.await(codegeneration.resume(first.id, "More of it").id)
plan = {"engine": "dummy", "variables": {"what": {"required": True}}, "steps": ["Add ${{ what }}"]}
second = codegeneration.await(codegeneration.start(
    plan = plan, repository = "acme/words", branch_work = "by-plan", variables = {"what": "cats"},
).id)
output([[run.status, run.branch_source, run.branch_work, [step.step for step in run.steps]] for run in [first, second]])
"""


def test_here_and_on_the_service_a_script_may_ask_for_the_same(
    cli: Cli, bare: BareRepositories, service: Service, tmp_path: Path
) -> None:
    admin = Cli(tmp_path / "admin")
    admin.environment.update(service.environment())
    admin.run("admin", "repo", "add", "--name", "acme/words", "--url", f"file://{bare.path('words')}")
    expected = [
        ["Success", "main", "by-steps", ["Do it", "More of it"]],
        ["Success", "main", "by-plan", ["Add cats"]],
    ]
    path, journal = script(cli, SAME), tmp_path / "journal"
    here = cli.run("script", "run", path, "--journal", journal)
    assert json.loads(here.stdout) == expected
    commits = len(bare.log("words", "by-steps"))
    head, *_ = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(head)
    assert json.loads(cli.run("script", "run", path, "--journal", journal).stdout) == expected
    assert len(bare.log("words", "by-steps")) == commits, "asked again with the same keys, it is done once"

    path.write_text(SAME.replace("by-", "there-"))
    cli.run("script", "save", "same", path)
    there = json.loads(cli.run("script", "start", "same", "--wait").stdout)
    assert there == json.loads(json.dumps(expected).replace("by-", "there-"))


def test_a_script_killed_between_a_start_and_its_journal_starts_nothing_twice(
    cli: Cli, bare: BareRepositories, service: Service, tmp_path: Path
) -> None:
    journal, gate = tmp_path / "journal", tmp_path / "gate"
    gate.touch()
    inputs = ("--input", f"repository={bare.path('words')}", "--input", f"step={UNTIL.format(gate=gate)}")
    command = ("script", "run", script(cli, WAITING), *inputs, "--journal", journal)
    first = cli.run(*command).stdout
    head, *_ = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(head + b'{"call": 1, "na')  # as the machine left it, going down
    assert cli.run(*command).stdout == first
    assert len(runs_of(service, bare.path("words"))) == 1


def test_a_service_that_restarts_is_waited_for(tmp_path: Path, bare: BareRepositories) -> None:
    gate = tmp_path / "gate"
    with (
        Service(tmp_path / "own", RETRY_SECONDS="0.05", SANDBOX="none") as own,
        TcpProxy(("127.0.0.1", port_of(own))) as link,
    ):
        cli = Cli(tmp_path / "cli", URL=f"http://127.0.0.1:{link.port}", API_KEY=own.key)
        inputs = ("--input", f"repository={bare.path('words')}", "--input", f"step={UNTIL.format(gate=gate)}")
        running = cli.begin("script", "run", script(cli, WAITING), *inputs)
        assert running.stdout is not None
        run_id = running.stdout.readline().split()[1]
        own.wait_for(run_id, is_event("step.started"))
        link.cut()
        own.kill9()
        gate.touch()
        own.restart()
        own.wait(run_id, "Success")
        link.upstream = ("127.0.0.1", port_of(own))
        link.heal()
        said, _ = running.communicate(timeout=PATIENCE_SECONDS)
        assert said == f'ended Success\n"{run_id}"\n'
        assert running.returncode == 0


def port_of(service: Service) -> int:
    return int(service.url.rpartition(":")[2])


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1\nx = x // 0\n", "{file}:2: Integer division by zero."),
        ('fail("no")', "{file}:1: no"),
        ("x = (\n", "{file}:2: Syntax error at 'newline': expected expression."),
        ("\ncodegeneration.start()", "{file}:2: codegeneration.start: The request is not valid. git_url: is missing"),
        (
            'codegeneration.start(git_url = "u", branch_source = "a", branch_work = "b", steps = [])',
            "{file}:1: codegeneration.start: ",
        ),
        ('codegeneration.get("00000000-0000-0000-0000-000000000000")', "{file}:1: codegeneration.get: "),
        ('codegeneration.resume("1", "x")', "{file}:1: codegeneration.resume: There is no such run."),
        (
            'codegeneration.start(repository = "no/such", branch_work = "b", steps = ["a"])',
            "{file}:1: codegeneration.start: ",
        ),
        ('codegeneration.start(repository = "no/such", git_url = "u", plan = "x")', "{file}:1: codegeneration.start: "),
        ("x = [i for i in range(1 << 60)]", "{file}:1: The script took more than 1,000,000 steps."),
    ],
)
def test_an_error_names_the_line(cli: Cli, source: str, said: str) -> None:
    path = script(cli, source)
    done = cli.run("script", "run", path, code=1)
    assert done.stderr.startswith("Error: " + said.format(file=path)), done.stderr


def test_json_is_the_outcome_alone(cli: Cli) -> None:
    done = cli.run("script", "run", script(cli, 'print("a")\noutput(inputs)'), "--input", "a=b=c", "--json")
    assert (done.json["status"], done.json["output"], done.json["failure"]) == ("Success", {"a": "b=c"}, None)
    assert done.stderr == "a\n"
    failed = cli.run("script", "run", script(cli, '\nfail("no")'), "--json", code=1).json
    assert failed["status"] == "Failed"
    assert (failed["failure"]["fault"], failed["failure"]["message"], failed["failure"]["line"]) == ("fail", "no", 2)


def test_what_cannot_be_read_is_told(cli: Cli, tmp_path: Path) -> None:
    path = script(cli, "x = 1")
    assert "is not NAME=VALUE" in cli.run("script", "run", path, "--input", "a", code=2).stderr
    assert "must hold a JSON object" in cli.run("script", "run", path, "--inputs-file", path, code=2).stderr
    assert "is no journal of a script" in cli.run("script", "run", path, "--journal", path, code=2).stderr
    assert path.read_text() == "x = 1"
    path.write_text("x = 1\n")
    assert "is no journal of a script" in cli.run("script", "run", path, "--journal", path, code=2).stderr
    assert path.read_text() == "x = 1\n"
    assert "cannot be read" in cli.run("script", "run", tmp_path / "none.star", code=2).stderr
    assert cli.run("script", "check", path, "--json").json == {"ok": True, "failure": None}


def test_ctrl_c_leaves_the_run_and_says_how_to_go_on(
    cli: Cli, bare: BareRepositories, service: Service, tmp_path: Path
) -> None:
    gate, journal = tmp_path / "gate", tmp_path / "journal"
    inputs = ("--input", f"repository={bare.path('words')}", "--input", f"step={UNTIL.format(gate=gate)}")
    command = ("script", "run", script(cli, WAITING), *inputs, "--journal", journal)
    with cli.terminal(*command) as terminal:
        terminal.read_until("started ")
        terminal.press(CTRL_C)
        assert terminal.end() == 130
        assert "goes on from here" in terminal.text.replace("\n", " ")
    gate.touch()
    assert cli.run(*command).stdout.startswith("ended Success\n")
