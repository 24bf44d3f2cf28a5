"""Validation rules as somebody writes them, and results as they are kept."""

import pytest

from treadle.domain.validation import (
    DEFAULT_TRIES,
    MAX_COMMAND,
    MAX_COMMANDS,
    MAX_TRIES,
    CommandResult,
    ValidationRules,
)


@pytest.mark.parametrize(
    ("value", "commands", "tries"),
    [
        (["make test"], ("make test",), DEFAULT_TRIES),
        ([], (), DEFAULT_TRIES),
        ({"commands": ["a", "b\nc"]}, ("a", "b\nc"), DEFAULT_TRIES),
        ({"commands": ["a"], "tries": 0}, ("a",), 0),
        ({"commands": ["x" * MAX_COMMAND] * MAX_COMMANDS, "tries": MAX_TRIES}, ("x" * MAX_COMMAND,) * 20, MAX_TRIES),
    ],
)
def test_rules_are_read_and_written(value: object, commands: tuple[str, ...], tries: int) -> None:
    rules = ValidationRules.read(value)
    assert rules == ValidationRules(commands, tries)
    assert ValidationRules.read(rules.json()) == rules


@pytest.mark.parametrize(
    "value",
    [
        *(None, 7, "make test", {}, {"tries": 1}, {"commands": "a"}, {"commands": ["a"], "more": 1}),
        *([""], ["  \n"], [7], [None], [["a"]], ["a\0"], ["a\x1b[0m"], ["\ud800"]),
        *(["x" * (MAX_COMMAND + 1)], ["x"] * (MAX_COMMANDS + 1)),
        *({"commands": ["a"], "tries": tries} for tries in (-1, MAX_TRIES + 1, True, 1.5, "3", None)),
    ],
)
def test_what_is_wrong_is_said(value: object) -> None:
    with pytest.raises(ValueError, match=r"\w+.*[.}]$"):
        ValidationRules.read(value)


def test_a_command_line_is_one_command_or_json() -> None:
    assert ValidationRules.parse("make test").commands == ("make test",)
    assert ValidationRules.parse("[ -f x ] && true").commands == ("[ -f x ] && true",)
    assert ValidationRules.parse('["a", "b"]').commands == ("a", "b")
    assert ValidationRules.parse('{"commands": ["a"], "tries": 1}').tries == 1
    with pytest.raises(ValueError, match="JSON"):
        ValidationRules.parse('["a"')


@pytest.mark.parametrize(
    ("code", "reason", "how"),
    [
        (0, None, "passed"),
        (2, None, "failed with exit code 2"),
        (None, "it took too long", "was ended: it took too long"),
    ],
)
def test_a_result_says_how_it_ended_and_comes_back(code: int | None, reason: str | None, how: str) -> None:
    result = CommandResult("make test", code, reason, "…", 12, 3)
    assert (result.how, result.is_passed) == (how, code == 0)
    assert CommandResult.from_json(result.json()) == result
