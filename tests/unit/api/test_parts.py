"""The API's small parts."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.api.bodies import preferred
from treadle.api.downloads import attachment
from treadle.api.fault_words import path_of
from treadle.api.json_bytes import date_text, encode

JSON, STREAM = "application/json", "text/event-stream"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", STREAM),
        ("*/*", STREAM),
        ("application/json", JSON),
        ("application/*", JSON),
        ("APPLICATION/JSON ; q=0.1", JSON),
        ("text/event-stream, application/json", STREAM),
        ("text/event-stream;q=0.1, */*;q=0.5", JSON),
        ("application/json;q=0, */*", STREAM),
        ("application/json;q=x, text/html", STREAM),
        ("image/png", STREAM),
        (",;q=,,/", STREAM),
    ],
)
def test_what_a_client_prefers(accept: str, expected: str) -> None:
    assert preferred(accept, (STREAM, JSON)) == expected


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text() | st.characters(codec=None), st.lists))
def test_whatever_it_is_becomes_json(value: object) -> None:
    found = encode(value)  # type: ignore[arg-type]  # hypothesis makes JSON values

    def refuse(name: str) -> object:
        raise ValueError(name)

    json.loads(found.decode(), parse_constant=refuse)


def test_what_json_lacks() -> None:
    assert (
        encode({"a": [float("nan"), float("inf"), 1.5], "b": "\ud800é"})
        == '{"a":[null,null,1.5],"b":"\\ud800é"}'.encode()
    )


def test_dates() -> None:
    assert date_text(None) is None
    assert date_text(datetime(2026, 10, 1, 9, 30, 0, 999_999, tzinfo=UTC)) == "2026-10-01T09:30:00.999Z"
    there = timezone(timedelta(hours=2))
    assert date_text(datetime(2026, 10, 1, 1, 0, tzinfo=there)) == "2026-09-30T23:00:00.000Z"


@given(st.text())
def test_no_name_breaks_a_header(name: str) -> None:
    value = attachment(name.encode(errors="ignore").decode())
    assert value.isascii()
    assert value.isprintable()
    assert value.count('"') == 2


def test_paths() -> None:
    assert path_of(()) == "$"
    assert path_of(("steps", 0, "step")) == "steps[0].step"
    assert path_of(("x" * 5_000, 1)) == "x" * 100 + "[1]"
