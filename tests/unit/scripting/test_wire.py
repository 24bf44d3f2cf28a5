"""The API's names, as a script has them."""

import pytest

from treadle.ports.scripting import JsonValue
from treadle.scripting.wire import step_json, to_script, to_wire_name


def test_answers_have_the_names_of_scripts() -> None:
    answer = {"gitUrl": "u", "steps": [{"isCommitableStep": True, "structuredOutput": {"wasSuccessful": True}}]}
    assert to_script(answer) == {
        "git_url": "u",
        "steps": [{"is_commitable_step": True, "structured_output": {"was_successful": True}}],
    }
    assert to_wire_name("max_cost_usd") == "maxCostUsd"


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("a", {"step": "a", "isCommitableStep": True, "isStructuredOutput": False}),
        (
            {"analysis": "a", "is_structured": True},
            {"step": "a", "isCommitableStep": False, "isStructuredOutput": True},
        ),
        ({"step": "a", "is_commitable": False}, {"step": "a", "isCommitableStep": False}),
        ({"step": "a", "is_commitable_step": True}, {"step": "a", "isCommitableStep": True}),
        ({"text": "a", "newName": 1}, {"step": "a", "newName": 1}),
        (3, 3),
    ],
)
def test_steps_have_the_names_of_the_api(given: JsonValue, sent: JsonValue) -> None:
    assert step_json(given) == sent
