"""`treadle demo` and `treadle run`: the main job without a server, through the installed command."""

import json
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from tests.support.cli import CTRL_C, PATIENCE_SECONDS, Cli
from tests.support.git_server import GitServer
from tests.support.repositories import BareRepositories
from tests.support.service import is_alive

HOSTILE = "\x1b[2J\x1b]0;owned\x07[bold]\u202e"

#: An engine that does not stop when asked to, with a child in a session of its own.
STUBBORN = 'dummy: Hang about\n[{"ignore_sigterm": true}, {"spawn": 600}, {"say": "hanging now"}, {"hang": true}]'

#: One that still has something to say when its reader has gone, however late that is.
TALKATIVE = f"dummy: Talk\n{json.dumps([{'say': 'a word'}, {'sleep': 0.2}] * 500)}"


LEAST = ("--repo", "words.git", "--branch", "b", "--step", "x")


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture
def bare(tmp_path: Path) -> BareRepositories:
    repositories = BareRepositories(tmp_path)
    repositories.create("words", {"README.md": "# Words\n"})
    return repositories


def traces(cli: Cli) -> list[Path]:
    return sorted((cli.data / "local" / "history").iterdir())


# ---- the demonstration


def test_the_demonstration_shows_the_main_job_and_leaves_nothing(cli: Cli) -> None:
    done = cli.run("demo")
    lines = done.stdout.splitlines()
    log = lines[lines.index("$ git log --oneline feature/top-words") + 1 :][:4]
    assert [line.partition(" ")[2] for line in log] == [
        "dummy: Add a --top option to the command line",
        "dummy: Count words whatever their case and punctuation",
        "Test the counting",
        "Count words",
    ]
    assert "diff --git a/words/counting.py b/words/counting.py" in lines
    assert "+    return Counter(word.casefold() for word in _WORD.findall(text))" in lines
    assert lines[-1].startswith("Next, ")
    assert "treadle run" in lines[-1]
    assert not list(cli.temporary.iterdir())
    assert not cli.data.exists()


