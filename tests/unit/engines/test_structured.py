import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.domain.run import StructuredOutput
from treadle.engines.structured import SCHEMA, parse, parse_text

GOOD = {
    "output": "Done {a}.",
    "thinking": 'He said "{".',
    "wasSuccessful": True,
    "didGenerateCode": False,
    "isAdditionalWorkRequiredToContinue": False,
}
READ = StructuredOutput("Done {a}.", 'He said "{".', True, False, False)


def test_the_schema_names_every_field() -> None:
    assert set(GOOD) == set(SCHEMA["properties"])  # type: ignore[arg-type]  # an object


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(GOOD),
        json.dumps(GOOD, indent=2),
        f"```json\n{json.dumps(GOOD)}\n```",
        f"Here it is: {json.dumps(GOOD)} I hope that {{helps}}.",
        f'{{"not": "it"}}\n{json.dumps(GOOD)}',
    ],
)
def test_text_around_the_answer_is_forgiven(text: str) -> None:
    assert parse_text(text) == READ


@pytest.mark.parametrize(
    "text", ["", "Done.", "{", "{}", "[1]", json.dumps({**GOOD, "wasSuccessful": "yes"}), "{" * 100_000]
)
def test_no_answer(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_text(text)


def test_every_fault_is_named() -> None:
    with pytest.raises(
        ValueError, match=r"thinking is not a text; wasSuccessful is not true or false; 'extra' is unknown"
    ):
        parse({**GOOD, "thinking": None, "wasSuccessful": 1, "extra": 2})


@given(st.text(), st.text())
def test_any_text_around_it(before: str, after: str) -> None:
    assert parse_text(f"{before}\n{json.dumps(GOOD)}\n{after.replace('{', '(')}") == READ
