"""The parts of the pages that the code writes are as it writes them now."""

import pytest
from tests.unit.docs.generated import PARTS, names, renewed
from tests.unit.docs.pages import ROOT, codes, page, rows

from treadle.domain.states import RUN_TRANSITIONS, STEP_TRANSITIONS
from treadle.settings import CLIENT_NAMES, Settings

WITH_PARTS = [path for path in sorted((ROOT / "docs").rglob("*.md")) if names(path.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("path", WITH_PARTS, ids=[path.name for path in WITH_PARTS])
def test_generated_parts_are_current(path: object) -> None:
    text = (ROOT / str(path)).read_text(encoding="utf-8")
    assert text == renewed(text), "write them anew: .venv/bin/python -m tests.unit.docs.generated"


def test_every_part_is_somewhere() -> None:
    found = [name for path in WITH_PARTS for name in names(path.read_text(encoding="utf-8"))]
    assert sorted(found) == sorted(PARTS)


def test_every_setting_has_its_row() -> None:
    text = page("reference/settings.md")
    listed = {row[0].strip("`"): (row[1].strip("`"), row[2]) for row in rows(text)}
    for name, default, description in Settings.table():
        assert listed[name] == (default, description)
        assert description.endswith((".", "`."))
    assert codes(text) >= CLIENT_NAMES


def test_the_diagrams_say_what_the_tables_say() -> None:
    text = page("reference/states.md")
    for transitions in (RUN_TRANSITIONS, STEP_TRANSITIONS):
        for source, targets in transitions.items():
            for target in transitions:
                assert (f"    {source} --> {target}\n" in text) or target not in targets
    arrows = [line.strip() for line in text.splitlines() if " --> " in line and "[*]" not in line]
    allowed = {
        f"{source} --> {target}"
        for transitions in (RUN_TRANSITIONS, STEP_TRANSITIONS)
        for source, targets in transitions.items()
        for target in targets
    }
    assert set(arrows) == allowed
