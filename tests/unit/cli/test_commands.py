"""What the command line makes of its arguments, before anything is done."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from treadle.cli import local_run
from treadle.cli.commands.bill import Row
from treadle.cli.local_run import Manner
from treadle.cli.main import app
from treadle.cli.options import Wish
from treadle.domain.errors import ConfigurationError, Conflict
from treadle.domain.network import NetworkPolicy
from treadle.domain.plan import StepSpec
from treadle.domain.run import EngineName
from treadle.ports.page import UsageBy

runner = CliRunner()


@pytest.fixture
def wishes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Wish, Manner]]:
    """What `treadle run` was asked for, instead of running it."""
    found: list[tuple[Wish, Manner]] = []
    monkeypatch.setattr(local_run, "run_locally", lambda wish, manner: found.append((wish, manner)))
    return found


LEAST = ("run", "--repo", "https://git.example.com/a.git", "--branch", "work")


def test_steps_and_analyses_keep_their_order(wishes: list[tuple[Wish, Manner]]) -> None:
    done = runner.invoke(app, [*LEAST, "--analysis", "a", "--step=b", "--structured", "--analysis=c", "--step", "--d"])
    assert done.exit_code == 0, done.output
    assert wishes[0][0].steps == (
        StepSpec("a", is_commitable=False, is_structured=True),
        StepSpec("b", is_structured=True),
        StepSpec("c", is_commitable=False, is_structured=True),
        StepSpec("--d", is_structured=True),
    )


def test_everything_reaches_the_run(wishes: list[tuple[Wish, Manner]], tmp_path: Path) -> None:
    for name, content in (("key", "PRIVATE"), ("rules.md", "Test it."), ("token", "secret\n"), ("spec.txt", "x")):
        (tmp_path / name).write_text(content)
    done = runner.invoke(
        app,
        [
            *(*LEAST, "--step", "x", "--source", "develop", "--engine", "kImI", "--model", "k2", "--diff", "--json"),
            *("--guidelines", f"@{tmp_path}/rules.md", "--file", f"{tmp_path}/spec.txt"),
            *(
                "--ssh-key",
                f"{tmp_path}/key",
                "--http-credentials-file",
                f"{tmp_path}/token",
                "--api-key-env",
                "MY_KEY",
            ),
            *("--max-cost", "0.5", "--network", "allow:pkg.test,*.example.net"),
        ],
        env={"MY_KEY": "sk-x"},
    )
    assert done.exit_code == 0, done.output
    wish, manner = wishes[0]
    assert wish == Wish(
        repo="https://git.example.com/a.git",
        source="develop",
        branch="work",
        engine=EngineName.KIMI,
        guidelines="Test it.",
        steps=(StepSpec("x"),),
        files=(tmp_path / "spec.txt",),
        ssh_key=tmp_path / "key",
        http_credentials="secret",
        engine_key="sk-x",
        max_cost_usd=0.5,
        network=NetworkPolicy.parse("allow:pkg.test,*.example.net"),
    )
    assert manner == Manner(model="k2", diff=True, is_json=True)
    assert "sk-x" not in repr(wish)
    assert "secret" not in repr(wish)


def test_a_path_that_is_there_becomes_absolute(
    wishes: list[tuple[Wish, Manner]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "words.git").mkdir()
    monkeypatch.chdir(tmp_path)
    for repo in ("words.git", "git@example.com:a.git"):
        runner.invoke(app, ["run", "--repo", repo, "--branch", "b", "--step", "x"])
    assert [wish.repo for wish, _ in wishes] == [str(tmp_path / "words.git"), "git@example.com:a.git"]


def test_the_command_line_overrides_the_plan(wishes: list[tuple[Wish, Manner]], tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("{repo: https://h/p.git, branch: planned, source: dev, engine: KIMI, guidelines: g, steps: [one]}")
    runner.invoke(app, ["run", "--plan", str(plan)])
    runner.invoke(app, ["run", "--plan", str(plan), "--branch", "b", "--engine", "dummy", "--step", "two"])
    runner.invoke(app, ["run", "--plan", str(plan), "--structured"])
    (first, _), (second, _), (third, _) = wishes
    assert (first.branch, first.source, first.engine, first.guidelines) == ("planned", "dev", EngineName.KIMI, "g")
    assert (second.branch, second.engine, second.steps) == ("b", EngineName.DUMMY, (StepSpec("two"),))
    assert third.steps == (StepSpec("one", is_structured=True),)


def test_budget_and_policy_of_a_plan(wishes: list[tuple[Wish, Manner]], tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "{repo: https://h/p.git, branch: b, maxCostUsd: 2, network: {allow: [a.example]}, engine: Dummy, steps: [one]}"
    )
    runner.invoke(app, ["run", "--plan", str(plan)])
    runner.invoke(app, ["run", "--plan", str(plan), "--max-cost", "0.25", "--network", "none"])
    (first, _), (second, _) = wishes
    assert (first.max_cost_usd, str(first.network)) == (2, "allow:a.example")
    assert (second.max_cost_usd, str(second.network)) == (0.25, "none")


def test_the_rows_of_a_bill_are_those_that_there_are() -> None:
    assert [*Row] == [*UsageBy]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--step", "x", "--plan", "PLAN"), "engine: must be one of Claude, Kimi, Dummy"),
        (("--step", "x", "--http-credentials-env", "A", "--http-credentials-file", "B"), "not both"),
        (("--step", "x", "--engine-key-env", "NO_SUCH_KEY"), "NO_SUCH_KEY is not set"),
        (("--step", "x", "--engine-key-file", "EMPTY"), "is empty"),
        (("--step", "x", "--max-cost", "0"), "--max-cost: Must be from 0.0001 to 1,000,000 US dollars"),
        (("--step", "x", "--max-cost", "nan"), "--max-cost: Must be from 0.0001"),
        (("--step", "x", "--network", "some"), "--network: Must be"),
        (("--step", "x", "--network", "allow:127.0.0.1"), "is an address; name the host"),
        ((), "--step: is missing"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_exit_code_2(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    (tmp_path / "plan.yaml").write_text("engine: gpt")
    (tmp_path / "empty").touch()
    names = {"PLAN": str(tmp_path / "plan.yaml"), "EMPTY": str(tmp_path / "empty")}
    done = runner.invoke(app, [*LEAST, *(names.get(argument, argument) for argument in arguments)])
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: ")
    assert said in done.stderr
    assert not done.stdout


@pytest.mark.parametrize(
    ("failure", "code", "said"),
    [
        (ConfigurationError("No.", hint="Do."), 2, "Error: No.\nHint: Do.\n"),
        (Conflict("Taken \x1b[2J."), 1, "Error: Taken \\x1b[2J.\n"),
        (PermissionError(13, "Permission denied", "/x"), 1, "Error: /x: Permission denied.\n"),
        (ExceptionGroup("both", [Conflict("Inner.")]), 1, "Error: Inner.\n"),
        (KeyError("odd"), 1, "Error: Treadle itself failed (KeyError: 'odd').\n"),
    ],
)
def test_failures_are_sentences(monkeypatch: pytest.MonkeyPatch, failure: Exception, code: int, said: str) -> None:
    def fail(wish: Wish, manner: Manner) -> None:
        raise failure

    monkeypatch.setattr(local_run, "run_locally", fail)
    done = runner.invoke(app, [*LEAST, "--step", "x"])
    assert (done.exit_code, done.stdout) == (code, "")
    assert done.stderr.startswith(said)
    shown = runner.invoke(app, ["--debug", *LEAST, "--step", "x"])
    assert shown.exception is failure


def test_help_and_version_load_nothing_of_the_service() -> None:
    heavy = ("rich", "httpx2", "fastapi", "sqlalchemy", "pydantic", "yaml", "asyncio", "cryptography", "structlog")
    code = f"""
import sys
from treadle.cli.main import main
sys.argv = ["treadle", sys.argv[1]]
try:
    main()
finally:
    print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
"""
    for option in ("--help", "--version"):
        done = subprocess.run([sys.executable, "-c", code, option], capture_output=True, text=True, check=True)
        assert done.stdout
        assert done.stderr == "[]\n"


def test_every_command_has_help() -> None:
    def walk(*words: str) -> int:
        done = runner.invoke(app, [*words, "--help"])
        assert done.exit_code == 0
        inside = done.stdout.partition("Commands:\n")[2]
        names = [line.split()[0] for line in inside.splitlines() if line.startswith("  ") and line[2] != " "]
        assert all(len(line.split()) > 1 for line in inside.splitlines() if line.startswith("  ") and line[2] != " ")
        return 1 + sum(walk(*words, name) for name in names)

    assert walk() > 30


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [("--by", "week", "'--by': 'week' is not one of"), ("--first", "yesterday", "'--first': 'yesterday' does not")],
)
def test_a_wrong_value_is_told_without_the_parsers_own_words(option: str, value: str, said: str) -> None:
    done = runner.invoke(app, ["usage", option, value])
    assert done.exit_code == 2
    assert f"Invalid value for {said}" in done.output
