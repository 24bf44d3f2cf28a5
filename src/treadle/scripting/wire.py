"""The API's names as a script has them: `gitUrl` is `git_url`, in what it gives and in what it is answered."""

import re
from collections.abc import Mapping
from typing import Final

from treadle.ports.scripting import JsonObject, JsonValue

_UPPER: Final = re.compile(r"(?<=[a-z0-9])([A-Z])")
_LOWER: Final = re.compile(r"(?<=[a-z0-9])_([a-z0-9])")

#: What a step may be called by, too.
_STEP_NAMES: Final[Mapping[str, str]] = {
    "text": "step",
    "is_commitable": "isCommitableStep",
    "is_structured": "isStructuredOutput",
}


def to_wire_name(name: str) -> str:
    """`git_url` as `gitUrl`."""
    return _LOWER.sub(lambda found: found[1].upper(), name)


def to_script(value: object) -> JsonValue:
    """JSON of the API with the names of all its objects as a script has them."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Mapping():
            return {
                _UPPER.sub(lambda found: f"_{found[1].lower()}", str(key)): to_script(one) for key, one in value.items()
            }
        case list() | tuple():
            return [to_script(one) for one in value]
        case _:
            return str(value)


def step_json(step: JsonValue) -> JsonValue:
    """A step as the API takes it: a text is a commitable one, `{"analysis": text}` one that changes nothing, any other
    dict has the API's names. What is neither goes as it is, for the API to refuse."""
    if isinstance(step, str):
        return {"step": step, "isCommitableStep": True, "isStructuredOutput": False}
    if not isinstance(step, dict):
        return step
    if "analysis" not in step:
        return _renamed(step)
    rest = {name: value for name, value in step.items() if name != "analysis"}
    return {"step": step["analysis"], "isCommitableStep": False, **_renamed(rest)}


def _renamed(step: Mapping[str, JsonValue]) -> JsonObject:
    return {_STEP_NAMES.get(name) or to_wire_name(name): value for name, value in step.items()}
