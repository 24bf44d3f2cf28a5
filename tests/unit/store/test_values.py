"""What is written in a column comes back."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.domain.events import JsonObject, JsonValue
from treadle.domain.run import StructuredOutput
from treadle.store.values import (
    MAX_EVENT,
    date_of,
    event_json,
    micros,
    optional_date,
    plain,
    structured_json,
    structured_of,
)

ANY_TEXT = st.text(st.characters())  # lone surrogates and NUL among them
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner),
    max_leaves=20,
)


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_date_comes_back_to_the_microsecond(date: datetime) -> None:
    assert date_of(micros(date)) == date


def test_dates_are_utc_whatever_they_were() -> None:
    date = datetime(2030, 1, 2, 3, tzinfo=timezone(timedelta(hours=5)))
    assert date_of(micros(date)) == date
    assert date_of(micros(date)).tzinfo is UTC
    assert micros(None) is None
    assert optional_date(None) is None


def test_a_date_without_a_zone_is_refused() -> None:
    with pytest.raises(TypeError):
        micros(datetime(2030, 1, 2))  # noqa: DTZ001 - what is tried


@given(ANY_TEXT)
def test_plain_text_is_what_both_databases_hold(text: str) -> None:
    stored = plain(text)
    stored.encode()
    assert "\0" not in stored
    assert plain(stored) == stored
    if "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text):
        assert stored == text


@given(st.dictionaries(ANY_TEXT, JSON))
def test_an_events_data_is_ascii_and_comes_back(data: dict[str, JsonValue]) -> None:
    stored = event_json(data)
    assert stored.isascii()
    assert "\0" not in stored
    assert json.loads(stored) == json.loads(json.dumps(data))  # which joins the halves of a pair


@pytest.mark.parametrize(
    "data",
    [
        {"text": "x" * (MAX_EVENT + 1)},
        {"text": "☃" * MAX_EVENT},
        {"input": {str(number): "y" * 70_000 for number in range(200)}},
        {"input": [["z" * 5000] * 1000, 7]},
        {"input": list(range(MAX_EVENT))},
        {"x" * MAX_EVENT: 1},
    ],
)
def test_an_event_is_never_larger_than_allowed(data: JsonObject) -> None:
    stored = event_json(data)
    assert len(stored) <= MAX_EVENT
    clipped = json.loads(stored)["clipped"]
    assert clipped > 0


@given(st.builds(StructuredOutput))
def test_a_structured_answer_comes_back(answer: StructuredOutput) -> None:
    assert structured_of(structured_json(answer)) == answer


def test_no_structured_answer_is_none() -> None:
    assert structured_json(None) is None
    assert structured_of(None) is None
