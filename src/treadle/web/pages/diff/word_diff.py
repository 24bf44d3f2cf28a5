"""Which words of a changed line changed, beside the line that it was."""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

_WORD = re.compile(r"\w+|\s+|[^\w\s]", re.DOTALL)

#: Lines of more words than these are not compared word by word.
MAX_WORDS = 240

#: Lines that have less than this share of their characters in common are different lines, with no words to point at.
LEAST_ALIKE = 0.4

Range = tuple[int, int]


def changed_words(old: str, new: str) -> tuple[Sequence[Range], Sequence[Range]]:
    """Stretches of `old` that went, and of `new` that came, as pairs of places; none where the lines are not alike."""
    if old == new:
        return (), ()
    before, after = _WORD.findall(old), _WORD.findall(new)
    start = _alike(before, after)
    end = _alike(before[start:][::-1], after[start:][::-1])
    inner_old, inner_new = before[start : len(before) - end], after[start : len(after) - end]
    if len(inner_old) > MAX_WORDS or len(inner_new) > MAX_WORDS:
        return (), ()
    matcher = SequenceMatcher(None, inner_old, inner_new, autojunk=False)
    removed, added = list[Range](), list[Range]()
    old_at = new_at = sum(map(len, before[:start]))
    alike = _letters(before[:start]) + _letters(before[len(before) - end :])
    for kind, i1, i2, j1, j2 in matcher.get_opcodes():
        old_end = old_at + sum(map(len, inner_old[i1:i2]))
        new_end = new_at + sum(map(len, inner_new[j1:j2]))
        if kind == "equal":
            alike += _letters(inner_old[i1:i2])
        else:
            _add(removed, old, (old_at, old_end))
            _add(added, new, (new_at, new_end))
        old_at, new_at = old_end, new_end
    if 2 * alike < LEAST_ALIKE * (_letters(before) + _letters(after)):
        return (), ()
    return removed, added


def _add(ranges: list[Range], text: str, found: Range) -> None:
    """Two stretches with nothing but blanks between them read better as one."""
    if found[0] == found[1]:
        return
    if ranges and not text[ranges[-1][1] : found[0]].strip():
        found = (ranges.pop()[0], found[1])
    ranges.append(found)


def _alike(one: Sequence[str], other: Sequence[str]) -> int:
    """How many words they begin with alike."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def _letters(words: Sequence[str]) -> int:
    """Characters that are no blanks: indentation makes no two lines alike."""
    return sum(len(word) for word in words if not word.isspace())
