"""JSON objects that Treadle's own endpoints take, and ids in their paths."""

from collections.abc import Collection, Mapping

from starlette.requests import Request

from treadle.api.bodies import whole_number
from treadle.domain.errors import InvalidInput, NotFound
from treadle.domain.json_text import RepeatedName, read_json_text

#: Of unknown fields, so many are named, and so many characters of each.
_NAMED = 100
_SHOWN = 100


def read_fields(body: bytes, known: Collection[str]) -> Mapping[str, object]:
    """Those of `known` that the object has. Raises InvalidInput for what is no object, naming every other field,
    and for a name that is in one twice."""
    try:
        sent = read_json_text(body)
    except RepeatedName as error:
        raise InvalidInput({error.name: ["Is there more than once in an object."]}) from None
    except ValueError:
        raise InvalidInput({"$": ["Is no JSON."]}) from None
    except RecursionError:
        raise InvalidInput({"$": ["Is nested too deeply."]}) from None
    if not isinstance(sent, dict):
        raise InvalidInput({"$": ["Must be a JSON object."]})
    if odd := [name for name in sent if name not in known]:
        said = f"Is not a known field; there are {', '.join(sorted(known))}."
        raise InvalidInput({ascii(name)[1:-1][:_SHOWN]: [said] for name in odd[:_NAMED]})
    return sent


def repository_id(request: Request) -> int:
    """The path's. Raises NotFound for what is no id."""
    found = whole_number(request.path_params["id"])
    if found is None:
        raise NotFound("Repository not found.")
    return found
