"""What runs on a repository may connect to, and what is asked of what they commit."""

from dataclasses import dataclass

from treadle.domain.identity import Principal
from treadle.domain.network import NetworkPolicy
from treadle.domain.permissions import Permission, require
from treadle.domain.validation import ValidationRules
from treadle.services.organizations import Organizations
from treadle.services.policies import inherited
from treadle.services.repositories import Repositories
from treadle.services.repository_change import RepositoryChange


@dataclass(frozen=True, slots=True)
class Policies:
    """`network` None: the repository has none of its own; `effective_network` counts for runs that say nothing."""

    network: NetworkPolicy | None
    effective_network: NetworkPolicy
    scans_secrets: bool
    validation: ValidationRules | None  # of runs that bring none


class RepositoryPolicies:
    """The use cases; a change counts for runs that are claimed from now on."""

    def __init__(self, repositories: Repositories, organizations: Organizations, default: NetworkPolicy) -> None:
        self._repositories = repositories
        self._organizations = organizations
        self._default = default

    async def get(self, principal: Principal, repository_id: int) -> Policies:
        """Raises NotFound, Forbidden."""
        found = await self._repositories.get(principal, repository_id)
        return Policies(found.network, inherited(found, self._default), found.scans_secrets, found.validation)

    async def set_network(self, principal: Principal, repository_id: int, network: NetworkPolicy | None) -> Policies:
        """None: the service's counts. Raises NotFound, Forbidden."""
        change = RepositoryChange(network=network, is_without_network=network is None)
        return await self._change(principal, repository_id, change)

    async def set_secret_scanning(self, principal: Principal, repository_id: int, *, is_on: bool) -> Policies:
        """Whether a step that would commit what looks like a key fails. Raises NotFound, Forbidden."""
        return await self._change(principal, repository_id, RepositoryChange(scans_secrets=is_on))

    async def set_validation(self, principal: Principal, repository_id: int, rules: ValidationRules | None) -> Policies:
        """What must pass before a step is committed; None: nothing. Raises NotFound, Forbidden."""
        change = RepositoryChange(validation=rules, is_without_validation=rules is None)
        return await self._change(principal, repository_id, change)

    async def _change(self, principal: Principal, repository_id: int, change: RepositoryChange) -> Policies:
        require(principal, Permission.REPOSITORIES)
        found = await self._repositories.get(principal, repository_id)
        organization = await self._organizations.get(principal.organization_id)
        await self._repositories.update(organization, found.name, change)
        return await self.get(principal, repository_id)
