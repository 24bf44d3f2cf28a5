"""What is written at a forge, and what is read there for an agent."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from treadle.forges.conversations.texts import (
    MAX_LOG_BYTES,
    MAX_TEXT,
    beside_text,
    end_of,
    log_text,
    mark_of,
    marked,
    parts_text,
    with_findings,
)
from treadle.ports.conversations import Finding


@given(st.text(max_size=200), st.from_regex(r"[A-Za-z0-9.:_-]{1,20}", fullmatch=True))
def test_only_its_own_marker_is_in_a_text(body: str, marker: str) -> None:
    text = marked(f"{mark_of('another')} {body}", marker)
    assert text.startswith(f"{mark_of(marker)}\n")
    assert text.count("<!-- treadle:") == 1
    assert len(text) <= MAX_TEXT


@pytest.mark.parametrize(
    "body",
    ["<!-- trea\0dle:b -->", "<!-- <!-- treadle:treadle:b -->", "<!-- treadle<!-- treadle::b -->"],
)
def test_a_replacement_makes_no_marker(body: str) -> None:
    assert mark_of("b") not in marked(body, "a")
    assert mark_of("b") not in beside_text(body)


@pytest.mark.parametrize("marker", ["", "a b", "a-->", "x" * 121, "ü", "a\n"])
def test_markers_that_are_none(marker: str) -> None:
    with pytest.raises(ValueError, match="is no marker"):
        mark_of(marker)


def test_a_finding_breaks_out_of_no_code_span() -> None:
    text = with_findings("Body.", [Finding("a`b\n.py", 1, "One.\nTwo.")])
    assert text == "Body.\n\n- `a'b .py:1`: One.\n  Two.\n"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"\xef\xbb\xbf2031-04-05T06:07:08.1234567Z a\n2031-04-05T06:07:08Z b\n", "a\nb\n"),
        (b"2031-04-05T06:07:08.123456Z 00O a\n2031-04-05T06:07:08.123456Z 01E+b\n", "a\nb\n"),
        (b"\x1b[0Ksection_start:1:build\r\x1b[0K\x1b[36;1mBuilding\x1b[0m\n", "Building\n"),
        (b"10%\r50%\r100%\nDone\r\n", "100%\nDone\n"),
        (b"a\x00b\x07\tc\n", "ab\tc\n"),
        (b"\xb6cut in a letter", "cut in a letter"),
    ],
)
def test_a_log_as_a_person_reads_it(raw: bytes, text: str) -> None:
    assert log_text(raw) == text


def test_a_log_of_beginnings_alone_takes_no_time() -> None:
    began = time.thread_time()
    assert log_text(b"section_start:1:" * (2 * MAX_LOG_BYTES // 16))
    assert time.thread_time() - began < 1  # of the processor; 4 where each looks for its end in all that follows


@given(st.binary(max_size=300), st.integers(min_value=1, max_value=100))
def test_a_log_is_never_longer_than_asked(raw: bytes, size: int) -> None:
    assert len(log_text(raw, size).encode()) <= size


@example("one long line\n", 5)
@given(st.text(max_size=100), st.integers(min_value=1, max_value=100))
def test_the_end_is_the_end(text: str, size: int) -> None:
    found = end_of(text, size)
    assert text.endswith(found)
    assert len(found.encode()) <= size


def test_parts_share_the_room() -> None:
    text = parts_text([("one", "x\n" * MAX_LOG_BYTES), ("none", ""), ("two\nlines", "y\n" * MAX_LOG_BYTES)])
    assert len(text.encode()) <= MAX_LOG_BYTES
    assert text.startswith("== one ==\nx\n")
    assert "\n\n== two lines ==\ny\n" in text
    assert "none" not in text
