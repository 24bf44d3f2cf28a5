"""JSON bodies read into models, naming every fault at once by the path of its field."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Generic, TypeVar, cast

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from treadle.api.fault_words import ROOT, path_of, words_of
from treadle.domain.errors import InvalidInput

#: More faults than these are not written out.
MAX_FAULTS = 200

Model = TypeVar("Model", bound=BaseModel)
Faults = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Reading(Generic[Model]):
    """What a body holds. `model` is None when there are faults; then `values` still has the fields that are right, and
    arrays with something wrong inside as they came. `wrong` names those that are not."""

    model: Model | None
    values: Mapping[str, Any]
    faults: Faults
    wrong: frozenset[str] = frozenset()

    def has(self, name: str) -> bool:
        """Whether a field is there and not null, right or wrong."""
        return self.values.get(name) is not None or name in self.wrong


def read(model: type[Model], body: bytes) -> Reading[Model]:
    """Raises InvalidInput at once only for what is no JSON object."""
    try:
        found = model.model_validate_json(body)
    except ValidationError as error:
        return _read_faulty(model, body, error)
    return _reading(found)


def add(faults: Faults, path: str, said: str) -> None:
    """Notes one more fault."""
    faults.setdefault(path, []).append(said)


def _reading(found: Model) -> Reading[Model]:
    return Reading(found, found.__dict__, {})


def _read_faulty(model: type[Model], body: bytes, error: ValidationError) -> Reading[Model]:
    raw = _object(body)
    if any(fault["type"] == "json_invalid" for fault in _details(error)):
        # The fast parser refuses halves of surrogate pairs as bad JSON, without saying in which field.
        try:
            return _reading(model.model_validate(raw))
        except ValidationError as other:
            error = other
    faults: Faults = {}
    details = _details(error)
    for fault in details[:MAX_FAULTS]:
        add(faults, path_of(fault["loc"]), _sentence(fault, model))
    aliases = {str(fault["loc"][0]) for fault in details if fault["loc"]}
    misshapen = {str(fault["loc"][0]) for fault in details if len(fault["loc"]) == 1}
    values, wrong = dict[str, Any](), set[str]()
    for name, adapter in _fields(model).items():
        alias = model.model_fields[name].alias or name
        value = raw.get(alias)
        if value is None:
            continue
        if alias not in aliases:
            try:
                values[name] = adapter.validate_python(value)
            except ValidationError:  # a name that is no text hides what else is wrong
                wrong.add(name)
        elif isinstance(value, (list, dict)) and alias not in misshapen:
            values[name] = value
        else:
            wrong.add(name)
    return Reading(None, values, faults, frozenset(wrong))


def _object(body: bytes) -> dict[str, Any]:
    try:
        raw = json.loads(body.decode())
    except RecursionError:
        raise InvalidInput({ROOT: ["Is nested too deeply."]}) from None
    except json.JSONDecodeError as error:
        raise InvalidInput({ROOT: [f"Is not JSON: {error.msg} at line {error.lineno} column {error.colno}."]}) from None
    except UnicodeDecodeError:
        raise InvalidInput({ROOT: ["Is not JSON in UTF-8."]}) from None
    except ValueError:
        raise InvalidInput({ROOT: ["Holds a number that is too long."]}) from None
    if not isinstance(raw, dict):
        raise InvalidInput({ROOT: ["Must be a JSON object."]})
    return raw


@cache
def _fields(model: type[BaseModel]) -> Mapping[str, TypeAdapter[Any]]:
    """A reader for each field alone."""
    return {
        name: TypeAdapter(
            cast("Any", Annotated[(field.annotation, *field.metadata, None)])
        )  # None: in case of no others
        for name, field in model.model_fields.items()
    }


def _details(error: ValidationError) -> Sequence[ErrorDetails]:
    return error.errors(include_url=False, include_input=False)


def _sentence(fault: ErrorDetails, model: type[BaseModel]) -> str:
    """What our own validators refuse comes with a sentence of theirs."""
    return words_of(fault, _names(model)) or fault["msg"]


@cache
def _names(model: type[BaseModel]) -> Sequence[str]:
    """Every field's name on the wire, of the objects inside too."""
    schema = model.model_json_schema(by_alias=True)
    objects = [schema, *schema.get("$defs", {}).values()]
    return [name for found in objects for name in found.get("properties", {})]
