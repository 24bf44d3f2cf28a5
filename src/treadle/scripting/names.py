"""Names that nothing gives are found before a script begins, not after it has waited for hours."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Final

import starlark
from starlark.syntax import Binding, FileLocations, Lexer, Scope, TokenKind, ast
from starlark.syntax.errors import SyntaxError as Wrong

_OTHER_FILES: Final = (TokenKind.LOAD, TokenKind.IMPORT)


def check(source: str, name: str, predeclared: frozenset[str]) -> None:
    """Raises StarlarkSyntaxException for what does not parse, and for unknown names."""
    _refuse_other_files(source, name)
    file = starlark.parse(source, name)
    locations = FileLocations(name, source)
    universal = frozenset(starlark.make_universal())
    starlark.resolve(file, locations, predeclared, universal)
    errors = list(file.errors)
    for found in _identifiers(file):
        if isinstance(found.binding, Binding) and found.binding.scope == Scope.GLOBAL:
            known = found.name in file.globals or found.name in predeclared or found.name in universal
            if not known:
                errors.append(Wrong(locations.position(found.start), f"name '{found.name}' is not defined"))
    if errors:
        raise starlark.StarlarkSyntaxException(errors)


def _refuse_other_files(source: str, name: str) -> None:
    """The interpreter's own words would have one look for what there is not. Raises StarlarkSyntaxException."""
    if not any(kind.value in source for kind in _OTHER_FILES):
        return
    lexer = Lexer(source, name)
    token = lexer.next_token()
    while token.kind not in (*_OTHER_FILES, TokenKind.EOF):
        token = lexer.next_token()
    if token.kind in _OTHER_FILES and not lexer.errors:
        said = f"A script is one file: there is no `{token.kind.value}`"
        raise starlark.StarlarkSyntaxException([Wrong(lexer.locs.position(token.start), said)])


def _identifiers(root: object) -> Iterator[ast.Identifier]:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Identifier):
            yield node
        elif isinstance(node, list | tuple):
            waiting += reversed(node)
        elif is_dataclass(node) and not isinstance(node, type):
            waiting += [getattr(node, one.name) for one in reversed(fields(node))]
