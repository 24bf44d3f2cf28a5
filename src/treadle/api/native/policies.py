"""Repositories' policies: what runs may connect to, and what is asked of what they commit."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from starlette.requests import Request
from starlette.responses import Response

from treadle.api.auth import Caller
from treadle.api.bodies import read_json
from treadle.api.json_bytes import encode
from treadle.api.native.documents import JSON, Endpoint, parameter
from treadle.api.native.reading import read_fields, repository_id
from treadle.api.plain_route import PlainRoute
from treadle.api.problem_guard import Guard
from treadle.domain.errors import InvalidInput
from treadle.domain.network import NetworkPolicy
from treadle.domain.validation import ValidationRules
from treadle.services.repository_policies import Policies, RepositoryPolicies

PATH = "/repositories/by-id/{id}"

_TAG = "Repositories' policies"
_ID = parameter("path", "id", "The repository's id.", {"type": "integer"}, is_required=True)


class _Shape(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class RepositoryPoliciesShape(_Shape):
    """`network` null: the repository has none of its own. `effectiveNetwork` counts for runs that say nothing.
    `validate`: of those that bring none."""

    network: str | dict[str, list[str]] | None
    effective_network: str | dict[str, list[str]] = Field(examples=["model"])
    scans_secrets: bool
    validation: dict[str, list[str] | int] | None = Field(
        alias="validate", examples=[{"commands": ["make test"], "tries": 3}]
    )


class RepositoryNetworkBody(_Shape):
    """null: the service's counts."""

    network: str | dict[str, list[str]] | None = Field(
        description='"none", "model", {"allow": ["example.com", …]} or "full".',
        examples=[{"allow": ["pkg.test"]}],
    )


class RepositoryScanningBody(_Shape):
    """Whether a step that would commit what looks like a key or a token fails."""

    scans_secrets: bool


class RepositoryValidationBody(_Shape):
    """null: there are none."""

    validation: list[str] | dict[str, list[str] | int] | None = Field(
        alias="validate",
        description='Commands that must pass before a step is committed: ["make test"], or {"commands": ["make test"], '
        '"tries": 1}.',
        examples=[["make test"]],
    )


SHAPES: Sequence[type[BaseModel]] = (
    RepositoryPoliciesShape,
    RepositoryNetworkBody,
    RepositoryScanningBody,
    RepositoryValidationBody,
)

_GET = Endpoint(_TAG, "Get a repository's policies", answer=RepositoryPoliciesShape, problems=(404,), parameters=(_ID,))
_NETWORK = Endpoint(
    _TAG,
    "Set a repository's network policy",
    "Of runs that bring none of their own, from their next claim on.",
    answer=RepositoryPoliciesShape,
    body=RepositoryNetworkBody,
    problems=(400, 404, 413, 415),
    parameters=(_ID,),
)
_SCANNING = Endpoint(
    _TAG,
    "Switch the search for keys in what is committed",
    answer=RepositoryPoliciesShape,
    body=RepositoryScanningBody,
    problems=(400, 404, 413, 415),
    parameters=(_ID,),
)

_VALIDATION = Endpoint(
    _TAG,
    "Set a repository's validation commands",
    "Of runs that bring none of their own, from their next claim on.",
    answer=RepositoryPoliciesShape,
    body=RepositoryValidationBody,
    problems=(400, 404, 413, 415),
    parameters=(_ID,),
)


class PolicyHandlers:
    """The handlers."""

    def __init__(self, policies: RepositoryPolicies, *, max_request_bytes: int) -> None:
        self._policies = policies
        self._max_request_bytes = max_request_bytes

    async def get(self, request: Request, caller: Caller) -> Response:
        return _answer(await self._policies.get(caller.principal, repository_id(request)))

    async def set_network(self, request: Request, caller: Caller) -> Response:
        sent = read_fields(await read_json(request, self._max_request_bytes), ["network"])
        if "network" not in sent:
            raise InvalidInput({"network": ["Is required."]})
        try:
            network = None if sent["network"] is None else NetworkPolicy.read(sent["network"])
        except ValueError as error:
            raise InvalidInput({"network": [str(error)]}) from None
        return _answer(await self._policies.set_network(caller.principal, repository_id(request), network))

    async def set_scanning(self, request: Request, caller: Caller) -> Response:
        sent = read_fields(await read_json(request, self._max_request_bytes), ["scansSecrets"])
        is_on = sent.get("scansSecrets")
        if not isinstance(is_on, bool):
            raise InvalidInput({"scansSecrets": ["Must be true or false."]})
        return _answer(await self._policies.set_secret_scanning(caller.principal, repository_id(request), is_on=is_on))

    async def set_validation(self, request: Request, caller: Caller) -> Response:
        sent = read_fields(await read_json(request, self._max_request_bytes), ["validate"])
        if "validate" not in sent:
            raise InvalidInput({"validate": ["Is required."]})
        try:
            rules = None if sent["validate"] is None else ValidationRules.read(sent["validate"])
        except ValueError as error:
            raise InvalidInput({"validate": [str(error)]}) from None
        return _answer(await self._policies.set_validation(caller.principal, repository_id(request), rules))


def policy_routes(guard: Guard, handlers: PolicyHandlers) -> Sequence[PlainRoute]:
    behind = guard.behind
    return [
        PlainRoute(f"{PATH}/policies", behind(handlers.get), methods=["GET"], **_GET.options()),
        PlainRoute(f"{PATH}/network", behind(handlers.set_network), methods=["PUT"], **_NETWORK.options()),
        PlainRoute(f"{PATH}/secret-scanning", behind(handlers.set_scanning), methods=["PUT"], **_SCANNING.options()),
        PlainRoute(f"{PATH}/validation", behind(handlers.set_validation), methods=["PUT"], **_VALIDATION.options()),
    ]


def _answer(found: Policies) -> Response:
    shown = {
        "network": found.network.json() if found.network is not None else None,
        "effectiveNetwork": found.effective_network.json(),
        "scansSecrets": found.scans_secrets,
        "validate": found.validation.json() if found.validation is not None else None,
    }
    return Response(encode(shown), media_type=JSON)
