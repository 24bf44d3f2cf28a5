"""What is said of what a step may not commit."""

import pytest

from treadle.domain.secret_scan import Finding
from treadle.runner.commit_guard import refusal


@pytest.mark.parametrize(
    ("count", "end"),
    [
        (1, "(AWS access key)."),
        (2, "(AWS access key), and there is 1 find more."),
        (3, "(AWS access key), and there are 2 finds more."),
        (1_002, "(AWS access key), and there are 1,001 finds more."),
    ],
)
def test_the_first_find_is_named_and_the_others_counted(count: int, end: str) -> None:
    said = refusal([Finding("a.env", 3, "AWS access key")] * count).message
    assert said == f"Nothing was committed: a.env, line 3, holds what looks like a secret {end}"
