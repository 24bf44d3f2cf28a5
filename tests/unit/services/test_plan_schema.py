"""The published schema and the reader say the same of a plan."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from tests.unit.docs.pages import ROOT

from treadle.domain.plan_parts import MAX_PLAN_DESCRIPTION, MAX_VARIABLES
from treadle.services.plan_schema import plan_schema, schema_json
from treadle.services.plan_texts import read_plan_object, read_plan_text
from treadle.services.run_rules import MAX_COST_USD, MAX_GUIDELINES, MAX_STEPS

Json = dict[str, Any]  # plans right and wrong

SCHEMA = Draft202012Validator(plan_schema())

WHOLE: Json = {
    "name": "Tidy",
    "description": "Puts things in order.",
    "repo": "https://git.example/acme/shop.git",
    "source": "main",
    "branch": "tidy/${{ what }}",
    "engine": "dummy",
    "model": "dummy",
    "guidelines": "Write little.",
    "steps": ["Tidy ${{ what }}", {"analysis": "Review it", "structured": True}, {"step": "Go on"}],
    "variables": {"what": "all", "why": {"description": "Why", "required": True}, "who": None},
    "validate": {"commands": ["make test"], "tries": 2},
    "maxCostUsd": 2.5,
    "network": {"allow": ["pkg.test"]},
    "pullRequest": True,
    "diff": False,
}

_LINES = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=20).filter(
    lambda text: text.strip() and "${{" not in text
)
_COMMANDS = st.lists(_LINES.filter(str.isprintable), max_size=2)  # no shell takes a no-break space
_NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,10}", fullmatch=True)
_STEPS = st.lists(
    _LINES
    | st.fixed_dictionaries({"step": _LINES}, optional={"structured": st.booleans()})
    | st.fixed_dictionaries({"analysis": _LINES}, optional={"structured": st.booleans()}),
    min_size=1,
    max_size=4,
)
_PLANS = st.fixed_dictionaries(
    {"steps": _STEPS},
    optional={
        "name": _LINES,
        "description": _LINES,
        "repo": st.sampled_from(["https://git.example/a/b.git", "git@git.example:a/b", None]),
        "source": st.sampled_from(["main", "develop", None]),
        "branch": st.from_regex(r"work/[a-z]{1,8}", fullmatch=True),
        "engine": st.sampled_from(["Claude", "claude", "KIMI", "Dummy", None]),
        "model": st.sampled_from(["sonnet", "kimi-k2", "a/b:c.d[1m]", None]),
        "guidelines": _LINES,
        "variables": st.dictionaries(
            _NAMES,
            st.none()
            | _LINES
            | st.fixed_dictionaries({}, optional={"default": _LINES, "description": _LINES})
            | st.fixed_dictionaries({"required": st.booleans()}),
            max_size=3,
        ),
        "validate": _COMMANDS | st.fixed_dictionaries({"commands": _COMMANDS}),
        "maxCostUsd": st.integers(1, 1000) | st.just(0.5),
        "network": st.sampled_from(["none", "model", "full", "allow:a.test,b.test", {"allow": ["*.a.test:80"]}]),
        "pullRequest": st.booleans() | st.none(),
        "diff": st.booleans(),
    },
)


def reader_takes(plan: object) -> bool:
    return not read_plan_object(plan, allow_local=False).faults


@given(_PLANS)
def test_what_the_reader_takes_the_schema_takes(plan: Json) -> None:
    assert reader_takes(plan)
    SCHEMA.validate(plan)
    assert not read_plan_text(yaml.safe_dump(plan, allow_unicode=True), allow_local=False).faults


def _with(**keys: object) -> Callable[[Json], Json]:
    return lambda plan: {**plan, **keys}


FAULTS: dict[str, Callable[[Json], object]] = {
    "a list": lambda plan: [plan],
    "no steps": lambda plan: {key: value for key, value in plan.items() if key != "steps"},
    "empty steps": _with(steps=[]),
    "too many steps": _with(steps=["x"] * (MAX_STEPS + 1)),
    "steps no list": _with(steps="x"),
    "a step that is a number": _with(steps=[3]),
    "a blank step": _with(steps=["  "]),
    "a step of both kinds": _with(steps=[{"step": "a", "analysis": "b"}]),
    "a step of no kind": _with(steps=[{"structured": True}]),
    "a step's odd key": _with(steps=[{"step": "a", "commit": True}]),
    "a step's blank text": _with(steps=[{"analysis": "\n"}]),
    "a step that says structured: yes": _with(steps=[{"step": "a", "structured": "yes"}]),
    "an odd key": _with(branche="x"),
    **{
        f"{key} no text": _with(**{key: 3}) for key in ("name", "description", "repo", "source", "branch", "guidelines")
    },
    "an engine of nobody's": _with(engine="Abacus"),
    "a model that is none": _with(model="-x y"),
    "no branch": _with(branch=""),
    "long guidelines": _with(guidelines="x" * (MAX_GUIDELINES + 1)),
    "a long name": _with(name="x" * 201),
    "a long description": _with(description="x" * (MAX_PLAN_DESCRIPTION + 1)),
    "a free run": _with(maxCostUsd=0),
    "an endless run": _with(maxCostUsd=MAX_COST_USD + 1),
    "a cost that no float holds": _with(maxCostUsd=10**400),
    "a cost in words": _with(maxCostUsd="much"),
    "a cost that is true": _with(maxCostUsd=True),
    "a network of nobody's": _with(network="some"),
    "a network without hosts": _with(network={"allow": []}),
    "a network of two keys": _with(network={"allow": ["a.test"], "deny": []}),
    "variables in a list": _with(variables=["what"], branch="tidy", steps=["x"]),
    "a variable with a dot": _with(variables={"what": "x", "a.b": "x"}),
    "a variable that is a number": _with(variables={"what": 3}),
    "a variable's odd key": _with(variables={"what": {"defualt": "x"}}),
    "a default that is required": _with(variables={"what": {"default": "x", "required": True}}),
    "required in words": _with(variables={"what": {"required": "yes"}}),
    "too many variables": _with(variables={"what": "x", **{f"v{at}": "x" for at in range(MAX_VARIABLES)}}),
    "a command in a text": _with(validate="make test"),
    "a blank command": _with(validate=[" "]),
    "tries without commands": _with(validate={"tries": 1}),
    "too many tries": _with(validate={"commands": ["x"], "tries": 99}),
    "a pull request in words": _with(pullRequest="yes"),
    "a diff in numbers": _with(diff=1),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_one_for_both(fault: str) -> None:
    assert reader_takes(WHOLE)
    assert SCHEMA.is_valid(WHOLE)
    plan = FAULTS[fault](WHOLE)
    assert (reader_takes(plan), SCHEMA.is_valid(plan)) == (False, False)


def test_the_schema_is_one_and_is_kept_in_the_documentation() -> None:
    Draft202012Validator.check_schema(json.loads(schema_json()))
    kept = (ROOT / "docs/reference/plan.schema.json").read_text(encoding="utf-8")
    assert kept == schema_json(), "Write it anew: treadle plan schema > docs/reference/plan.schema.json"


def test_faults_are_told_with_their_lines() -> None:
    text = "name: x\nsteps:\n  - Do it\n  - step: a\n    commit: yes\nvariables:\n  a:\n    default: 3\nbranch: a b\n"
    found = {fault.path: fault.line for fault in read_plan_text(text, allow_local=False).faults}
    assert found == {"steps[1]": 4, "variables.a": 7}
    text = "steps:\n  - ok\n  - |\n    ${{ nobody }}\nvariables: {a: x}\nbranch: a b\nmaxCostUsd: 0\n"
    found = {fault.path: fault.line for fault in read_plan_text(text, allow_local=False).faults}
    assert found == {"steps[1]": 3, "branch": 6, "maxCostUsd": 7}
    (fault,) = read_plan_text("steps: [\n  x", allow_local=False).faults
    assert (fault.path, fault.line) == ("plan", 2)
    (fault,) = read_plan_text("a: &a [x]\nb: [x]\nsteps: *a", allow_local=False).faults
    assert (fault.path, fault.line) == ("plan", 3)


@pytest.mark.parametrize("text", ["a: &a [x]\nsteps: [*a]", "x" * 100_001, "[" * 60, "- x", "", "steps: !!python/none"])
def test_a_hostile_plan_is_refused(text: str) -> None:
    reading = read_plan_text(text, allow_local=False)
    assert reading.plan is None
    assert [fault.path for fault in reading.faults] == ["plan"]
