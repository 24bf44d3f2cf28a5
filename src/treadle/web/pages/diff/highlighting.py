"""Colours for code: Pygments' tokens as a few CSS classes of our own, line by line."""

from collections.abc import Sequence
from functools import lru_cache

from pygments.lexer import Lexer
from pygments.lexers import find_lexer_class_for_filename
from pygments.token import Comment, Generic, Keyword, Literal, Name, Number, Operator, Punctuation, String, _TokenType
from pygments.util import ClassNotFound

from treadle.web.text import MAX_SHOWN_LINE

#: Text of more characters than these is shown plain.
MAX_HIGHLIGHTED = 200_000

#: (class, where it begins, where it ends) in a line.
Span = tuple[str, int, int]
Spans = Sequence[Span]
#: Those of each line of a text.
Colours = Sequence[Spans]

#: Most special first; what is in none of them is plain. The classes are in static/diff.css.
_CLASSES: tuple[tuple[_TokenType, str], ...] = (
    (Comment.Preproc, "hp"),
    (Comment, "hc"),
    (String.Doc, "hc"),
    (String.Escape, "he"),
    (String.Interpol, "he"),
    (String, "hs"),
    (Number, "hn"),
    (Literal, "hs"),
    (Keyword.Constant, "hn"),
    (Keyword.Type, "ht"),
    (Keyword, "hk"),
    (Operator.Word, "hk"),
    (Name.Function, "hf"),
    (Name.Class, "ht"),
    (Name.Builtin, "hb"),
    (Name.Exception, "ht"),
    (Name.Decorator, "hp"),
    (Name.Tag, "hk"),
    (Name.Attribute, "hf"),
    (Name.Constant, "hn"),
    (Name.Variable, "hv"),
    (Name.Namespace, "hv"),
    (Generic.Heading, "hk"),
    (Generic.Subheading, "hk"),
    (Generic.Strong, "hk"),
    (Generic.Emph, "hs"),
    (Punctuation, ""),
)


def highlight(path: str, lines: Sequence[str]) -> Colours | None:
    """Spans for each of the lines, read as one text; None for text that stays plain: of no known language, too much,
    or with lines that nobody wrote by hand."""
    lexer = _lexer(path.rpartition("/")[2])
    if lexer is None or sum(map(len, lines)) + len(lines) > MAX_HIGHLIGHTED:
        return None
    if any(len(line) >= MAX_SHOWN_LINE for line in lines):
        return None
    found: list[list[Span]] = [[] for _ in lines]
    number, column = 0, 0
    for _, kind, text in lexer.get_tokens_unprocessed("\n".join(lines)):
        name = _class(kind)
        for more, piece in enumerate(text.split("\n")):
            if more:
                number, column = number + 1, 0
            if piece and name and number < len(found):
                found[number].append((name, column, column + len(piece)))
            column += len(piece)
    return found


@lru_cache(maxsize=500)
def _lexer(name: str) -> Lexer | None:
    """By the file's name alone: to guess by content is slow, and often wrong."""
    try:
        found = find_lexer_class_for_filename(name[-200:])
    except (ClassNotFound, ValueError):
        return None
    return None if found is None or found.name == "Text only" else found()


@lru_cache(maxsize=1000)
def _class(kind: _TokenType) -> str:
    return next((name for special, name in _CLASSES if _is(kind, special)), "")


def _is(kind: _TokenType, special: _TokenType) -> bool:
    return kind[: len(special)] == special  # what `in` means for them, which type checkers take for a tuple's
