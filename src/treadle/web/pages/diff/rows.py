"""Lines of a diff as HTML, unified or side by side. Made by hand, not by a template: a page has thousands of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from markupsafe import Markup

from treadle.domain.diff import LineKind
from treadle.web.pages.diff.highlighting import Span
from treadle.web.pages.diff.lines import Line
from treadle.web.pages.diff.markup import code
from treadle.web.pages.diff.word_diff import Range, changed_words
from treadle.web.text import count

_CR = '<span class="cr" title="U+000D carriage return">CR</span>'
_NO_NEWLINE = '<span class="end-note">no newline at the end</span>'


class Layout(StrEnum):
    """How the two sides of a diff are shown."""

    UNIFIED = "unified"
    SPLIT = "split"


@dataclass(frozen=True, slots=True)
class Coloured:
    """A line, its colours and its changed words."""

    line: Line
    spans: Sequence[Span] = ()
    words: Sequence[Range] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """Lines in context, or lines that went with those that came in their place."""

    context: tuple[Coloured, ...] = ()
    removed: tuple[Coloured, ...] = ()
    added: tuple[Coloured, ...] = ()


def blocks(lines: Sequence[Coloured]) -> Iterator[Block]:
    """In order; every line is in one of them, once."""
    context: list[Coloured] = []
    removed: list[Coloured] = []
    added: list[Coloured] = []
    for each in lines:
        kind = each.line.kind
        if (kind is LineKind.CONTEXT or (kind is LineKind.REMOVED and added)) and (removed or added):
            yield _change(removed, added)
            removed, added = [], []
        if kind is not LineKind.CONTEXT and context:
            yield Block(context=tuple(context))
            context = []
        {LineKind.CONTEXT: context, LineKind.REMOVED: removed, LineKind.ADDED: added}[kind].append(each)
    if context:
        yield Block(context=tuple(context))
    if removed or added:
        yield _change(removed, added)


def _change(removed: Sequence[Coloured], added: Sequence[Coloured]) -> Block:
    """With the changed words of lines that stand opposite each other."""
    before, after = list(removed), list(added)
    for at, (old, new) in enumerate(zip(removed, added, strict=False)):
        went, came = changed_words(old.line.content, new.line.content)
        if went or came:
            before[at] = Coloured(old.line, old.spans, went)
            after[at] = Coloured(new.line, new.spans, came)
    return Block(removed=tuple(before), added=tuple(after))


def html(at: int, lines: Sequence[Coloured], layout: Layout) -> Markup:
    """`at`: the file's place in the diff, for the lines' anchors."""
    show = _unified if layout is Layout.UNIFIED else _split
    return Markup("".join(show(at, block) for block in blocks(lines)))  # noqa: S704 - made of escaped pieces


def _unified(at: int, block: Block) -> str:
    return "".join(
        f'<div class="ln {_LETTERS[each.line.kind]}">{_old(at, each.line)}{_new(at, each.line)}{_text(each)}</div>'
        for each in (*block.context, *block.removed, *block.added)
    )


def _split(at: int, block: Block) -> str:
    parts = ['<div class="pair">']
    for each in block.context:
        parts.append(f'<div class="ln c l">{_old(at, each.line)}{_text(each)}</div>')
        parts.append(f'<div class="ln c r">{_new(at, each.line)}{_text(each)}</div>')
    for number in range(max(len(block.removed), len(block.added))):
        for kind, side, number_of in ((block.removed, "l", _old), (block.added, "r", _new)):
            if number < len(kind):
                each = kind[number]
                letter = _LETTERS[each.line.kind]
                parts.append(f'<div class="ln {letter} {side}">{number_of(at, each.line)}{_text(each)}</div>')
            else:
                parts.append(f'<div class="ln e {side}"></div>')
    return "".join([*parts, "</div>"])


_LETTERS = {LineKind.CONTEXT: "c", LineKind.ADDED: "a", LineKind.REMOVED: "d"}
_MARKS = {LineKind.CONTEXT: " ", LineKind.ADDED: "+", LineKind.REMOVED: "-"}


def _old(at: int, line: Line) -> str:
    return _number(f"f{at}L", line.old)


def _new(at: int, line: Line) -> str:
    return _number(f"f{at}R", line.new)


def _number(prefix: str, number: int | None) -> str:
    if number is None:
        return "<b></b>"
    # Not reached by the tabulator: there are thousands, and the keys `n` and `p` go from file to file.
    return f'<a id="{prefix}{number}" href="#{prefix}{number}" tabindex="-1">{number}</a>'


def _text(each: Coloured) -> str:
    line = each.line
    content, end = line.content, ""
    if line.ends_in_cr and not line.cut:
        content = content[:-1]
        end = _CR if line.kind is not LineKind.CONTEXT else ""
    if line.cut:
        end += f'<span class="end-note">… {count(line.cut)} more characters are not shown</span>'
    if line.no_newline:
        end += _NO_NEWLINE
    words = [(begin, min(stop, len(content))) for begin, stop in each.words if begin < len(content)]
    return f"<i>{_MARKS[line.kind]}</i><code>{code(content, each.spans, words)}{end}</code>"
