"""What a model says, lightly set: fenced code, headings, code and strong words within a line. All the rest stays as it
was written, and all of it is text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from markupsafe import Markup

from treadle.web.text import visible

_FENCE = re.compile(r"^[ \t]{0,3}(```+|~~~+)")
_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t#]*$")
_INLINE = re.compile(r"(?P<code>`[^`\n]{1,500}`)|(?P<strong>\*\*[^*\n]{1,500}\*\*)")


class PartKind(StrEnum):
    TEXT = "text"
    CODE = "code"
    HEADING = "heading"


@dataclass(frozen=True, slots=True)
class Part:
    kind: PartKind
    html: Markup


def prose(text: str) -> Sequence[Part]:
    """Parts in order. The text is to be bounded before."""
    parts: list[Part] = []
    plain: list[str] = []
    code: list[str] = []
    fence: str | None = None

    def close() -> None:
        if said := "\n".join(plain).strip("\n"):
            parts.append(Part(PartKind.TEXT, _inline(said)))
        plain.clear()

    for line in text.split("\n"):
        mark = _FENCE.match(line)
        if fence is not None:
            if mark is not None and mark[1].startswith(fence) and not line.strip(" \t`~"):
                parts.append(Part(PartKind.CODE, visible("\n".join(code))))
                code.clear()
                fence = None
            else:
                code.append(line)
        elif mark is not None:
            close()
            fence = mark[1]
        elif (heading := _HEADING.match(line)) is not None:
            close()
            parts.append(Part(PartKind.HEADING, _inline(heading[1])))
        else:
            plain.append(line)
    close()
    if fence is not None and code:  # a fence that nobody closed, or that was cut off
        parts.append(Part(PartKind.CODE, visible("\n".join(code))))
    return parts


def _inline(text: str) -> Markup:
    found, at = [], 0
    for match in _INLINE.finditer(text):
        found.append(visible(text[at : match.start()]))
        if match["code"]:
            found.append(Markup("<code>{}</code>").format(visible(match["code"][1:-1])))
        else:
            found.append(Markup("<strong>{}</strong>").format(visible(match["strong"][2:-2])))
        at = match.end()
    return Markup("").join([*found, visible(text[at:])])
