"""What is said of a field that the parser refuses: words of ours, which repeat nothing that was given."""

import difflib
from collections.abc import Collection, Mapping, Sequence

from pydantic_core import ErrorDetails

from treadle.services.run_rules import EMPTY, REQUIRED, TOO_LONG

#: The path of a fault of the whole body.
ROOT = "$"

#: Of a name in a path, so many characters are shown.
_SHOWN = 100

_NUMBER = "Must be a number."
_WHOLE = "Must be a whole number."
_OBJECT = "Must be an object."
_SWITCH = "Must be true or false."
_DATE = "Must be a date and time of ISO 8601."

#: For each kind of error.
_SAID: Mapping[str, str] = {
    "missing": REQUIRED,
    "string_type": "Must be a string.",
    "string_unicode": "Must not hold half of a surrogate pair.",
    "bool_type": _SWITCH,
    "bool_parsing": _SWITCH,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_from_float": _WHOLE,
    "greater_than_equal": "Must be at least {ge:,}.",
    "less_than_equal": "Must be at most {le:,}.",
    "list_type": "Must be an array.",
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "dict_type": _OBJECT,
    "uuid_type": "Must be a UUID.",
    "uuid_parsing": "Must be a UUID.",
    "enum": "Must be {expected}.",
    "literal_error": "Must be {expected}.",
    "string_too_short": EMPTY,
    "string_too_long": TOO_LONG,
    "datetime_type": _DATE,
    "datetime_parsing": _DATE,
    "datetime_from_date_parsing": _DATE,
    "datetime_object_invalid": _DATE,
}


def path_of(location: Sequence[str | int]) -> str:
    """`("steps", 0, "step")` as `steps[0].step`."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part[:_SHOWN]}" if path else part[:_SHOWN]
    return path or ROOT


def words_of(fault: ErrorDetails, names: Collection[str]) -> str | None:
    """None for a kind that has no words here, such as a validator's own. `names`: of the fields that there are."""
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(fault["loc"][-1])[:_SHOWN], names, n=1)
        return f"Is not a known field; did you mean {near[0]}?" if near else "Is not a known field."
    said = _SAID.get(fault["type"])
    return said.format(**fault.get("ctx", {})) if said else None
