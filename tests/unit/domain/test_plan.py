"""Plans: what is written down is what was meant, and variables are put in once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.domain.errors import InvalidInput
from treadle.domain.network import NetworkPolicy
from treadle.domain.plan import Plan, StepSpec, Variable
from treadle.domain.plan_parts import MAX_VARIABLE_VALUE, MAX_VARIABLES
from treadle.domain.plan_variables import MAX_FILLED_PLAN, filled, stood_in
from treadle.domain.validation import ValidationRules

_TEXTS = st.text(max_size=20)
_OPTIONAL = st.none() | _TEXTS
_NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,10}", fullmatch=True)
_VARIABLES = st.builds(
    lambda name, default, description, is_required: Variable(
        name, default, description, is_required=is_required and default is None
    ),
    _NAMES,
    _OPTIONAL,
    _OPTIONAL,
    st.booleans(),
)
_PLANS = st.builds(
    Plan,
    repo=_OPTIONAL,
    source=_OPTIONAL,
    branch=_OPTIONAL,
    engine=_OPTIONAL,
    guidelines=_OPTIONAL,
    steps=st.lists(st.builds(StepSpec, _TEXTS, st.booleans(), st.booleans()), max_size=3).map(tuple),
    max_cost_usd=st.none() | st.floats(0.01, 100),
    network=st.sampled_from([None, NetworkPolicy.parse("model"), NetworkPolicy.parse("allow:pkg.test,*.b.test:80")]),
    name=_OPTIONAL,
    description=_OPTIONAL,
    model=_OPTIONAL,
    variables=st.none() | st.lists(_VARIABLES, max_size=3, unique_by=lambda each: each.name).map(tuple),
    validation=st.none() | st.just(ValidationRules(("make test",), 1)) | st.just(ValidationRules()),
    opens_pull_request=st.none() | st.booleans(),
    wants_diff=st.none() | st.booleans(),
)


def of(**keys: object) -> Plan:
    return Plan.from_json({"steps": ["Do it"], **keys})


def faults_of(plan: Plan, **values: str) -> dict[str, tuple[str, ...]]:
    with pytest.raises(InvalidInput) as caught:
        filled(plan, values)
    return dict(caught.value.faults)


@given(_PLANS)
def test_a_plan_comes_back_from_json_as_it_was(plan: Plan) -> None:
    assert Plan.from_json(plan.to_json()) == plan


def test_variables_have_defaults_or_are_required() -> None:
    plan = of(variables={"a": "x", "b": None, "c": {"required": False}, "d": {"default": "", "description": "D"}})
    assert plan.variables == (
        Variable("a", "x", is_required=False),
        Variable("b"),
        Variable("c", is_required=False),
        Variable("d", "", "D", is_required=False),
    )


def test_every_fault_of_variables_is_named() -> None:
    with pytest.raises(InvalidInput) as caught:
        of(
            variables={
                "1a": "x",
                "a.b": "x",
                "number": 3.10,
                "both": {"default": "x", "required": True},
                "odd": {"defualt": "x"},
                "long": "x" * (MAX_VARIABLE_VALUE + 1),
            }
        )
    paths = {f"variables.{name}" for name in ("1a", "a.b", "number", "both", "odd", "long")}
    assert set(caught.value.faults) == paths
    with pytest.raises(InvalidInput):
        of(variables={f"v{at}": "x" for at in range(MAX_VARIABLES + 1)})


def test_values_are_put_in_everywhere() -> None:
    plan = of(
        source="release/${{version}}",
        branch="work/${{ what }}",
        guidelines="Mind ${{ what }}.",
        steps=["Add ${{ what }} to ${{ repository.name }}", {"analysis": "${{  what  }}${{ what }}"}],
        validate={"commands": ["make ${{ what }}"], "tries": 1},
        variables={"what": None, "version": "2"},
    )
    done = filled(plan, {"what": "tests", "repository.name": "acme/shop"})
    assert (done.source, done.branch, done.guidelines) == ("release/2", "work/tests", "Mind tests.")
    assert [step.text for step in done.steps] == ["Add tests to acme/shop", "teststests"]
    assert done.validation == ValidationRules(("make tests",), 1)


def test_a_value_is_not_looked_through_again() -> None:
    plan = of(steps=["${{ a }}"], variables={"a": None, "b": "secret"})
    assert filled(plan, {"a": "${{ b }}\n- another: step"}).steps == (StepSpec("${{ b }}\n- another: step"),)


def test_missing_unknown_and_undeclared_variables_are_faults() -> None:
    plan = of(steps=["${{ a }} ${{ nobody }} ${{ trigger.title }}"], variables={"a": None})
    found = faults_of(plan, other="x")
    assert set(found) == {"variables.a", "variables.other", "steps[0]"}
    assert "`nobody` is not declared" in " ".join(found["steps[0]"])
    assert "`trigger.title` is not known to this run" in " ".join(found["steps[0]"])
    assert "variables.x" in faults_of(of(), x="1")


@pytest.mark.parametrize("text", ["${{", "${{ }}", "${{ a b }}", "${{ a", "${{ a.b }}", "${{ 1 }}"])
def test_what_begins_no_variable_is_a_fault_where_there_are_variables(text: str) -> None:
    assert "steps[0]" in faults_of(of(steps=[text], variables={"a": "x"}))


def test_two_dollars_mean_the_characters() -> None:
    assert filled(of(steps=["$${{ a }} ${{ a }}"], variables={"a": "x"}), {}).steps == (StepSpec("${{ a }} x"),)


def test_a_plan_without_variables_keeps_what_looks_like_one() -> None:
    """Old plans write of other tools' workflows."""
    text = "Use ${{ secrets.TOKEN }} and $${{ x }} in ${{ repository.name }}, not $${{ repository.name }}"
    done = filled(of(steps=[text]), {"repository.name": "acme/shop"})
    assert done.steps[0].text == ("Use ${{ secrets.TOKEN }} and $${{ x }} in acme/shop, not ${{ repository.name }}")


@pytest.mark.parametrize(
    "value", ["", "-rf", "a b", "$(id)", "`id`", "a;b", "a\nb", "'", '"', "\\", "*", "~", "é", "a|b"]
)
def test_what_a_shell_would_read_does_not_get_into_a_command(value: str) -> None:
    plan = of(validate=['make "${{ target }}"'], variables={"target": None})
    assert set(faults_of(plan, target=value)) == {"validate"}
    assert filled(plan, {"target": "unit-tests/a_b.c@1:2,3%4+5=6"}).validation is not None


def test_texts_do_not_grow_without_end() -> None:
    plan = of(steps=["${{ a }}" * (MAX_FILLED_PLAN // MAX_VARIABLE_VALUE + 1)], variables={"a": None})
    assert "longer than" in " ".join(faults_of(plan, a="x" * MAX_VARIABLE_VALUE)["steps[0]"])
    assert faults_of(plan, a="x" * (MAX_VARIABLE_VALUE + 1)).keys() == {"variables.a"}


def test_a_plan_is_stood_in_for_before_anybody_gives_values() -> None:
    plan = of(branch="w/${{ a }}/${{ b }}/${{ trigger.number }}", variables={"a": None, "b": "default"})
    done, faults = stood_in(plan)
    assert done.branch == "w/x/default/x"
    assert not faults
    assert set(stood_in(of(steps=["${{ c }}"], variables={"a": None}))[1]) == {"steps[0]"}
