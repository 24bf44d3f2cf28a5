"""The commands that go through the API, against `treadle serve`."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from tests.support.cli import CTRL_C, PATIENCE_SECONDS, Cli
from tests.support.repositories import BareRepositories
from tests.support.service import Service

HANG = 'dummy: Hang about\n[{"say": "hanging now"}, {"hang": true}]'


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("service") / "data", RETRY_SECONDS="0.05") as running:
        yield running


@pytest.fixture
def cli(tmp_path: Path, service: Service) -> Cli:
    return Cli(tmp_path, URL=service.url, API_KEY=service.key)


@pytest.fixture
def bare(tmp_path: Path) -> BareRepositories:
    repositories = BareRepositories(tmp_path)
    repositories.create("words", {"README.md": "# Words\n"})
    return repositories


def start(cli: Cli, bare: BareRepositories, *arguments: str, branch: str = "work") -> str:
    """The id of a new run on `words`."""
    common = ("start", "--repo", str(bare.path("words")), "--branch", branch, "--engine", "dummy")
    return cli.run(*common, *(arguments or ("--step", "Write it"))).stdout.strip()


def test_a_run_from_start_to_diff(cli: Cli, bare: BareRepositories) -> None:
    run_id = start(cli, bare, "--analysis", "Look at it", "--step", "Write it")
    watched = cli.run("watch", run_id[:8])
    assert " run.created " in watched.stdout.splitlines()[0]
    assert "Success: 2 of 2 steps" in watched.stdout
    (commit, _) = bare.log("words", "work")
    assert commit.subject == "Write it"

    shown = cli.run("show", run_id).stdout
    assert f"Run       {run_id}\nStatus    Success\n" in shown
    assert commit.sha[:8] in shown
    assert cli.run("show", run_id, "--json").json["steps"][1]["commitSha"] == commit.sha

    patch = cli.run("diff", run_id).stdout
    assert patch == cli.run("diff", run_id, "--patch").stdout
    assert patch == bare.git("words", "diff", "--full-index", "main", "work")
    assert cli.run("diff", run_id, "--stat").stdout.splitlines() == [
        " DUMMY.md | 1 + (new)",
        " 1 file changed, 1 added, 0 removed",
    ]
    assert [file["filename"] for file in cli.run("diff", run_id, "--json").json["files"]] == ["DUMMY.md"]
    cli.run("diff", run_id, "--stat", "--json", code=2)


def test_logs_are_lines_or_json(cli: Cli, bare: BareRepositories) -> None:
    run_id = start(cli, bare, "--step", 'dummy: x\n[{"say": "first\\nsecond \\u001b[2J"}]')
    followed = cli.run("logs", run_id, "--follow").stdout
    assert cli.run("logs", run_id).stdout == followed
    events = cli.run("logs", run_id, "--json").json_lines
    assert [event["type"] for event in events] == [line.split()[1] for line in followed.splitlines()]
    assert "    second \\x1b[2J" in cli.run("logs", run_id, "--full").stdout.splitlines()


def test_list_filters_and_finds(cli: Cli, bare: BareRepositories) -> None:
    run_id = start(cli, bare, branch=f"list-{uuid4().hex}")
    cli.run("watch", run_id)
    first = cli.run("list", "--limit", "1").rows[0]
    assert first[:4] == [run_id, "Success", "1/1", "Dummy"]
    assert first[5] == str(bare.path("words"))
    assert run_id not in cli.run("list", "--status", "failed").stdout
    assert cli.run("list", "--status", "Success", "--limit", "1", "--json").json[0]["id"] == run_id
    with cli.terminal("list", columns=60) as terminal:
        assert terminal.end() == 0
    assert terminal.screen[0].split()[:2] == ["ID", "STATUS"]
    assert terminal.screen[1].startswith(run_id[:8] + "  Success")
    assert all(len(line) <= 60 for line in terminal.screen)


def test_kill_ends_it_within_seconds(cli: Cli, bare: BareRepositories) -> None:
    run_id = start(cli, bare, "--step", HANG)
    assert cli.run("kill", run_id[:10]).stdout == f"{run_id} Killed\n"
    assert "has ended" in cli.run("kill", run_id, code=1).stderr
    watched = cli.run("watch", run_id, code=1)
    assert "Killed: 0 of 1 step" in watched.stdout
    assert cli.run("watch", run_id, "--json", code=1).json_lines[-1]["data"]["status"] == "Killed"


def test_a_failed_run_fails_the_command(cli: Cli, bare: BareRepositories) -> None:
    common = ("start", "--repo", str(bare.path("words")), "--branch", "failing", "--engine", "dummy", "--watch")
    failed = cli.run(*common, "--step", 'dummy: [{"exit": 3}]', code=1)
    assert "Failed: 0 of 1 step" in failed.stdout
    assert "exit code 3" in failed.stdout


def test_ctrl_c_leaves_a_watched_run_going(cli: Cli, bare: BareRepositories) -> None:
    run_id = start(cli, bare, "--step", HANG)
    with cli.terminal("watch", run_id) as terminal:
        terminal.read_until("hanging now")
        terminal.press(CTRL_C)
        assert terminal.end() == 130
    assert "The run goes on." in terminal.text
    assert cli.run("show", run_id, "--json").json["status"] == "Running"
    cli.run("kill", run_id)


def test_a_watched_run_is_drawn_in_place(cli: Cli, bare: BareRepositories) -> None:
    run_id = start(cli, bare, "--step", 'dummy: Take a moment\n[{"sleep": 0.5}]')
    with cli.terminal("watch", run_id) as terminal:
        assert terminal.end() == 0
    assert "\x1b[1A\x1b[2K" in terminal.raw
    assert terminal.screen[0].startswith("✓ main → work  Dummy  ")
    assert terminal.screen[2].startswith("Success: 1 of 1 step")


def test_files_come_and_go(cli: Cli, bare: BareRepositories) -> None:
    (cli.folder / "spec.md").write_text("Do it well.\n")
    (uploaded,) = cli.run("files", "upload", "spec.md", "--json").json
    assert (uploaded["name"], uploaded["size"]) == ("spec.md", 12)
    file_id = uploaded["id"]
    assert file_id in {row[0] for row in cli.run("files", "list").rows}
    assert cli.run("files", "get", file_id, "-o", "-").stdout == "Do it well.\n"
    assert "is here already" in cli.run("files", "get", file_id, code=1).stderr
    cli.run("files", "get", file_id, "-o", "copy.md")
    assert (cli.folder / "copy.md").read_text() == "Do it well.\n"
    run_id = start(cli, bare, "--file", "spec.md", "--step", "Read the file")
    assert len(cli.run("show", run_id, "--json").json["fileIds"]) == 1
    cli.run("watch", run_id)
    cli.run("files", "rm", file_id)
    assert "Error: " in cli.run("files", "rm", file_id, code=1).stderr
    cli.run("files", "upload", "none.md", code=2)


@pytest.mark.parametrize(
    ("extra", "code", "said"),
    [
        ({"TREADLE_API_KEY": "trd_wrong"}, 2, "Hint: Give a key of yours in TREADLE_API_KEY"),
        ({"TREADLE_API_KEY": ""}, 2, "Hint: Give a key of yours in TREADLE_API_KEY"),
        ({"TREADLE_URL": "http://127.0.0.1:1"}, 1, "Hint: Is `treadle serve` running there?"),
        ({"TREADLE_URL": "ftp://x"}, 2, "must begin with http:// or https://"),
        ({"TREADLE_URL": "http://127.0.0.1:port"}, 2, "Hint: --url and --api-key"),
    ],
)
def test_what_keeps_it_from_the_service_is_said(cli: Cli, extra: dict[str, str], code: int, said: str) -> None:
    failed = cli.run("list", extra=extra, code=code)
    assert said in failed.stderr
    assert failed.stderr.startswith("Error: ")


def test_the_key_can_be_in_a_file(cli: Cli, service: Service) -> None:
    (cli.folder / "key").write_text(f"{service.key}\n")
    cli.run("list", "--api-key", "@key", extra={"TREADLE_API_KEY": ""})


@pytest.mark.parametrize(
    ("run_id", "said"), [("zebra", "is not the id of a run"), ("0b5e0c46-4b9a-4d53-9a5c-0f5a3c1f0001", "")]
)
def test_an_unknown_run_is_an_error(cli: Cli, run_id: str, said: str) -> None:
    for command in ("show", "watch", "logs", "diff", "kill"):
        failed = cli.run(command, run_id, code=1)
        assert failed.stderr.startswith("Error: ")
        assert said in failed.stderr


def test_an_ambiguous_beginning_names_what_it_may_mean(cli: Cli, bare: BareRepositories) -> None:
    ids: list[str] = []
    while len({run_id[0] for run_id in ids}) == len(ids):
        ids.append(start(cli, bare, "--step", "x", branch=f"b{len(ids)}"))
    twin = next(run_id for run_id in ids[:-1] if run_id[0] == ids[-1][0])
    said = cli.run("show", twin[0], code=1).stderr
    assert "runs have an id that begins with" in said
    assert twin in said


def test_faults_of_a_request_are_in_the_words_of_the_command_line(cli: Cli) -> None:
    failed = cli.run("start", "--repo", "ext::x", "--branch", "a..b", "--source", "-x", "--step", " ", code=2)
    for option in ("--repo: ", "--branch: ", "--source: ", "steps[0].step: "):
        assert f"  {option}" in failed.stderr


def test_output_into_a_closed_pipe_is_no_traceback(cli: Cli, bare: BareRepositories) -> None:
    run_id = start(cli, bare)
    cli.run("watch", run_id)
    process = cli.begin("logs", run_id, "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())["type"] == "run.created"
    process.stdout.close()
    process.wait(PATIENCE_SECONDS)
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()


def test_python_dash_m_is_the_same_command() -> None:
    done = subprocess.run([sys.executable, "-m", "treadle", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("treadle ")
