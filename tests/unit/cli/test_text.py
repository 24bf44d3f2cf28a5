from hypothesis import given
from hypothesis import strategies as st

from treadle.cli.text import columns, cut, neutral, one_line, pad


def test_escape_sequences_become_visible() -> None:
    assert neutral("a\x1b[31mred\x1b[0m\x07\r\x9b2J") == "a\\x1b[31mred\\x1b[0m\\x07\\x0d\\x9b2J"


def test_what_turns_or_hides_text_becomes_visible() -> None:
    assert neutral("x\u202ey\u2066z\u200b\ufeff\U000e0041\ud800") == "x\\u202ey\\u2066z\\u200b\\ufeff\\U000e0041\\ud800"


def test_ordinary_text_stays() -> None:
    text = "Tabs\tand\nlines, ünïcödé, 語, 👩\u200d🔧, [bold]no markup[/bold]"
    assert neutral(text) == text


@given(st.text(alphabet=st.characters(codec=None)))
def test_nothing_unprintable_is_left(text: str) -> None:
    safe = neutral(text)
    assert not any(ord(character) < 32 and character not in "\n\t" for character in safe)
    assert not any(0x7F <= ord(character) <= 0x9F for character in safe)
    safe.encode()


@given(st.text(alphabet=st.characters(codec=None)), st.integers(1, 40))
def test_one_line_is_one_line_and_fits(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert "\n" not in line
    assert columns(line) <= limit


def test_one_line_drops_whole_sequences_and_draws_space_together() -> None:
    assert one_line("  \x1b[1;31mFAILED\x1b[0m\n\n  tests/a.py\x1b]8;;http://evil\x07link\x1b]8;;\x1b\\ \t x ") == (
        "FAILED tests/a.pylink x"
    )


def test_wide_characters_count_twice() -> None:
    assert columns("語a") == 3
    assert cut("語語語", 5) == "語語…"
    assert pad("語", 4) == "語  "
