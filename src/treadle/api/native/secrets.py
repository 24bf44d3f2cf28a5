"""Repositories' secrets: their names can be read, their values only written."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from starlette.requests import Request
from starlette.responses import Response

from treadle.api.auth import Caller
from treadle.api.bodies import read_json, whole_number
from treadle.api.json_bytes import date_text, encode
from treadle.api.native.documents import JSON, Endpoint, parameter
from treadle.api.plain_route import PlainRoute
from treadle.api.problem_guard import Guard
from treadle.domain.errors import InvalidInput, NotFound
from treadle.services.environment import RepositoryEnvironment, Variable

PATH = "/repositories/by-id/{id}/secrets"

#: Characters of a name that is of no form and yet repeated, and how many of these.
_SHOWN = 130
_FAULTS = 100

_TAG = "Repositories' secrets"
_ID = parameter("path", "id", "The repository's id.", {"type": "integer"}, is_required=True)
_NAME = parameter("path", "name", "The variable's name.", {"type": "string"}, is_required=True)


class _Shape(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class RepositorySecretShape(_Shape):
    """A secret, without its value: that comes back by no endpoint."""

    name: str
    date_updated: datetime


class RepositorySecretsShape(_Shape):
    """All that the repository has, by their names."""

    secrets: list[RepositorySecretShape]


class RepositorySecretsBody(_Shape):
    """Those that are to be added or replaced; others stay."""

    values: dict[str, str] = Field(description="By the variables' names.", examples=[{"PACKAGES_TOKEN": "…"}])


SHAPES: Sequence[type[BaseModel]] = (RepositorySecretShape, RepositorySecretsShape, RepositorySecretsBody)

_LIST = Endpoint(
    _TAG,
    "List a repository's secrets",
    "Variables of the environment of its setup commands and of the steps of runs on it: names and dates, never values.",
    answer=RepositorySecretsShape,
    problems=(404,),
    parameters=(_ID,),
)
_SET = Endpoint(
    _TAG,
    "Set secrets of a repository",
    "Adds and replaces, all or none. They are sealed, given to setup commands and steps, and taken out of whatever "
    "these say. Names that decide how programs run, or that belong to Treadle, Git or an engine, are refused.",
    answer=RepositorySecretsShape,
    body=RepositorySecretsBody,
    problems=(400, 404, 413, 415),
    parameters=(_ID,),
)
_REMOVE = Endpoint(_TAG, "Remove a secret of a repository", problems=(404,), parameters=(_ID, _NAME))


class SecretHandlers:
    """The handlers."""

    def __init__(self, environment: RepositoryEnvironment, *, max_request_bytes: int) -> None:
        self._environment = environment
        self._max_request_bytes = max_request_bytes

    async def list(self, request: Request, caller: Caller) -> Response:
        return _answer(await self._environment.names(caller.principal, _repository_id(request)))

    async def set(self, request: Request, caller: Caller) -> Response:
        values = _values(await read_json(request, self._max_request_bytes))
        return _answer(await self._environment.set(caller.principal, _repository_id(request), values))

    async def remove(self, request: Request, caller: Caller) -> Response:
        await self._environment.remove(caller.principal, _repository_id(request), request.path_params["name"])
        return Response(status_code=204)


def secret_routes(guard: Guard, handlers: SecretHandlers) -> Sequence[PlainRoute]:
    return [
        PlainRoute(PATH, guard.behind(handlers.list), methods=["GET"], **_LIST.options()),
        PlainRoute(PATH, guard.behind(handlers.set), methods=["PUT"], **_SET.options()),
        PlainRoute(f"{PATH}/{{name}}", guard.behind(handlers.remove), methods=["DELETE"], **_REMOVE.options()),
    ]


def _repository_id(request: Request) -> int:
    found = whole_number(request.path_params["id"])
    if found is None:
        raise NotFound("Repository not found.")
    return found


def _values(body: bytes) -> Mapping[str, str]:
    """Raises InvalidInput, which repeats no value."""
    try:
        sent = json.loads(body)
    except ValueError:
        raise InvalidInput({"": ["Is no JSON."]}) from None
    except RecursionError:
        raise InvalidInput({"": ["Is nested too deeply."]}) from None
    values = sent.get("values") if isinstance(sent, dict) else None
    if not isinstance(values, dict):
        raise InvalidInput({"values": ["Must be an object: texts by the variables' names."]})
    odd = [name for name in sent if name != "values"]
    faults = {name[:_SHOWN]: ["Is unknown here."] for name in odd[:_FAULTS]}
    texts = {name: value for name, value in values.items() if isinstance(value, str)}
    others = [name for name in values if name not in texts]
    faults |= {f"values.{name[:_SHOWN]}": ["Must be a text."] for name in others[:_FAULTS]}
    if faults:
        raise InvalidInput(faults)
    return texts


def _answer(found: Sequence[Variable]) -> Response:
    shown = [{"name": each.name, "dateUpdated": date_text(each.date_updated)} for each in found]
    return Response(encode({"secrets": shown}), media_type=JSON)
