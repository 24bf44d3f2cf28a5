"""JSON as a script sees it, and back."""

import math
from typing import Final

import starlark

#: How deep what a script hands out may nest.
DEPTH: Final = 64

_LARGEST: Final = 1 << 63  # of the integers that every reader of JSON takes


class Record(starlark.Dict):
    """A dict whose values are attributes too: `run["status"]` and `run.status`."""

    __slots__ = ()

    @property
    def fields(self) -> dict[str, object]:
        """What the interpreter looks attributes up in."""
        return self._data


def to_script(value: object) -> object:
    """JSON as values that cannot be changed."""
    match value:
        case dict():
            return Record({key: to_script(one) for key, one in value.items()}, starlark.IMMUTABLE)
        case list():
            return starlark.StarlarkList([to_script(one) for one in value], starlark.IMMUTABLE)
        case _:
            return value


def to_json(value: object, depth: int = 0) -> object:
    """Raises EvalError for what JSON has no form for."""
    if depth > DEPTH:
        raise starlark.EvalError(f"the value nests deeper than {DEPTH} levels")
    match value:
        case None | bool() | str():
            return value
        case int():
            if not -_LARGEST <= value < _LARGEST:
                raise starlark.EvalError("the integer is too large for JSON: 64 bits is the most")
            return value
        case float():
            if not math.isfinite(value):
                raise starlark.EvalError("the number is not finite, and JSON has no form for it")
            return value
        case starlark.Dict():
            return {_key(key): to_json(one, depth + 1) for key, one in value.items()}
        case starlark.StarlarkList() | tuple() | starlark.Range():
            return [to_json(one, depth + 1) for one in value]
        case _:
            kind = getattr(value, "_starlark_type", type(value).__name__)
            raise starlark.EvalError(f"a {kind} has no form in JSON")


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise starlark.EvalError("the keys of a dict must be strings to become JSON")
    return key
