"""What `treadle admin repo secret` does."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from treadle.cli.administration import do, show_many
from treadle.cli.lines import when
from treadle.domain.identity import Principal, Role
from treadle.factory import Parts
from treadle.services.environment import RepositoryEnvironment, Variable

T = TypeVar("T")
Work = Callable[[RepositoryEnvironment, Principal, int], Awaitable[T]]


@dataclass(frozen=True, slots=True)
class SecretAdministration:
    """One command's work on the secrets of one repository."""

    organization: int
    repository: str
    is_json: bool = False

    def list(self) -> None:
        self._show(do(self._on(lambda environment, operator, id_: environment.names(operator, id_))))

    def set(self, name: str, value: str) -> None:
        """Raises InvalidInput naming every fault."""
        self._show(do(self._on(lambda environment, operator, id_: environment.set(operator, id_, {name: value}))))

    def remove(self, name: str) -> None:
        do(self._on(lambda environment, operator, id_: environment.remove(operator, id_, name)))

    def _on(self, work: Work[T]) -> Callable[[Parts], Awaitable[T]]:
        async def found(parts: Parts) -> T:
            owner = await parts.services.identity.organization(self.organization)
            repository = await parts.services.repositories.named(owner.id, self.repository)
            return await work(parts.services.environment, _operator(owner.id, owner.uuid), repository.id)

        return found

    def _show(self, found: Sequence[Variable]) -> None:
        show_many([{"name": each.name, "updated": when(each.date_updated)} for each in found], is_json=self.is_json)


def _operator(organization_id: int, organization_uuid: UUID) -> Principal:
    """Whoever has the database may do what an admin may."""
    return Principal(organization_id, organization_uuid, 0, UUID(int=0), "operator", "operator", Role.ADMIN)
