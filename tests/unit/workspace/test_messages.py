"""The trailer marks a step's commit, whatever the step's text says."""

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.workspace import messages

STEP = UUID("0123abcd-0123-4567-89ab-0123456789ab")
OTHER = uuid4()

TEXTS = st.lists(
    st.one_of(
        st.text(max_size=20),
        st.sampled_from(
            [
                "\n",
                "\r\n",
                "\r",
                "\n\n",
                f"Treadle-Step: {OTHER}",
                f"\n\nTreadle-Step: {OTHER}\n",
                "Signed-off-by: a <b>",
            ]
        ),
    ),
    max_size=12,
).map("".join)


@given(TEXTS, st.uuids())
def test_every_text_gives_its_own_step(text: str, step: UUID) -> None:
    assert messages.step_of(messages.message(text, step).decode()) == step


@given(TEXTS)
def test_no_text_alone_passes_for_a_step(text: str) -> None:
    told = messages.message(text, STEP).decode()
    without = told.removesuffix(f"\n\nTreadle-Step: {STEP}\n")
    assert messages.step_of(without) in {None, OTHER}
    assert messages.step_of(told) == STEP


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Add a file", "Add a file\n\n"),
        ("Add a file\nand more\n\nand then\n", "Add a file\n\nand more\n\nand then\n\n"),
        ("\r\n\r\n  Add a file \r\nmore\r\n", "Add a file\n\nmore\n\n"),
        ("", "A step\n\n"),
        ("\x00\x07", "A step\n\n"),
        ("# not a comment\n# nor this", "# not a comment\n\n# nor this\n\n"),
        ("Fix\n\nSigned-off-by: a <b@c>", "Fix\n\nSigned-off-by: a <b@c>\n\n"),
        ("broken \ud800", "broken ?\n\n"),
    ],
)
def test_first_line_is_the_subject_and_the_rest_the_body(text: str, expected: str) -> None:
    assert messages.message(text, STEP).decode() == f"{expected}Treadle-Step: {STEP}\n"


def test_a_long_first_line_is_cut_and_kept_whole_in_the_body() -> None:
    text = "word " * 2_000
    subject, blank, body, *_ = messages.message(text, STEP).decode().split("\n")
    assert len(subject) <= messages.MAX_SUBJECT
    assert subject.endswith("word…")
    assert blank == ""
    assert body == text.strip()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Add a file",
        f"Treadle-Step: {STEP} ",
        f"Add\n\nTreadle-Step: {STEP}\nSigned-off-by: a <b@c>",
        f"Add\n\nTreadle-Step: {STEP}\nTreadle-Step: {OTHER}",
        f"Add\n\nTreadle-Step: {STEP}\n\nmore",
        f"Add\n\n treadle-step: {STEP}",
        "Add\n\nTreadle-Step: not a uuid",
        f"Add\n\nTreadle-Step: {str(STEP).upper()}",
    ],
)
def test_other_messages_are_of_no_step(text: str) -> None:
    assert messages.step_of(text) is None


@pytest.mark.parametrize(
    ("given_name", "name"),
    [
        ("Ada", "Ada"),
        ("  A <b>\nc\x00 ", "A bc"),
        ("<>", "Treadle"),
        (".,;", "Treadle"),
        ("", "Treadle"),
        ("Ädä\ud800", "Ädä"),
    ],
)
def test_names_are_what_git_takes(given_name: str, name: str) -> None:
    assert messages.identity(given_name, "a@b")[0] == name
