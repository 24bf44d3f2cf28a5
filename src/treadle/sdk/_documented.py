"""One text for both clients."""

from collections.abc import Callable
from typing import TypeVar

C = TypeVar("C")


def documented_as(source: type) -> Callable[[type[C]], type[C]]:
    """Gives the methods of a class the docstrings of `source`'s."""

    def document(target: type[C]) -> type[C]:
        for name, member in vars(target).items():
            if callable(member) and not name.startswith("_"):
                member.__doc__ = getattr(source, name).__doc__
        return target

    return document
