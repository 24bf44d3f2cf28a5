"""`client.secrets`: what repositories give to their setup commands and steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

import httpx2

from treadle.sdk._async_driver import AsyncDriver
from treadle.sdk._calls import Call, Request
from treadle.sdk._documented import documented_as
from treadle.sdk._driver import Driver
from treadle.sdk._wire import Fields, WireError


@dataclass(frozen=True, slots=True)
class RepositorySecret:
    """A secret of a repository, without its value: that comes back from nowhere."""

    name: str
    date_updated: datetime

    @classmethod
    def read(cls, fields: Fields) -> "RepositorySecret":
        updated = fields.date("dateUpdated")
        if updated is None:
            raise WireError("secret.dateUpdated is missing.")
        return cls(fields.text("name"), updated)


def listed(repository: int) -> Call[Sequence[RepositorySecret]]:
    return Call(Request("GET", _path(repository)), _read)


def put(repository: int, values: Mapping[str, str]) -> Call[Sequence[RepositorySecret]]:
    return Call(Request("PUT", _path(repository), json={"values": dict(values)}), _read)


def removed(repository: int, name: str) -> Call[None]:
    path = f"{_path(repository)}/{quote(name, safe='')}"
    return Call(Request("DELETE", path), lambda _: None, is_repeatable=False)


def _path(repository: int) -> str:
    return f"/repositories/by-id/{repository}/secrets"


def _read(response: httpx2.Response) -> Sequence[RepositorySecret]:
    return [RepositorySecret.read(each) for each in Fields(response.json(), "answer").objects("secrets")]


class Secrets:
    """`client.secrets`."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def list(self, repository: int) -> Sequence[RepositorySecret]:
        """The secrets of a registered repository, by their names. Raises NotFoundError."""
        return self._driver.call(listed(repository))

    def set(self, repository: int, values: Mapping[str, str]) -> Sequence[RepositorySecret]:
        """Adds and replaces, all or none; what there is then. Others stay.

        Args:
            repository: The id of a registered repository.
            values: By the names that they have in the environment of its setup commands and steps.

        Raises:
            BadRequestError: `errors` names every fault, and repeats no value.
            PermissionDeniedError: It takes a MANAGER.
        """
        return self._driver.call(put(repository, values))

    def remove(self, repository: int, name: str) -> None:
        """Takes one away. Raises NotFoundError for one that is not there, PermissionDeniedError."""
        self._driver.call(removed(repository, name))


@documented_as(Secrets)
class AsyncSecrets:
    """`client.secrets`."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver

    async def list(self, repository: int) -> Sequence[RepositorySecret]:
        return await self._driver.call(listed(repository))

    async def set(self, repository: int, values: Mapping[str, str]) -> Sequence[RepositorySecret]:
        return await self._driver.call(put(repository, values))

    async def remove(self, repository: int, name: str) -> None:
        await self._driver.call(removed(repository, name))
