"""A line of code as HTML: colours, changed words, and nothing hidden."""

import re
from collections.abc import Sequence
from itertools import pairwise

from markupsafe import Markup, escape

from treadle.web.pages.diff.highlighting import Span
from treadle.web.pages.diff.word_diff import Range
from treadle.web.text import visible

#: What may end a line on a screen, or begin a terminal's sequence, which `visible` takes away: in code nothing goes.
_APART = re.compile("[\x1b\r\u2028\u2029]")
_NAMES = {
    "\x1b": ("U+001B escape", "ESC"),
    "\r": ("U+000D carriage return", "CR"),
    "\u2028": ("U+2028 line separator", "U+2028"),
    "\u2029": ("U+2029 paragraph separator", "U+2029"),
}


def revealed(text: str) -> Markup:
    """As `visible`, with every character there."""
    if text.isascii() and text.isprintable():
        return escape(text)
    parts, at = list[Markup](), 0
    for match in _APART.finditer(text):
        parts.append(visible(text[at : match.start()]))
        title, shown = _NAMES[match[0]]
        parts.append(Markup('<span class="hidden-character" title="{}">{}</span>').format(title, shown))
        at = match.end()
    return Markup("").join([*parts, visible(text[at:])])


def code(text: str, spans: Sequence[Span] = (), words: Sequence[Range] = ()) -> Markup:
    """`spans` and `words` are in order, and none overlaps another of its kind; the text of what comes out is `text`,
    but for the codes that stand for what cannot be seen."""
    if not spans and not words:
        return revealed(text)
    places = {0, len(text)}
    places.update(place for _, begin, end in spans for place in (begin, end))
    places.update(place for each in words for place in each)
    edges = sorted(place for place in places if 0 <= place <= len(text))
    parts, span, word = list[str](), 0, 0
    for begin, end in pairwise(edges):
        while span < len(spans) and spans[span][2] <= begin:
            span += 1
        while word < len(words) and words[word][1] <= begin:
            word += 1
        name = spans[span][0] if span < len(spans) and spans[span][1] <= begin else ""
        is_word = word < len(words) and words[word][0] <= begin
        piece = revealed(text[begin:end])
        if is_word:
            name = f"w {name}" if name else "w"
        parts.append(f'<span class="{name}">{piece}</span>' if name else piece)
    return Markup("".join(parts))  # noqa: S704 - every piece is escaped, and the classes are our own
