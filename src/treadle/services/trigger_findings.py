"""What a review found, as far as an answer says it in JSON. Models word it in several ways; what is no finding is left
in the text. Pure."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Final

from treadle.ports.conversations import Finding

#: Findings that are taken of one review, and characters of each.
MAX_REVIEW_FINDINGS = 100
MAX_FINDING_TEXT = 5_000

#: Places in a text where JSON is looked for, and characters that are read for it: one may lie in another.
_PLACES: Final = 200
_READ: Final = 1_000_000
_FENCED: Final = re.compile(r"```[ \t]*(?:json)?[ \t]*\n(.*?)```", re.DOTALL | re.IGNORECASE)
_PATHS: Final = ("path", "file", "filename")
_LINES: Final = ("line", "start_line", "lineNumber", "line_number")
_TEXTS: Final = ("text", "comment", "message", "body", "description")
_LARGEST_LINE: Final = 10_000_000


def findings_in(answer: str) -> tuple[Sequence[Finding], str]:
    """The findings, and the answer without the JSON that held them."""
    for start, end, text in _candidates(answer):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            continue
        found = _findings(value)
        if found is not None:
            return found[:MAX_REVIEW_FINDINGS], f"{answer[:start].rstrip()}\n{answer[end:].lstrip()}".strip()
    return (), answer.strip()


def _candidates(answer: str) -> Iterator[tuple[int, int, str]]:
    """Blocks first, the last of them before the others; then whatever begins like JSON."""
    for match in reversed(list(_FENCED.finditer(answer))):
        yield match.start(), match.end(), match[1]
    decoder = json.JSONDecoder()
    at, read = -1, 0
    for _ in range(_PLACES):
        places = [place for place in (answer.find("[", at + 1), answer.find("{", at + 1)) if place >= 0]
        if not places or read > _READ:
            return
        at = min(places)
        try:
            _, end = decoder.raw_decode(answer, at)
        except json.JSONDecodeError as error:
            read += error.pos - at
            continue
        except (ValueError, RecursionError):
            continue
        read += end - at
        yield at, end, answer[at:end]


def _findings(value: object) -> list[Finding] | None:
    """None for what is no list of findings."""
    if isinstance(value, dict):
        inner = next((value[name] for name in ("findings", "comments", "issues") if name in value), None)
        value = inner if isinstance(inner, list) else [value] if _finding(value) else None
    if not isinstance(value, list):
        return None
    found = [one for one in map(_finding, value) if one is not None]
    return found if found or not value else None


def _finding(value: object) -> Finding | None:
    if not isinstance(value, dict):
        return None
    path = next((value[name] for name in _PATHS if isinstance(value.get(name), str)), "").strip()
    text = next((value[name] for name in _TEXTS if isinstance(value.get(name), str)), "").strip()
    line = next((value[name] for name in _LINES if value.get(name) is not None), None)
    if isinstance(line, str) and line.isascii() and line.isdecimal():
        line = int(line[:9])
    if not isinstance(line, int) or isinstance(line, bool) or not 0 < line < _LARGEST_LINE or not path or not text:
        return None
    return Finding(path.removeprefix("./"), line, text[:MAX_FINDING_TEXT])
