"""JSON that people write."""

import json
from collections import Counter

#: Of a name, so many characters are shown.
_SHOWN = 100


class RepeatedName(ValueError):
    """An object of the text has a name more than once, of which a parser would take the last and say nothing."""

    def __init__(self, name: str) -> None:
        self.name = ascii(name)[1:-1][:_SHOWN]
        super().__init__(f"has the name `{self.name}` more than once in an object")


def read_json_text(text: str | bytes) -> object:
    """Raises RepeatedName, and ValueError or RecursionError for what is no JSON."""
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counted = Counter(name for name, _ in pairs)
        raise RepeatedName(next(name for name, times in counted.items() if times > 1))
    return found
