"""What CONTRIBUTING.md and the explanations point at is there."""

import re

import pytest
from tests.unit.docs.pages import ROOT, codes

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
TRUST = (ROOT / "docs/explanation/trust.md").read_text(encoding="utf-8")
SECURITY = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def test_every_make_target_is_named_and_there() -> None:
    targets = set(re.findall(r"^## make (\w+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {code.removeprefix("make ") for code in codes(CONTRIBUTING) if code.startswith("make ")}
    assert named | {"setup"} == targets


@pytest.mark.parametrize(
    "page",
    [
        "CONTRIBUTING.md",
        "SECURITY.md",
        "docs/explanation/trust.md",
        "docs/explanation/security.md",
        "docs/explanation/architecture.md",
    ],
)
def test_named_files_are_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    paths = [code for code in codes(text) if re.fullmatch(r"(?:src|tests|docs|scripts|changelog\.d)/[\w./-]+", code)]
    assert [path for path in paths if not (ROOT / path).exists()] == []
    modules = [code for code in codes(text) if re.fullmatch(r"[a-z]+/\w+\.py", code)]
    assert [path for path in modules if not (ROOT / "src/treadle" / path).exists()] == []


@pytest.mark.parametrize("text", [TRUST, SECURITY], ids=["trust", "security"])
def test_tests_that_are_named_are_there(text: str) -> None:
    said = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = [code for code in codes(text) if code.startswith("test_") and not code.endswith(".py")]
    assert named
    assert [name for name in named if f"def {name}(" not in said] == []


def test_the_folders_of_the_layout_are_there() -> None:
    drawn = re.search(r"^    src/treadle/\n(?:      .*\n)+", CONTRIBUTING, re.MULTILINE)
    assert drawn is not None
    folders = re.findall(r"(\w+)/", drawn[0].partition("\n")[2])
    assert [folder for folder in folders if not (ROOT / "src/treadle" / folder).is_dir()] == []
