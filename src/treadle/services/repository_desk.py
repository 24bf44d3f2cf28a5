"""Repositories as they are looked after from the page: by people who have a role, and are no operators. Nothing local,
nothing that cannot be reached from here, and no secret is sent where it was not given for."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import InvalidInput
from treadle.domain.git_url import check_url, parse, split_credentials
from treadle.domain.identity import Principal
from treadle.domain.permissions import Permission, require
from treadle.domain.repository import ForgeAccess, ForgeKind, Repository
from treadle.services.organizations import Organizations
from treadle.services.repositories import Repositories
from treadle.services.repository_change import RepositoryChange
from treadle.services.repository_faults import MAX_URL
from treadle.services.repository_reach import Inspection, Reach
from treadle.services.setup import SetupCommands

#: Where the API of a forge of that kind is, as a repository's address suggests; None for a local one.
ApiOf = Callable[[str, ForgeKind], ForgeAccess | None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody writes into a form. Empty texts: nothing; `git` None: the credentials stay."""

    url: str
    name: str = ""
    default_branch: str = ""
    git: GitCredentials | None = None
    forge: ForgeKind | None = None
    forge_api_url: str = ""
    forge_token: str = field(default="", repr=False)


class RepositoryDesk:
    """Asks for the permission first."""

    def __init__(
        self,
        repositories: Repositories,
        organizations: Organizations,
        setup: SetupCommands,
        reach: Reach,
        *,
        api_of: ApiOf,
        allow_local: bool,
    ) -> None:
        self._repositories = repositories
        self._organizations = organizations
        self._setup = setup
        self._reach = reach
        self._api_of = api_of
        self._allow_local = allow_local

    async def register(self, principal: Principal, wanted: Wanted) -> Repository:
        """Looked at before it is kept. Without a name it gets the last two parts of its address. Raises InvalidInput,
        Conflict, GitError, ForgeError, Forbidden."""
        require(principal, Permission.REPOSITORIES)
        self._require_address(wanted)
        return await self._repositories.add(
            await self._organizations.get(principal.organization_id),
            name=wanted.name or _name_of(wanted.url),
            url=wanted.url,
            default_branch=wanted.default_branch or None,
            git=wanted.git,
            forge=self._forge(wanted),
            forge_token=wanted.forge_token or None,
            reach=self._reach,
        )

    async def change(self, principal: Principal, repository_id: int, wanted: Wanted) -> Repository:
        """Its address and its ways in. The credentials that it has go with the hosts that they were given for: who may
        change an address must not learn them by it. Raises as `register` does, and NotFound."""
        require(principal, Permission.REPOSITORIES)
        self._require_address(wanted)
        found = await self._repositories.get(principal, repository_id)
        forge = self._forge(wanted)
        keeps = wanted.git is None and not split_credentials(wanted.url)[1]
        change = RepositoryChange(
            url=wanted.url if wanted.url != found.url else None,
            default_branch=wanted.default_branch if wanted.default_branch != found.default_branch else None,
            git=GitCredentials() if keeps and self._leads_elsewhere(found, wanted.url, forge) else wanted.git,
            forge=forge if forge != found.forge else None,
            is_without_forge=forge is None and found.forge is not None,
            forge_token="" if forge is None and found.forge is not None else wanted.forge_token or None,
        )
        if change.url is not None and forge is not None:
            change = replace(change, forge=forge)  # an address elsewhere brings none by itself
        organization = await self._organizations.get(principal.organization_id)
        return await self._repositories.update(organization, found.name, change, reach=self._reach)

    async def set_rules(self, principal: Principal, repository_id: int, rules: str) -> None:
        """Raises InvalidInput, NotFound, Forbidden."""
        require(principal, Permission.REPOSITORIES)
        found = await self._repositories.get(principal, repository_id)
        organization = await self._organizations.get(principal.organization_id)
        await self._repositories.update(organization, found.name, RepositoryChange(rules=rules))

    async def set_setup(self, principal: Principal, repository_id: int, commands: str) -> None:
        """Raises InvalidInput, NotFound, Forbidden."""
        require(principal, Permission.REPOSITORIES)
        found = await self._repositories.get(principal, repository_id)
        await self._repositories.set_setup(principal.organization_id, found.name, commands)

    async def check(self, principal: Principal, repository_id: int) -> Inspection:
        """Looks whether it can be reached now. Raises NotFound, SealBroken, Forbidden."""
        require(principal, Permission.REPOSITORIES)
        found = await self._repositories.get(principal, repository_id)
        organization = await self._organizations.get(principal.organization_id)
        return await self._repositories.check(organization, found.name, self._reach)

    async def make_default(self, principal: Principal, repository_id: int) -> None:
        """Raises NotFound, Forbidden."""
        require(principal, Permission.ADMINISTER)
        found = await self._repositories.get(principal, repository_id)
        organization = await self._organizations.get(principal.organization_id)
        await self._organizations.save(replace(organization, default_repository_id=found.id))

    async def remove(self, principal: Principal, repository_id: int) -> None:
        """Raises NotFound, Forbidden."""
        require(principal, Permission.REPOSITORIES)
        found = await self._repositories.get(principal, repository_id)
        await self._repositories.remove(principal.organization_id, found.name)
        await self._setup.forget(found)

    def _require_address(self, wanted: Wanted) -> None:
        too_long = "Is too long." if len(wanted.url) > MAX_URL else None
        if fault := too_long or check_url(wanted.url, self._allow_local):
            raise InvalidInput({"url": [fault]}, "The repository cannot be kept.")

    def _forge(self, wanted: Wanted) -> ForgeAccess | None:
        if wanted.forge is None:
            if wanted.forge_api_url or wanted.forge_token:
                said = "Say which forge it is: the API and the token are for that."
                raise InvalidInput({"forge": [said]}, "The repository cannot be kept.")
            return None
        if wanted.forge_api_url:
            return ForgeAccess(wanted.forge, wanted.forge_api_url.rstrip("/"))
        access = self._api_of(split_credentials(wanted.url)[0], wanted.forge)
        if access is None:
            raise InvalidInput({"forge_api_url": ["Say where its API is."]}, "The repository cannot be kept.")
        return access

    def _leads_elsewhere(self, found: Repository, url: str, forge: ForgeAccess | None) -> bool:
        """Whether Git or the forge's API would be asked at another place than what the secrets were given for."""
        if _origin(url) != _origin(found.url):
            return True
        if forge is None or forge == found.forge:
            return False
        return forge != self._api_of(url, forge.kind)


def _origin(url: str) -> tuple[str, str, int | None]:
    location = parse(split_credentials(url)[0])
    return location.scheme, location.host, location.port


def _name_of(url: str) -> str:
    """OWNER/NAME, as the address ends."""
    parts = [part for part in parse(split_credentials(url)[0]).path.split("/") if part]
    return "/".join(parts[-2:]).removesuffix(".git")
