"""A scripted step may begin with a line for people: the commit is called after it."""

import pytest

from treadle.engines.dummy_script import parse

SCRIPT = '[{"say": "done"}]'


@pytest.mark.parametrize(
    "text",
    [f"dummy: {SCRIPT}", f"dummy:\n{SCRIPT}", f"dummy: Add a.py\n{SCRIPT}", 'dummy: Add a.py\n\n[\n{"say": "done"}]'],
)
def test_a_title_is_no_part_of_the_script(text: str) -> None:
    actions = parse(text)
    assert actions is not None
    assert [(action.name, action.value) for action in actions] == [("say", "done")]


@pytest.mark.parametrize("text", ["dummy: Add a.py", "dummy: Add a.py\nsay done", "dummy: [\nsay"])
def test_a_title_alone_is_still_a_fault(text: str) -> None:
    with pytest.raises(ValueError, match="not JSON"):
        parse(text)
