"""Forms read what people write, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.web.forms import amount_of, amount_text


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("", None),
        ("0.50", 0.5),
        ("$0.5", 0.5),
        ("$ 3", 3),
        (".25", 0.25),
        ("2.", 2),
        ("0", 0),
        ("1234.5678", 1234.5678),
    ],
)
def test_amounts_are_read_as_people_write_them(text: str, amount: float | None) -> None:
    assert amount_of(text) == amount


@pytest.mark.parametrize(
    "text", ["-1", "1,000", "0,50", "1e3", "nan", "inf", "$", ".", "1 2", "1.2.3", "٣", "1" * 13, "0." + "1" * 400]
)
def test_what_is_no_amount_is_said(text: str) -> None:
    with pytest.raises(ValueError, match=r"Must be an amount in US dollars, such as 0\.50\."):
        amount_of(text)


@given(st.integers(0, 10**10))
def test_an_amount_is_read_again_as_it_is_shown(ten_thousandths: int) -> None:
    amount = ten_thousandths / 10_000
    assert amount_of(amount_text(amount)) == amount
