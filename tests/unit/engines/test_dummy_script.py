"""Every action of a script, and every fault of one."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.domain.states import Phase
from treadle.engines.dummy_script import _SHAPES, Action, parse, reset_epoch

ACTIONS: tuple[tuple[str, object], ...] = (
    ("write", ["a/b.py", "x = 1\n"]),
    ("append", ["a", ""]),
    ("delete", "a"),
    ("run", "true"),
    ("say", ""),
    ("think", "hm"),
    ("sleep", 0.5),
    ("structured", {"output": 1}),
    ("structured", None),
    ("usage", {"input": 1, "output": 2, "cost": 0.5}),
    ("usage", {}),
    ("fail", 529),
    ("limit", 1_800_000_000),
    ("limit", "2027-01-15T08:00:00Z"),
    ("hang", True),
    ("ignore_sigterm", True),
    ("spawn", 1),
    ("line", 1 << 20),
    ("exit", 255),
)


@pytest.mark.parametrize(("name", "value"), ACTIONS)
def test_an_action(name: str, value: object) -> None:
    text = f"  dummy:{json.dumps([{name: value}])}\n"
    assert parse(text) == (Action(name, value, None, None),)  # type: ignore[arg-type] # JSON, as it was


def test_the_phase_and_the_times() -> None:
    found = parse('dummy: [{"say": "a", "phase": "analysis"}, {"say": "b", "phase": "Validation", "times": 2}]')
    assert found == (Action("say", "a", Phase.ANALYSIS, None), Action("say", "b", Phase.VALIDATION, 2))


@pytest.mark.parametrize("text", ["Add a page", "a dummy: []", "", "Dummy: []"])
def test_what_is_no_script(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("", "not JSON"),
        ("[", "not JSON"),
        ("[] more", "not JSON"),
        ('[{"sleep": NaN}]', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("{}", "not a list"),
        ("[1]", "action 1 is not an object"),
        ("[{}]", "names none"),
        ('[{"say": "a"}, {"say": "a", "think": "b"}]', "action 2 must name one thing to do and names `say`, `think`"),
        ('[{"wrte": ["a", "b"]}]', "`wrte` is unknown; there are write, append"),
        ('[{"say": "a", "phase": "later"}]', "`phase` takes analysis, implementation, validation"),
        ('[{"say": "a", "phase": 1}]', "`phase` takes"),
        ('[{"say": "a", "times": 0}]', "`times` takes"),
        ('[{"say": "a", "times": true}]', "`times` takes"),
        ('[{"write": "a"}]', r"`write` takes \[path, text\]"),
        ('[{"write": ["", "b"]}]', "`write` takes"),
        ('[{"write": ["a\\u0000", "b"]}]', "`write` takes"),
        ('[{"write": ["a", "\\ud800"]}]', "`write` takes"),
        ('[{"delete": ["a"]}]', "`delete` takes"),
        ('[{"run": ""}]', "`run` takes"),
        ('[{"say": 1}]', "`say` takes"),
        ('[{"sleep": -1}]', "`sleep` takes"),
        ('[{"sleep": 1e999}]', "not JSON"),
        ('[{"sleep": true}]', "`sleep` takes"),
        ('[{"structured": []}]', "`structured` takes"),
        ('[{"usage": {"tokens": 1}}]', "`usage` takes"),
        ('[{"usage": {"input": 1.5}}]', "`usage` takes"),
        ('[{"usage": {"cost": -1}}]', "`usage` takes"),
        ('[{"fail": 200}]', "`fail` takes"),
        ('[{"limit": "tomorrow"}]', "`limit` takes"),
        ('[{"limit": 99999999999999999}]', "`limit` takes"),
        ('[{"hang": false}]', "`hang` takes true"),
        ('[{"line": -1}]', "`line` takes"),
        ('[{"exit": 256}]', "`exit` takes"),
    ],
)
def test_a_fault_is_named(script: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse(f"dummy: {script}")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*(name for name, _ in ACTIONS), "phase", "times"]), json_values, max_size=3))
def test_whatever_is_written_is_right_or_a_fault(entry: dict[str, object]) -> None:
    try:
        found = parse(f"dummy: {json.dumps([entry])}")
    except ValueError:
        return
    assert found is not None
    json.dumps([action.value for action in found], allow_nan=False).encode()


def test_reset_times() -> None:
    assert reset_epoch("2027-01-15T09:00:00+01:00") == datetime(2027, 1, 15, 8, tzinfo=UTC).timestamp()


def test_every_action_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs/reference/dummy.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    documented = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(documented) == sorted({name for name, _ in ACTIONS})
    assert set(documented) == set(_SHAPES)
