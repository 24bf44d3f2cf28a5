"""docs/how-to/upgrade.md says of every schema what its migration says."""

import re

from tests.unit.deploy.parts import ROOT
from tests.unit.docs.pages import page, rows, section

from treadle.store import schema

MIGRATIONS = ROOT / "src/treadle/store/migrations/versions"


def test_every_schema_has_its_row() -> None:
    table = {
        row[0].strip("`"): row[2] for row in rows(section(page("how-to/upgrade.md"), "Which versions go together"))
    }
    revisions = dict[str, str]()
    works_with = None  # as the database goes on saying until a migration says otherwise
    for path in sorted(MIGRATIONS.glob("v*.py")):
        text = path.read_text(encoding="utf-8")
        revision = re.search(r'^revision = "(\d+)"', text, re.MULTILINE)
        oldest = re.search(r'^OLDEST = "(\d+)"', text, re.MULTILINE)
        assert revision is not None, path
        works_with = oldest[1] if oldest is not None else works_with or revision[1]
        revisions[revision[1]] = works_with
    assert table.keys() == revisions.keys()
    assert max(revisions) == schema.head()
    for own, works_with in revisions.items():
        assert table[own].startswith(f"`{works_with}`"), f"{own}: its migration says {works_with}"
