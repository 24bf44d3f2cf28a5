"""Charts: well-formed, never out of their frame, and words are words."""

import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.web.charts import HEIGHT, MAX_LABELS, MAX_TICKS, WIDTH, Bar, bars, nice_step

amounts = st.floats(0, 1e9, allow_nan=False).map(lambda number: 0.0 if number < 1e-6 else number)


@given(st.lists(st.tuples(amounts, amounts), max_size=400))
def test_whatever_there_is_to_draw_stays_within(parts: list[tuple[float, float]]) -> None:
    shown = [Bar(f"d{number}", each, "said") for number, each in enumerate(parts)]
    svg = ET.fromstring(bars("Runs", shown, ("bar", "bar-bad"), words=str))
    assert len(svg.findall("g")) == len(parts)
    for rectangle in svg.iter("rect"):
        x, y, width, height = (float(rectangle.attrib[name]) for name in ("x", "y", "width", "height"))
        assert 0 <= x <= x + width <= WIDTH + 0.01
        assert 0 <= y <= y + height <= HEIGHT
    labels = [text for text in svg.iter("text") if (text.text or "").startswith("d")]
    assert len(labels) <= MAX_LABELS + 1
    assert "style" not in {name for element in svg.iter() for name in element.attrib}


def test_what_is_said_is_text() -> None:
    drawn = bars('<b>"', [Bar("<i>", (1.0,), "</title><script>")], ("bar",), words=lambda _: "&")
    svg = ET.fromstring(drawn)
    assert svg.attrib["aria-label"] == '<b>"'
    assert [title.text for title in svg.iter("title")] == ["</title><script>"]


def test_a_little_beside_much_is_there() -> None:
    svg = ET.fromstring(bars("", [Bar("a", (1e6,), ""), Bar("b", (0.01,), "")], ("bar",), words=str))
    heights = [float(each.attrib["height"]) for each in svg.iter("rect") if each.attrib["class"] == "bar"]
    assert heights[1] >= 1
    empty = ET.fromstring(bars("", [Bar("a", (0.0,), "")], ("bar",), words=str))
    assert [each for each in empty.iter("rect") if each.attrib["class"] == "bar"] == []


@pytest.mark.parametrize(("top", "step"), [(0, 1), (4, 1), (5, 2), (7.9, 2), (100, 50), (0.04, 0.01), (1001, 500)])
def test_lines_are_at_round_numbers(top: float, step: float) -> None:
    assert nice_step(top) == pytest.approx(step)


@given(st.floats(1e-6, 1e12))
def test_lines_are_few(top: float) -> None:
    assert math.ceil(top / nice_step(top) - 1e-9) <= MAX_TICKS
