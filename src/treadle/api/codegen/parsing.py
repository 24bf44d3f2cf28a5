"""Requests read as FastAPI reads them, and refused in its words: clients of this API know
`{"detail": [{loc, msg, type}]}` and nothing else."""

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import Request

from treadle.api.bodies import header, read_bytes
from treadle.domain.events import JsonObject, JsonValue

#: What was sent is told back beside a fault, unless its JSON is longer, in characters.
MAX_INPUT = 1_000

#: More faults than these are not written out.
MAX_FAULTS = 100

#: Longer bodies are read beside the loop, in bytes.
_AT_ONCE = 1 << 18

Model = TypeVar("Model", bound=BaseModel)
Location = tuple[str | int, ...]

_integer: TypeAdapter[int] = TypeAdapter(int)
_MISSING: Final = object()
_NO_OBJECT = "Input should be a valid dictionary or object to extract fields from"


class Unprocessable(Exception):
    """What was sent is not what the specification asks for (422)."""

    def __init__(self, faults: Sequence[JsonObject]) -> None:
        super().__init__(f"{len(faults)} faults")
        self.faults = faults[:MAX_FAULTS]


def fault(location: Location, said: str, kind: str = "value_error", given: object = _MISSING) -> JsonObject:
    """One fault. `given`: what was sent there."""
    shown: dict[str, JsonValue] = {"type": kind, "loc": list(location), "msg": said}
    if given is not _MISSING and (value := _shown(given)) is not _MISSING:
        shown["input"] = value
    return shown


def path_numbers(request: Request, texts: Sequence[str]) -> Mapping[str, int]:
    """The path's parameters as whole numbers, but for those called as in `texts`. Raises Unprocessable."""
    found, faults = dict[str, int](), list[JsonObject]()
    for name, text in request.path_params.items():
        if name in texts:
            continue
        try:
            found[name] = _integer.validate_python(text)
        except ValidationError as error:
            faults += _faults(error, ("path", name))
    if faults:
        raise Unprocessable(faults)
    return found


def read_query(request: Request, model: type[Model], known: Mapping[str, str] | None = None) -> Model:
    """The query's parameters; of a repeated one the last. `known` are used where they are not given. Raises
    Unprocessable."""
    try:
        return model.model_validate({**(known or {}), **request.query_params})
    except ValidationError as error:
        raise Unprocessable(_faults(error, ("query",))) from None


async def read_body(request: Request, model: type[Model], limit: int) -> Model:
    """The JSON body. Raises Unprocessable, and TooLarge past `limit` bytes."""
    body = await read_bytes(request, limit)

    def read() -> Model:
        try:
            return model.model_validate(_value(request, body))
        except ValidationError as error:
            raise Unprocessable(_faults(error, ("body",))) from None

    return read() if len(body) <= _AT_ONCE else await asyncio.to_thread(read)


def _value(request: Request, body: bytes) -> object:
    if not body:
        raise Unprocessable([fault(("body",), "Field required", "missing", None)])
    media_type = header(request, b"content-type", "application/json").partition(";")[0].strip().lower()
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        return body.decode(errors="replace")  # which is no object, and is refused as such
    try:
        return json.loads(body, parse_constant=_refuse, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise Unprocessable([_no_json(error.msg, error.pos)]) from None
    except RecursionError:
        raise Unprocessable([_no_json("Nested too deeply", 0)]) from None
    except ValueError as error:  # no UTF-8, a number without end or too large, NaN
        raise Unprocessable([_no_json(str(error) if str(error).isascii() else "Not UTF-8", 0)]) from None


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON")


def _finite(number: str) -> float:
    """Of `1e999` Python makes an infinity, which no answer could tell again."""
    found = float(number)
    if math.isinf(found):
        raise ValueError("Number out of range")
    return found


def _no_json(said: str, at: int) -> JsonObject:
    return {
        "type": "json_invalid",
        "loc": ["body", at],
        "msg": "JSON decode error",
        "input": {},
        "ctx": {"error": said},
    }


def _faults(error: ValidationError, where: Location) -> list[JsonObject]:
    found = list[JsonObject]()
    for each in error.errors(include_url=False):
        place: Location = (*where, *(part[:200] if isinstance(part, str) else part for part in each["loc"]))
        kind, said = each["type"], each["msg"]
        if kind == "model_type":  # FastAPI's word for it
            found.append(fault(place, _NO_OBJECT, "model_attributes_type", each["input"]))
            continue
        given = None if kind == "missing" and where[0] != "body" else each["input"]
        context: dict[str, JsonValue] = {
            name: value if isinstance(value, int | float | bool) else str(value)
            for name, value in each.get("ctx", {}).items()
        }
        found.append({**fault(place, said, kind, given), **({"ctx": context} if context else {})})
    return found


def _shown(given: object) -> Any:
    try:
        return given if len(json.dumps(given)) <= MAX_INPUT else _MISSING
    except (TypeError, ValueError, RecursionError):
        return _MISSING
