"""Every link of the documentation leads somewhere."""

from pathlib import Path

import pytest
from tests.unit.docs.pages import ROOT, anchors, links, pages

PAGES = pages()


@pytest.mark.parametrize("path", PAGES, ids=[str(path.relative_to(ROOT)) for path in PAGES])
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lost = []
    for link in links(text):
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        is_there = target.exists() and ROOT in target.parents
        if not is_there or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            lost.append(link)
    assert lost == []


def test_every_page_is_reachable_from_the_readme() -> None:
    seen, waiting = set[Path](), [ROOT / "README.md"]
    while waiting:
        path = waiting.pop()
        if path in seen or path.suffix != ".md" or not path.is_file():
            continue
        seen.add(path)
        found = (link.partition("#")[0] for link in links(path.read_text(encoding="utf-8")))
        waiting += [(path.parent / link).resolve() for link in found if link and "://" not in link]
    docs = {path for path in PAGES if "changelog.d" not in path.parts}
    assert [str(path.relative_to(ROOT)) for path in sorted(docs - seen)] == []


@pytest.mark.parametrize("path", PAGES, ids=[str(path.relative_to(ROOT)) for path in PAGES])
def test_a_page_has_one_title_and_no_long_lines(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    if "changelog.d" not in path.parts or path.name == "README.md":
        assert lines[0].startswith("# ")
    assert [line for line in lines if len(line) > 120 and not line.lstrip().startswith("|") and "](" not in line] == []


def test_pictures_are_small() -> None:
    """They are part of every clone."""
    pictures = [path for path in (ROOT / "docs/images").iterdir() if path.is_file()]
    assert pictures
    assert [path.name for path in pictures if path.stat().st_size > 200_000] == []
