"""Plans on the command line, before anything is asked of a service."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from treadle.cli import local_run
from treadle.cli.local_run import Manner
from treadle.cli.main import app
from treadle.cli.options import Wish
from treadle.cli.plans import PlanWish
from treadle.cli.remote_runs import Remote
from treadle.domain.plan import Plan
from treadle.services.plan_schema import schema_json
from treadle.services.plans import read_yaml

runner = CliRunner()

PLAN = """
repo: https://git.example/acme/shop.git
branch: tidy/${{ what }}
model: sonnet
pullRequest: true
variables: {what: }
steps: ["Tidy ${{ what }} of ${{ repository.name }}"]
"""


@pytest.fixture
def plan(tmp_path: Path) -> str:
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)
    return str(path)


@pytest.fixture
def wishes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Wish, Manner]]:
    """What `treadle run` was asked for, instead of running it."""
    found: list[tuple[Wish, Manner]] = []
    monkeypatch.setattr(local_run, "run_locally", lambda wish, manner: found.append((wish, manner)))
    return found


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Wish | PlanWish]:
    """What `treadle start` was asked for."""
    found: list[Wish | PlanWish] = []
    monkeypatch.setattr(Remote, "start", lambda _, wish, **__: found.append(wish))
    return found


def test_every_fault_of_every_plan_has_its_line(tmp_path: Path, plan: str) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("variables: {what: x}\nsteps:\n  - Do ${{ whta }}\nbranch: a b\nmaxCostUsd: 0\n")
    done = runner.invoke(app, ["plan", "check", plan, str(bad)])
    assert done.exit_code == 1
    assert [line.partition(": ")[0] for line in done.stdout.splitlines()] == [
        plan,
        f"{bad}:3",
        f"{bad}:4",
        f"{bad}:5",
    ]
    assert "`whta` is not declared" in done.stdout
    shown = json.loads(runner.invoke(app, ["plan", "check", str(bad), "--json"]).stdout)
    assert [(each["path"], each["line"]) for each in shown[0]["faults"]] == [
        ("steps[0]", 3),
        ("branch", 4),
        ("maxCostUsd", 5),
    ]


def test_a_key_that_is_there_twice_is_named_with_its_lines(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("base: &base {a: '1'}\nsteps: [Do it]\nbranch: a\nvariables:\n  <<: *base\n  a: '2'\nbranch: b\n")
    done = runner.invoke(app, ["run", "--plan", str(bad)])
    assert done.exit_code != 0
    assert "branch: is there more than once, at lines 3, 7" in done.output.replace("\n", " ")
    assert "variables" not in done.output
    bad.write_text(bad.read_text().partition("\n")[2].replace("  <<: *base\n", ""))
    done = runner.invoke(app, ["plan", "check", str(bad)])
    assert (done.exit_code, done.stdout) == (1, f"{bad}:5: branch: is there more than once, at lines 2, 5\n")


def test_a_mapping_may_merge_more_than_one_other(tmp_path: Path) -> None:
    plan = tmp_path / "merged.yaml"
    plan.write_text("steps:\n- &a {step: a}\n- &b {step: b, structured: true}\n- {<<: *a, <<: *b, step: c}\n")
    assert read_yaml(plan.read_text(), "") == {
        "steps": [{"step": "a"}, {"step": "b", "structured": True}, {"step": "c", "structured": True}]
    }


def test_plans_without_a_fault_are_exit_code_0(plan: str) -> None:
    done = runner.invoke(app, ["plan", "check", plan])
    assert (done.exit_code, done.stdout) == (0, f"{plan}: is valid\n")
    (shown,) = json.loads(runner.invoke(app, ["plan", "check", plan, "--json"]).stdout)
    assert Plan.from_json(shown["plan"]).model == "sonnet"
    assert runner.invoke(app, ["plan", "check", f"{plan}.none"]).exit_code == 2


def test_the_schema_is_printed() -> None:
    assert runner.invoke(app, ["plan", "schema"]).stdout == schema_json()


def test_variables_reach_a_run_here(wishes: list[tuple[Wish, Manner]], plan: str, tmp_path: Path) -> None:
    (tmp_path / "value").write_text("docs")
    done = runner.invoke(app, ["run", "--plan", plan, "--var", f"what=@{tmp_path}/value"])
    assert done.exit_code == 0, done.output
    wish, manner = wishes[0]
    assert (wish.branch, wish.steps[0].text) == ("tidy/docs", "Tidy docs of acme/shop")
    assert manner.model == "sonnet"
    runner.invoke(app, ["run", "--plan", plan, "--var", "what=all", "--model", "opus"])
    assert wishes[1][1].model == "opus"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--plan", "PLAN"), "variables.what: is missing"),
        (("--plan", "PLAN", "--var", "what=x", "--var", "who=y"), "variables.who: is not a variable of the plan"),
        (("--plan", "PLAN", "--var", "what"), "must be NAME=VALUE"),
        (("--plan", "PLAN", "--var", "repository.name=x"), "must be NAME=VALUE"),
        (("--repo", "https://h/a.git", "--branch", "b", "--step", "x", "--var", "a=b"), "--var: needs --plan"),
    ],
)
def test_what_is_wrong_with_variables_is_said(
    wishes: list[tuple[Wish, Manner]], plan: str, arguments: tuple[str, ...], said: str
) -> None:
    done = runner.invoke(app, ["run", *[plan if each == "PLAN" else each for each in arguments]])
    assert (done.exit_code, wishes) == (2, [])
    assert said in done.stderr


def test_a_plan_is_sent_to_the_service_as_it_is(started: list[Wish | PlanWish], plan: str) -> None:
    done = runner.invoke(app, ["start", "--plan", plan, "--var", "what=all", "--branch", "b", "--diff"])
    assert done.exit_code == 0, done.output
    (wish,) = started
    assert isinstance(wish, PlanWish)
    assert Plan.from_json(wish.plan).wants_diff
    assert (wish.branch, wish.repo, wish.variables) == ("b", None, {"what": "all"})


def test_options_over_a_plan_make_a_process_of_it(started: list[Wish | PlanWish], plan: str) -> None:
    done = runner.invoke(app, ["start", "--plan", plan, "--var", "what=all", "--engine", "dummy"])
    assert done.exit_code == 0, done.output
    (wish,) = started
    assert isinstance(wish, Wish)
    assert wish.branch == "tidy/all"


def test_a_plan_of_the_repository_takes_no_others(started: list[Wish | PlanWish], plan: str) -> None:
    done = runner.invoke(app, ["start", "--repository-plan", "tidy", "--repo", "acme/shop", "--var", "a=b"])
    assert done.exit_code == 0, done.output
    assert started == [PlanWish(None, "tidy", "acme/shop", variables={"a": "b"})]
    done = runner.invoke(app, ["start", "--repository-plan", "tidy", "--plan", plan, "--step", "x"])
    assert done.exit_code == 2
    for option in ("--plan", "--step", "--repo"):
        assert f"  {option}: " in done.stderr
