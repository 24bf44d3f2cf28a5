"""The repositories of a batch as people keep them in files."""

from pathlib import Path

import pytest

from treadle.cli.batch_targets import Target, targets_in
from treadle.domain.errors import ConfigurationError, InvalidInput


def read(folder: Path, name: str, text: str) -> list[Target]:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return list(targets_in(file))


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_table_of_any_spreadsheet_is_read(tmp_path: Path, mark: str) -> None:
    rows = [["repository", "team", '"a; b, c\td"'], ["acme/shop", "press", '"x;y,z"'], ["12", "", ""]]
    text = "\ufeff" + "\r\n".join(mark.join(row) for row in rows) + "\r\n"
    assert read(tmp_path, "targets.csv", text) == [
        {"repository": "acme/shop", "variables": {"team": "press", "a; b, c\td": "x;y,z"}},
        {"repository": 12},
    ]


def test_a_table_of_one_column_and_one_without_any(tmp_path: Path) -> None:
    address = "https://git.example/a/b.git"
    assert read(tmp_path, "targets.CSV", f"url\n{address}\n") == [{"url": address}]
    with pytest.raises(ConfigurationError, match="has no column repository"):
        read(tmp_path, "targets.csv", "name;team\na;b\n")
    with pytest.raises(InvalidInput) as refused:
        read(tmp_path, "targets.csv", "repository;team\nacme/shop\n")
    assert refused.value.faults == {"line 2": ("has not as many cells as the first line",)}


def test_a_list_is_read_and_no_key_of_it_twice(tmp_path: Path) -> None:
    text = "- acme/shop\n- 12\n- {repository: 3, variables: {team: press}}\n"
    assert read(tmp_path, "targets.yaml", text) == [
        *("acme/shop", 12),
        {"repository": 3, "variables": {"team": "press"}},
    ]
    with pytest.raises(InvalidInput) as refused:
        read(tmp_path, "targets.yaml", "- repository: 3\n  repository: 4\n")
    assert refused.value.faults == {"[0].repository": ("is there more than once, at lines 1, 2",)}
    for broken, said in (("- [", "not valid YAML at line 1"), ("a: b", "no list of repositories"), ("", "no list")):
        with pytest.raises(ConfigurationError, match=said):
            read(tmp_path, "targets.yaml", broken)
