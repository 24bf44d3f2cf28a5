"""The documentation as text: its pages, their tables, code blocks, headings and links."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]

_FENCE: Final = re.compile(r"^ {0,3}```(\w*)[^\n]*\n(.*?)^ {0,3}```$", re.MULTILINE | re.DOTALL)
_COMMENT: Final = re.compile(r"<!--.*?-->", re.DOTALL)
_HEADING: Final = re.compile(r"^#{1,6} (.+?)\s*$", re.MULTILINE)
_LINK: Final = re.compile(r"!?\[[^\]]*\]\(([^()\s]+)\)")
_CODE: Final = re.compile(r"`+[^`\n]*`+")


def pages() -> list[Path]:
    """Every page."""
    top = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")]
    return [*top, *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "changelog.d").glob("*.md"))]


def page(name: str) -> str:
    """The text of `docs/<name>`."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


@dataclass(frozen=True)
class Block:
    """A fenced block of code; `heading` is the one that it stands under."""

    language: str
    code: str
    heading: str


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page."""
    for match in _FENCE.finditer(text):
        before = _HEADING.findall(_FENCE.sub("", text[: match.start()]))
        yield Block(match[1], match[2], before[-1] if before else "")


def rows(text: str) -> list[list[str]]:
    """The cells of every table's body, in order. A cell's `\\|` is a bar."""
    found: list[list[str]] = []
    is_body = False
    for line in _FENCE.sub("", text).splitlines():
        if not line.startswith("|"):
            is_body = False
        elif set(line) <= set("|-: "):
            is_body = True
        elif is_body:
            cells = re.split(r"(?<!\\)\|", line.strip().removeprefix("|").removesuffix("|"))
            found.append([cell.strip().replace("\\|", "|") for cell in cells])
    return found


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next of the same level or a higher one."""
    match = re.search(rf"^(#+) {re.escape(heading)}\s*$", text, re.MULTILINE)
    assert match is not None, f"there is no heading {heading!r}"
    end = re.search(rf"^#{{1,{len(match[1])}}} ", text[match.end() :], re.MULTILINE)
    return text[match.end() :][: end.start() if end else None]


def codes(text: str) -> set[str]:
    """Every text in backticks."""
    return {code.strip("`") for code in _CODE.findall(_FENCE.sub("", text))}


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = 0
        while (name := f"{anchor}-{number}" if number else anchor) in found:
            number += 1
        found.add(name)
    return found


def links(text: str) -> Sequence[str]:
    """The targets of a page's links and images."""
    return _LINK.findall(_CODE.sub("", _COMMENT.sub("", _FENCE.sub("", text))))
