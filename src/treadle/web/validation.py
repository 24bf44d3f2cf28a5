"""Validation commands in forms: one a line, and how often the engine may mend what fails."""

import json
from collections.abc import Mapping

from treadle.domain.errors import InvalidInput
from treadle.domain.validation import DEFAULT_TRIES, MAX_TRIES, ValidationRules

_WHOLE = f"Must be a whole number from 0 to {MAX_TRIES}."

#: With this a text is JSON: commands of several lines stand in no other.
_JSON = '["'


def rules_of(commands: str, tries: str, *, is_none: bool = False) -> ValidationRules | None:
    """None where nothing is written: the repository's count. `is_none`: nothing is asked, whatever the repository asks.
    Raises InvalidInput at the form's fields."""
    if is_none:
        if commands.strip():
            raise InvalidInput({"validate": ["Give commands, or ask for none: not both."]})
        return ValidationRules()
    if not commands.strip():
        return None
    if not (tries.isascii() and tries.isdecimal() and len(tries) < 4) and tries:  # noqa: PLR2004 - digits
        raise InvalidInput({"tries": [_WHOLE]})
    number = int(tries) if tries else DEFAULT_TRIES
    if number > MAX_TRIES:
        raise InvalidInput({"tries": [_WHOLE]})
    try:
        return ValidationRules.read({"commands": _commands(commands), "tries": number})
    except ValueError as error:
        raise InvalidInput({"validate": [str(error)]}) from None


def validation_values(rules: ValidationRules | None) -> Mapping[str, str]:
    """What `rules_of` reads, by the forms' fields."""
    if rules is None:
        return {"validate": "", "tries": "", "unvalidated": ""}
    if not rules.commands:
        return {"validate": "", "tries": "", "unvalidated": "1"}
    lines = "\n".join(rules.commands)
    if len(lines.split("\n")) > len(rules.commands) or lines.lstrip().startswith(_JSON):
        lines = json.dumps(rules.commands, ensure_ascii=False)
    return {"validate": lines, "tries": str(rules.tries), "unvalidated": ""}


def _commands(text: str) -> list[object]:
    if text.lstrip().startswith(_JSON):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError("Is not JSON of a list of commands.") from None
        return found if isinstance(found, list) else [found]
    return [line.strip() for line in text.splitlines() if line.strip()]