def test_the_demonstrations_repository_can_be_kept(cli: Cli) -> None:
    cli.run("demo", "--keep", "kept")
    bare = cli.folder / "kept" / "words.git"
    tree = cli.folder / "clone"
    subprocess.run(["git", "clone", "-q", "-b", "feature/top-words", bare, tree], check=True, capture_output=True)
    said = subprocess.run(
        ["python3", "-m", "words", "--top", "1"],
        cwd=tree,
        input="Stop! Don't stop.",
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "2 stop\n"
    assert (cli.folder / "kept" / "trace.jsonl").read_text().count("\n") > 20
    assert "is not empty" in cli.run("demo", "--keep", "kept", code=2).stderr


def test_the_demonstration_in_json_ends_with_the_run(cli: Cli) -> None:
    *events, result = cli.run("demo", "--json").json_lines
    assert [event["number"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["type"] == "run.finished"
    assert result["type"] == "run.result"
    assert [bool(step["commitSha"]) for step in result["run"]["steps"]] == [False, True, True]
    assert len(result["run"]["diff"]["files"]) == 4


def test_the_demonstration_works_whatever_is_set(cli: Cli) -> None:
    cli.run("demo", extra={"TREADLE_SLOTS": "nonsense", "TREADLE_DATABASE_URL": "mysql://x"})


# ---- run


def test_a_run_commits_its_steps_in_the_order_of_the_command_line(cli: Cli, bare: BareRepositories) -> None:
    done = cli.run(
        *("run", "--repo", "words.git", "--branch", "feature/x", "--engine", "dummy"),
        *("--step", "First", "--analysis", "Between", "--step", "Second", "--diff"),
    )
    assert [commit.subject for commit in bare.log("words", "feature/x")] == ["Second", "First", "Initial commit"]
    started = [line.split("  ")[-1] for line in done.stdout.splitlines() if " step.started " in line]
    assert started == ["First", "Between", "Second"]
    assert "Success: 3 of 3 steps" in done.stdout
    assert "+- First" in done.stdout.splitlines()


def test_the_next_run_is_warm_and_nothing_but_the_trace_is_left(cli: Cli, bare: BareRepositories) -> None:
    (cli.folder / "note.txt").write_text("read me")
    for name, warmth in (("a", "cold mirror"), ("b", "warm mirror")):
        done = cli.run(
            *("run", "--repo", bare.path("words"), "--branch", name, "--engine", "Dummy", "--step", "x"),
            *("--file", "note.txt", "--guidelines", "@note.txt"),
        )
        assert warmth in done.stdout
    assert [{path.name for path in trace.iterdir()} for trace in traces(cli)] == [{"trace.jsonl", "service.log"}] * 2
    local = cli.data / "local"
    assert not [path for path in (local / "blobs").rglob("*") if path.is_file()]
    assert not list((local / "runs").iterdir())
    lines = (traces(cli)[0] / "trace.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["type"] == "run.finished"


def test_the_source_is_the_branch_that_the_remote_calls_its_own(cli: Cli, bare: BareRepositories) -> None:
    bare.create("odd", {"a": "1\n"}, branch="trunk")
    cli.run("run", "--repo", "odd.git", "--branch", "work", "--engine", "dummy", "--step", "x")
    assert [commit.subject for commit in bare.log("odd", "work")] == ["x", "Initial commit"]


def test_a_plan_says_it_all_and_the_command_line_overrides_it(cli: Cli, bare: BareRepositories) -> None:
    (cli.folder / "plan.yaml").write_text(
        "repo: words.git\nbranch: planned\nengine: dummy\nsteps:\n  - One\n  - {analysis: Two, structured: true}\n"
    )
    *_, result = cli.run("run", "--plan", "plan.yaml", "--json").json_lines
    assert [step["step"] for step in result["run"]["steps"]] == ["One", "Two"]
    assert result["run"]["steps"][1]["structuredOutput"]["wasSuccessful"] is True
    cli.run("run", "--plan", "plan.yaml", "--branch", "other", "--step", "Three")
    assert [commit.subject for commit in bare.log("words", "other")] == ["Three", "Initial commit"]


def test_credentials_come_from_the_environment_or_a_file(cli: Cli, git: GitServer) -> None:
    (cli.folder / "credentials").write_text("ada:correct horse\n")
    common = ("run", "--repo", git.url("acme/demo"), "--engine", "dummy", "--step", "x")
    cli.run(*common, "--branch", "a", "--http-credentials-file", "credentials")
    cli.run(*common, "--branch", "b", "--http-credentials-env", "GIT_PASS", extra={"GIT_PASS": "ada:correct horse"})
    assert {"a", "b"} <= set(git.branches("acme/demo"))
    failed = cli.run(*common, "--branch", "c", code=1)
    assert "Hint: --ssh-key or --http-credentials-env" in failed.stderr
    assert (
        "GIT_NONE is not set" in cli.run(*common, "--branch", "c", "--http-credentials-env", "GIT_NONE", code=2).stderr
    )
    left = [path for path in cli.data.rglob("*") if path.is_file() and b"correct horse" in path.read_bytes()]
    assert not left


def test_the_uncommitted_work_of_a_failed_step_is_kept(cli: Cli, bare: BareRepositories) -> None:
    script = 'dummy: Break\n[{"write": ["partial.txt", "half\\n"]}, {"fail": 400}]'
    failed = cli.run(
        *("run", "--repo", "words.git", "--branch", "x", "--engine", "dummy", "--step", "Whole", "--step", script),
        code=1,
        extra={"TREADLE_RETRY_SECONDS": "0.05"},
    )
    assert "Failed: 1 of 2 steps" in failed.stdout
    (line,) = [line for line in failed.stderr.splitlines() if "uncommitted work was kept" in line]
    patch = Path(line.rpartition(": ")[2])
    tree = cli.folder / "clone"
    subprocess.run(["git", "clone", "-q", "-b", "x", bare.path("words"), tree], check=True, capture_output=True)
    subprocess.run(["git", "apply", patch], cwd=tree, check=True)
    assert (tree / "partial.txt").read_text() == "half\n"


def test_hostile_text_of_the_engine_never_reaches_the_terminal(cli: Cli, bare: BareRepositories) -> None:
    script = json.dumps([{"say": HOSTILE}, {"write": ["evil.txt", f"{HOSTILE}\n"]}, {"run": "printf '\\033[31mred'"}])
    arguments = ("run", "--repo", "words.git", "--branch", "x", "--engine", "dummy", "--step", f"dummy: x\n{script}")
    with cli.terminal(*arguments, "--diff") as terminal:
        assert terminal.end() == 0
    for forbidden in ("\x1b[2J", "\x1b]0;", "\x07", "\u202e"):
        assert forbidden not in terminal.raw
    assert "+\\x1b[2J\\x1b]0;owned\\x07[bold]\\u202e" in terminal.screen


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--repo: is missing"),
        (("--repo", "x", "--branch", "y"), "--step: is missing"),
        (("--repo", "words.git", "--branch", "main", "--step", "x"), "--branch: "),
        (("--repo", "words.git", "--branch", "a..b", "--step", "x"), "--branch: "),
        (("--repo", "ext::sh -c id", "--branch", "b", "--step", "x"), "--repo: "),
        (("--repo", "words.git", "--branch", "b", "--step", "x", "--ssh-key", "README"), "There is no file README"),
        (
            ("--repo", "words.git", "--branch", "b", "--step", "x", "--file", "none.txt"),
            "--file none.txt: is not a file",
        ),
        (("--repo", "words.git", "--branch", "b", "--step", "x", "--plan", "none.yaml"), "cannot be read"),
        (("--repo", "words.git", "--branch", "b", "--step", "x", "--engine", "GPT"), "Invalid value for '--engine'"),
    ],
)
def test_what_is_wrong_with_a_run_is_said_in_the_words_of_the_command_line(
    cli: Cli, bare: BareRepositories, arguments: tuple[str, ...], said: str
) -> None:
    engine = () if "--engine" in arguments else ("--engine", "dummy")
    failed = cli.run("run", *engine, *arguments, code=2)
    assert said in failed.stderr
    assert not failed.stdout


def test_an_engine_without_a_key_is_refused_at_once(cli: Cli, bare: BareRepositories) -> None:
    failed = cli.run("run", "--repo", "words.git", "--branch", "b", "--step", "x", code=2)
    assert failed.stderr.startswith("Error: There is no API key for Claude.\nHint: Set ANTHROPIC_API_KEY")
    assert not list((cli.data / "local" / "history").glob("*"))


def test_the_usual_variable_gives_the_key(cli: Cli, bare: BareRepositories) -> None:
    """The key that selects the Dummy engine is taken from where Claude's own users keep theirs."""
    done = cli.run(
        *("run", "--repo", "words.git", "--branch", "b", "--step", "x"), extra={"ANTHROPIC_API_KEY": "000-dummy"}
    )
    assert "Success: 1 of 1 step" in done.stdout


# ---- Ctrl-C


def _leaves_nothing_alive(children: list[psutil.Process]) -> bool:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(is_alive(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(is_alive(child) for child in children)


def test_ctrl_c_kills_the_run_and_keeps_what_is_pushed(cli: Cli, bare: BareRepositories) -> None:
    arguments = (
        "run",
        "--repo",
        "words.git",
        "--branch",
        "x",
        "--engine",
        "dummy",
        "--step",
        "One",
        "--step",
        STUBBORN,
    )
    with cli.terminal(*arguments) as terminal:
        terminal.read_until("hanging now")
        children = psutil.Process(terminal.process.pid).children(recursive=True)
        assert children
        terminal.press(CTRL_C)
        assert terminal.end() == 1, "it would hang without end"
    assert "Killed: 1 of 2 steps" in terminal.text
    assert [commit.subject for commit in bare.log("words", "x")] == ["One", "Initial commit"]
    assert _leaves_nothing_alive(children)
    assert not list((cli.data / "local" / "runs").iterdir())


def test_the_second_ctrl_c_waits_for_nothing(cli: Cli, bare: BareRepositories) -> None:
    arguments = ("run", "--repo", "words.git", "--branch", "x", "--engine", "dummy", "--step", STUBBORN)
    cli.environment["TREADLE_KILL_GRACE_SECONDS"] = "4"  # the longest there is: it must not be over before the second
    for _ in range(5):  # now and then a machine stands still for as long between the two
        with cli.terminal(*arguments) as terminal:
            terminal.read_until("hanging now")
            children = psutil.Process(terminal.process.pid).children(recursive=True)
            terminal.press(CTRL_C)
            terminal.read_until("killing")
            terminal.press(CTRL_C)
            if terminal.end() != 1:
                break
    assert terminal.process.returncode == 130
    assert terminal.raw.rstrip().endswith("\x1b[?25h"), "the cursor is back"
    assert _leaves_nothing_alive(children)


def test_sigterm_kills_the_run_too(cli: Cli, bare: BareRepositories) -> None:
    process = cli.begin("run", "--repo", "words.git", "--branch", "x", "--engine", "dummy", "--step", STUBBORN)
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "hanging now" in line:
            break
    process.terminate()
    rest, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1
    assert "Killed: 0 of 1 step" in rest


def test_a_reader_that_goes_away_ends_the_run_without_a_word(cli: Cli, bare: BareRepositories) -> None:
    process = cli.begin("run", "--repo", "words.git", "--branch", "x", "--engine", "dummy", "--step", TALKATIVE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(PATIENCE_SECONDS) == 1
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()


# ---- the live view


def test_the_live_view_draws_in_place(cli: Cli) -> None:
    with cli.terminal("demo") as terminal:
        assert terminal.end() == 0
    assert "Implementation" in terminal.text
    assert "\x1b[1A\x1b[2K" in terminal.raw
    screen = terminal.screen
    head = next(at for at, line in enumerate(screen) if "→ feature/top-words" in line)
    assert screen[head].startswith("✓ main → feature/top-words")
    assert [line.split()[:3] for line in screen[head + 1 : head + 4]] == [["✓", str(n), "dummy:"] for n in (1, 2, 3)]
    assert screen[head + 4].startswith("Success: 3 of 3 steps, in ")
    assert all(len(line) <= 100 for line in screen[head : head + 5])
    assert "\x1b[32m+" in terminal.raw, "the diff is coloured"


def test_a_dumb_terminal_gets_plain_lines(cli: Cli, bare: BareRepositories) -> None:
    arguments = ("run", "--repo", "words.git", "--branch", "x", "--engine", "dummy", "--step", "x")
    with cli.terminal(*arguments, kind="dumb") as terminal:
        assert terminal.end() == 0
    assert "\x1b" not in terminal.raw
    assert " run.finished " in terminal.text


def test_a_narrow_terminal_is_not_overrun(cli: Cli) -> None:
    with cli.terminal("demo", columns=40, rows=12) as terminal:
        assert terminal.end() == 0
    screen = terminal.screen
    assert all(len(line) <= 40 for line in screen[: screen.index("$ git log --oneline feature/top-words")])
