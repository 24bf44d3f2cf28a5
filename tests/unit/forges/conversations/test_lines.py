"""Which lines a diff shows, of what Git really writes."""

from pathlib import Path

import pytest
from tests.support.repositories import BareRepositories

from treadle.forges.conversations.lines import of_diff, of_hunks

NAMES = [
    "a.py",
    "folder/a b.py",
    "tab\there.py",
    'quo"te.py',
    "ünïcode.py",
    "back\\slash.py",
    "b/b/x.py",
    "line\nend.py",
]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_and_content_that_looks_like_a_header(name: str, tmp_path: Path) -> None:
    repositories = BareRepositories(tmp_path)
    old = [f"line {number}" for number in range(1, 21)]
    new = [*old[:2], "++ b/other.py", "@@ -1,1 +1,1 @@", *old[3:18], "last, without its end"]
    del new[10]
    repositories.create("demo", {name: "\n".join(old) + "\n"})
    repositories.commit("demo", {name: "\n".join(new), "second.py": "one\n"})
    found = of_diff(repositories.git("demo", "diff", "main~1", "main"))
    assert set(found) == {name, "second.py"}
    assert found["second.py"] == {1: None}
    lines = found[name]
    for number, was in lines.items():
        if was is not None:
            assert new[number - 1] == old[was - 1]
        else:
            assert new[number - 1] in {"++ b/other.py", "@@ -1,1 +1,1 @@", "last, without its end"}
    assert [number for number, was in lines.items() if was is None] == [3, 4, len(new)]


def test_a_file_that_is_removed_shows_no_lines(tmp_path: Path) -> None:
    repositories = BareRepositories(tmp_path)
    repositories.create("demo", {"a.py": "one\n", "b.py": "two\n"})
    first = repositories.git("demo", "rev-parse", "main").strip()
    repositories.git("demo", "update-ref", "refs/heads/other", first)
    repositories.commit("demo", {"c.py": "three\n"}, branch="other")
    assert of_diff(repositories.git("demo", "diff", "other", "main"))["/dev/null"] == {}


@pytest.mark.parametrize("patch", ["", "nonsense", "@@ -1 +1", "@@ -1,9 +1,9 @@\n one", "@@ -0,0 +1 @@\n+one\n"])
def test_hunks_that_end_early(patch: str) -> None:
    assert set(of_hunks(patch)) <= {1}
