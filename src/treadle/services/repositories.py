"""Registered repositories: an address, and the credentials that runs without their own use."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from uuid import UUID

from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import InvalidInput, NotFound
from treadle.domain.git_url import check_branch, check_url, normalize, split_credentials
from treadle.domain.identity import Organization, Principal
from treadle.domain.permissions import Permission, require
from treadle.domain.repository import Repository
from treadle.ports import Clock, Vault
from treadle.services.credentials import GIT_HTTP, GIT_SSH, check_ssh_key, git_secrets
from treadle.services.organizations import OrganizationStore
from treadle.services.recent import Recent

TABLE = "repositories"

#: The secret that opens the forge's API, beside those of Git.
FORGE_TOKEN = "forge_token"  # noqa: S105 - a secret's name

#: As the agent-run API's specification words it.
NO_REPOSITORIES = "No repos found in the organization. Please add some repos and try again."

MAX_NAME = 200
MAX_URL = 10_000
_NO_CREDENTIALS: Mapping[str, str | None] = {GIT_HTTP: None, GIT_SSH: None}
_NAME = re.compile(r"[\w.-]+(?:/[\w.-]+)+")


class Repositories:
    """The use cases around registered repositories."""

    def __init__(self, store: OrganizationStore, vault: Vault, clock: Clock, *, new_uuid: Callable[[], UUID]) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._new_uuid = new_uuid
        self._known: Recent[int, Mapping[str, Repository]] = Recent(clock, seconds=1, size=1000)

    async def add(
        self,
        organization: Organization,
        *,
        name: str,
        url: str,
        default_branch: str = "main",
        git: GitCredentials | None = None,
    ) -> Repository:
        """Registers OWNER/NAME. Local addresses are allowed: only an operator gets here.

        Raises InvalidInput naming every fault, and Conflict when the name is taken.
        """
        given = git or GitCredentials()
        clean_url, in_url = split_credentials(url)
        _check(name=name, url=url, default_branch=default_branch, git=given, in_url=in_url)
        uuid = self._new_uuid()
        sealed = self._seal(organization, uuid, given, in_url)
        repository = Repository(
            id=0,  # the store gives it one
            uuid=uuid,
            organization_id=organization.id,
            name=name,
            url=clean_url,
            default_branch=default_branch,
            date_created=self._clock.now(),
        )
        try:
            return await self._store.add_repository(repository, sealed)
        finally:
            self._known.clear()

    async def update(
        self,
        organization: Organization,
        name: str,
        *,
        url: str | None = None,
        default_branch: str | None = None,
        git: GitCredentials | None = None,
    ) -> Repository:
        """Changes what is given, for later runs. `git`, or credentials in the address, replace all that it has; empty
        ones take them away. Raises InvalidInput naming every fault, NotFound."""
        found, given = await self._named(organization.id, name), git or GitCredentials()
        clean_url, in_url = split_credentials(url) if url is not None else (found.url, None)
        changed = replace(found, url=clean_url, default_branch=default_branch or found.default_branch)
        _check(name=name, url=url or found.url, default_branch=changed.default_branch, git=given, in_url=in_url)
        is_replaced = git is not None or in_url is not None
        # By name: None removes one, and those that are not named stay.
        sealed = {**_NO_CREDENTIALS, **self._seal(organization, found.uuid, given, in_url)} if is_replaced else None
        try:
            await self._store.update_repository(changed, sealed, self._clock.now())
        finally:
            self._known.clear()
        return changed

    async def remove(self, organization_id: int, name: str) -> None:
        """Later runs know nothing of it; those that there are go on. Raises NotFound."""
        try:
            await self._store.remove_repository((await self._named(organization_id, name)).id)
        finally:
            self._known.clear()

    async def list(self, organization_id: int) -> Sequence[Repository]:
        return await self._store.repositories(organization_id)

    async def page(self, principal: Principal, *, limit: int, skip: int = 0) -> tuple[Sequence[Repository], int]:
        """A page of the organization's, by their ids, and how many there are in all. Raises Forbidden."""
        require(principal, Permission.READ)
        return await self._store.repository_page(principal.organization_id, limit=limit, skip=skip)

    async def get(self, principal: Principal, repository_id: int) -> Repository:
        """Raises NotFound, also for another organization's; Forbidden."""
        require(principal, Permission.READ)
        try:
            return await self._store.repository(principal.organization_id, repository_id)
        except NotFound:
            raise NotFound("Repository not found.") from None

    async def chosen(self, principal: Principal, repository_id: int | None) -> Repository:
        """That one; for None the organization's default, else its only one. Raises NotFound, Forbidden."""
        if repository_id is not None:
            return await self.get(principal, repository_id)
        require(principal, Permission.READ)
        default = (await self._store.organization(principal.organization_id)).default_repository_id
        if default is not None:
            with suppress(NotFound):  # it was removed
                return await self._store.repository(principal.organization_id, default)
        found, total = await self._store.repository_page(principal.organization_id, limit=1)
        if not total:
            raise NotFound(NO_REPOSITORIES)
        if total > 1:
            raise NotFound(
                "The organization has several repositories, and none of them is its default: name one.",
                hint="`treadle admin repo default` makes one the default.",
            )
        return found[0]

    async def forge_token(self, repository: Repository, organization_uuid: UUID) -> str | None:
        """Opened: its own for the forge, else what its HTTP credentials have for a password. Raises SealBroken."""
        opened = await self._opened(repository, organization_uuid)
        if FORGE_TOKEN in opened:
            return opened[FORGE_TOKEN]
        user, colon, password = opened.get(GIT_HTTP, "").strip().partition(":")
        return (password if colon else user) or None

    async def find(self, organization_id: int, url: str) -> Repository | None:
        """The organization's repository of that address, however it is spelt. One that another process registered is
        found a second later: every run that is created asks."""
        known = self._known.get(organization_id)
        if known is None:
            known = {_spelling(found.url): found for found in await self._store.repositories(organization_id)}
            self._known.put(organization_id, known)
        return known.get(_spelling(url)) if known else None

    async def credentials(self, repository: Repository, organization_uuid: UUID) -> GitCredentials:
        """Opened. Raises SealBroken."""
        opened = await self._opened(repository, organization_uuid)
        return GitCredentials(http=opened.get(GIT_HTTP), ssh_key=opened.get(GIT_SSH))

    async def _opened(self, repository: Repository, organization_uuid: UUID) -> Mapping[str, str]:
        return {
            name: self._vault.open(sealed, organization=organization_uuid, table=TABLE, row=f"{repository.uuid}/{name}")
            for name, sealed in (await self._store.repository_secrets(repository.id)).items()
        }

    async def _named(self, organization_id: int, name: str) -> Repository:
        for repository in await self._store.repositories(organization_id):
            if repository.name == name:
                return repository
        raise NotFound(f"There is no repository {name}.", hint="`treadle admin repo list` shows them.")

    def _seal(
        self, organization: Organization, uuid: UUID, git: GitCredentials, in_url: str | None
    ) -> Mapping[str, str]:
        clear = git_secrets(GitCredentials(http=git.http or in_url, ssh_key=git.ssh_key))
        return {
            secret: self._vault.seal(text, organization=organization.uuid, table=TABLE, row=f"{uuid}/{secret}")
            for secret, text in clear.items()
            if text is not None
        }


def _spelling(url: str) -> str:
    try:
        return normalize(url)
    except ValueError:
        return url


def _check(*, name: str, url: str, default_branch: str, git: GitCredentials, in_url: str | None) -> None:
    faults: dict[str, list[str]] = {}
    if not _NAME.fullmatch(name) or len(name) > MAX_NAME:
        faults["name"] = [f"Must be OWNER/NAME, of letters, digits, '.', '_' and '-', at most {MAX_NAME} characters."]
    url_fault = check_url(url, allow_local=True) if len(url) <= MAX_URL else f"Must be at most {MAX_URL:,} characters."
    if url_fault:
        faults["url"] = [url_fault]
    if branch_fault := check_branch(default_branch):
        faults["default_branch"] = [branch_fault]
    if sum(secret is not None for secret in (git.http, git.ssh_key, in_url)) > 1:
        faults["credentials"] = ["Give one: HTTP credentials, those in the address, or an SSH key."]
    if git.ssh_key is not None:
        try:
            check_ssh_key(git.ssh_key)
        except ValueError as error:
            faults["ssh_key"] = [str(error)]
    if faults:
        raise InvalidInput(faults, "The repository cannot be registered.")
