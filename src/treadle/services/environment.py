"""Repositories' secrets: variables of the environment of their setup commands and steps. A value goes in, and comes out
nowhere but in a run's box."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from treadle.domain.errors import InvalidInput, NotFound
from treadle.domain.identity import Principal
from treadle.domain.permissions import Permission, require
from treadle.domain.repository import Repository
from treadle.ports import Clock, Vault
from treadle.ports.directory import RepositoryStore
from treadle.ports.trust import EnvironmentStore, SealedVariable
from treadle.services.audit import Audit
from treadle.services.audit_actions import Action
from treadle.services.credentials import row
from treadle.services.environment_rules import is_name, room_faults, variable_faults
from treadle.services.repository_secrets import TABLE, VARIABLES
from treadle.vault import size_of


class Store(EnvironmentStore, RepositoryStore, Protocol):
    """Of the store, what is needed here."""


@dataclass(frozen=True, slots=True)
class Variable:
    """What may be told of one."""

    name: str
    date_updated: datetime


class RepositoryEnvironment:
    """The use cases around them. A repository that is not the caller's organization's is NotFound."""

    def __init__(self, store: Store, vault: Vault, clock: Clock, *, audit: Audit) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._audit = audit

    async def names(self, principal: Principal, repository_id: int) -> Sequence[Variable]:
        """By their names. Raises NotFound, Forbidden."""
        require(principal, Permission.READ)
        await self._repository(principal, repository_id)
        found = await self._store.repository_environment(repository_id)
        return [Variable(each.name, each.date_updated) for each in found]

    async def set(self, principal: Principal, repository_id: int, values: Mapping[str, str]) -> Sequence[Variable]:
        """Adds and replaces, all or none; what there is then. Raises InvalidInput naming every fault, NotFound,
        Forbidden."""
        require(principal, Permission.REPOSITORIES)
        repository = await self._repository(principal, repository_id)
        if faults := variable_faults(values):
            raise InvalidInput(faults, _NOT_SET)
        sealed = {
            name: self._vault.seal(
                value,
                organization=principal.organization_uuid,
                table=TABLE,
                row=row(repository.uuid, VARIABLES + name),
            )
            for name, value in values.items()
        }
        await self._store.put_repository_environment(repository_id, sealed, self._clock.now(), admit=_admit)
        await self._audit.note(
            Action.REPOSITORY_SECRET_SET, principal=principal, target=repository.name, detail={"names": sorted(values)}
        )
        return await self.names(principal, repository_id)

    async def remove(self, principal: Principal, repository_id: int, name: str) -> None:
        """Raises NotFound, also where there is no such variable, and Forbidden."""
        require(principal, Permission.REPOSITORIES)
        repository = await self._repository(principal, repository_id)
        is_gone = is_name(name) and await self._store.remove_repository_variable(repository_id, name)
        if not is_gone:
            raise NotFound("The repository has no such secret.")
        await self._audit.note(
            Action.REPOSITORY_SECRET_REMOVED, principal=principal, target=repository.name, detail={"names": [name]}
        )

    async def _repository(self, principal: Principal, repository_id: int) -> Repository:
        try:
            return await self._store.repository(principal.organization_id, repository_id)
        except NotFound:
            raise NotFound("Repository not found.") from None


_NOT_SET = "The secrets cannot be set."


def _admit(sealed: Mapping[str, str]) -> None:
    if faults := room_faults({name: size_of(text) for name, text in sealed.items()}):
        raise InvalidInput(faults, _NOT_SET)


def opened(
    found: Sequence[SealedVariable], vault: Vault, organization: UUID, repository_uuid: UUID
) -> Mapping[str, str]:
    """In the clear, by their names. Raises SealBroken."""
    return {
        each.name: vault.open(
            each.sealed, organization=organization, table=TABLE, row=row(repository_uuid, VARIABLES + each.name)
        )
        for each in found
    }


def version_of(found: Sequence[SealedVariable]) -> str | None:
    """Another one when a variable is set, replaced or removed, and of no use to who would guess a value; None without
    any."""
    if not found:
        return None
    text = json.dumps([[each.name, each.date_updated.isoformat()] for each in found])
    return hashlib.sha256(text.encode()).hexdigest()
