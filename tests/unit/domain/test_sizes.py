"""Sizes as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.domain.sizes import parse_size, show_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1048577", 1_048_577),
        ("9007199254740993", 9_007_199_254_740_993),  # more than a float can hold
        ("12 B", 12),
        ("500M", 500 << 20),
        ("10g", 10 << 30),
        (" 1.5GiB ", 3 << 29),
        ("2 KB", 2048),
        ("1T", 1 << 40),
        ("3Gi", 3 << 30),  # Kubernetes' way
    ],
)
def test_a_size_is_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "-1", "10X", "1e9", "1 000", "0x10", "10Gib/s", "\u0661"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="500M"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (5 << 40, "5.0 TiB"),
    ],
)
def test_a_size_is_shown(size: int, text: str) -> None:
    assert show_size(size) == text


@given(st.integers(0, 1 << 59))
def test_what_is_shown_reads_as_nearly_the_same(size: int) -> None:
    assert parse_size(show_size(size)) == pytest.approx(size, rel=0.06)
