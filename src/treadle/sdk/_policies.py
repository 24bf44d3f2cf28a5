"""`client.policies`: what runs on a repository may connect to, and what is asked of what they commit."""

from dataclasses import dataclass

import httpx2

from treadle.sdk._async_driver import AsyncDriver
from treadle.sdk._calls import Call, Request
from treadle.sdk._documented import documented_as
from treadle.sdk._driver import Driver
from treadle.sdk._network import Network, network_json, network_of
from treadle.sdk._validation import Validation, ValidationRules, rules_of, validation_json
from treadle.sdk._wire import Fields, JsonValue, WireError


@dataclass(frozen=True, slots=True)
class RepositoryPolicies:
    """`network` None: the repository has none of its own. `effective_network` counts for runs that say nothing.
    `validation`: of those that bring none."""

    network: Network | None
    effective_network: Network
    scans_secrets: bool
    validation: ValidationRules | None = None

    @classmethod
    def read(cls, value: object) -> "RepositoryPolicies":
        fields = Fields(value, "policies")
        effective = network_of(fields, "effectiveNetwork")
        if effective is None:
            raise WireError("policies.effectiveNetwork is missing.")
        return cls(network_of(fields, "network"), effective, fields.flag("scansSecrets"), rules_of(fields, "validate"))


def policies(repository: int) -> Call[RepositoryPolicies]:
    return Call(Request("GET", _path(repository, "policies")), _read)


def set_network(repository: int, network: Network | None) -> Call[RepositoryPolicies]:
    body: dict[str, JsonValue] = {"network": None if network is None else network_json(network)}
    return Call(Request("PUT", _path(repository, "network"), json=body), _read)


def set_secret_scanning(repository: int, is_on: bool) -> Call[RepositoryPolicies]:
    body: dict[str, JsonValue] = {"scansSecrets": is_on}
    return Call(Request("PUT", _path(repository, "secret-scanning"), json=body), _read)


def set_validation(repository: int, validation: Validation | None) -> Call[RepositoryPolicies]:
    body: dict[str, JsonValue] = {"validate": None if validation is None else validation_json(validation)}
    return Call(Request("PUT", _path(repository, "validation"), json=body), _read)


def _path(repository: int, part: str) -> str:
    return f"/repositories/by-id/{repository}/{part}"


def _read(response: httpx2.Response) -> RepositoryPolicies:
    return RepositoryPolicies.read(response.json())


class Policies:
    """`client.policies`. Repositories are named by their ids, as `client.agents.repositories()` tells them."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def get(self, repository: int) -> RepositoryPolicies:
        """Those of a registered repository. Raises NotFoundError."""
        return self._driver.call(policies(repository))

    def set_network(self, repository: int, network: Network | None) -> RepositoryPolicies:
        """What runs that bring no policy of their own may connect to: `"none"`, `"model"`, `"full"`,
        `"allow:example.com,…"` or `{"allow": […]}`; None: as the service says. Raises BadRequestError, NotFoundError,
        PermissionDeniedError."""
        return self._driver.call(set_network(repository, network))

    def set_secret_scanning(self, repository: int, is_on: bool) -> RepositoryPolicies:
        """Whether a step that would commit what looks like a key or a token fails. Raises NotFoundError,
        PermissionDeniedError."""
        return self._driver.call(set_secret_scanning(repository, is_on))

    def set_validation(self, repository: int, validation: Validation | None) -> RepositoryPolicies:
        """The commands that must pass before a step is committed, for runs that bring none; None: there are none.
        Raises BadRequestError, NotFoundError, PermissionDeniedError."""
        return self._driver.call(set_validation(repository, validation))


@documented_as(Policies)
class AsyncPolicies:
    """`client.policies`."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver

    async def get(self, repository: int) -> RepositoryPolicies:
        return await self._driver.call(policies(repository))

    async def set_network(self, repository: int, network: Network | None) -> RepositoryPolicies:
        return await self._driver.call(set_network(repository, network))

    async def set_secret_scanning(self, repository: int, is_on: bool) -> RepositoryPolicies:
        return await self._driver.call(set_secret_scanning(repository, is_on))

    async def set_validation(self, repository: int, validation: Validation | None) -> RepositoryPolicies:
        return await self._driver.call(set_validation(repository, validation))
