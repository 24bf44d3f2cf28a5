"""Registered repositories: an address, the credentials that runs without their own use, and what is set for it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from uuid import UUID

from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import InvalidInput, NotFound
from treadle.domain.events import JsonObject
from treadle.domain.git_url import normalize
from treadle.domain.identity import Organization, Principal
from treadle.domain.permissions import Permission, require
from treadle.domain.repository import ForgeAccess, Repository, SetupStatus
from treadle.ports import Clock, Vault
from treadle.services.audit import Audit, change_of
from treadle.services.audit_actions import Action
from treadle.services.organizations import OrganizationStore
from treadle.services.recent import Recent
from treadle.services.repository_change import (
    RepositoryChange,
    address_and_git,
    changed_by,
    forge_after,
    learned,
    origin_of,
)
from treadle.services.repository_faults import repository_faults, setup_fault
from treadle.services.repository_reach import Inspection, Reach, inspect
from treadle.services.repository_secrets import FORGE_TOKEN, NO_GIT, RepositorySecrets, git_of, password_of

#: As the agent-run API's specification words it.
NO_REPOSITORIES = "No repos found in the organization. Please add some repos and try again."

#: Where nobody named a branch, and nobody was asked.
FALLBACK_BRANCH = "main"

#: Whose old and new values the audit log tells.
_TOLD = frozenset({"url", "default_branch", "is_archived", "visibility", "network", "scans_secrets", "validation"})


class Repositories:
    """The use cases around registered repositories."""

    def __init__(
        self, store: OrganizationStore, vault: Vault, clock: Clock, *, audit: Audit, new_uuid: Callable[[], UUID]
    ) -> None:
        self._store = store
        self._audit = audit
        self._secrets = RepositorySecrets(store, vault)
        self._clock = clock
        self._new_uuid = new_uuid
        self._known: Recent[int, Mapping[str, Repository]] = Recent(clock, seconds=1, size=1000)

    # ---- what there is -----------------------------------------------------------------------------------------------

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

    async def of_run(self, organization_id: int, repository_id: int | None, url: str) -> Repository | None:
        """The one that a run is on: as it was chosen, else the one of that address; None when there is none now."""
        if repository_id is None:
            return await self.find(organization_id, url)
        try:
            return await self._store.repository(organization_id, repository_id)
        except NotFound:
            return None

    async def named(self, organization_id: int, name: str) -> Repository:
        """By OWNER/NAME. Raises NotFound."""
        for repository in await self._store.repositories(organization_id):
            if repository.name == name:
                return repository
        raise NotFound(f"There is no repository {name}.", hint="`treadle admin repo list` shows them.")

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
        return git_of(await self._secrets.opened(repository, organization_uuid))

    async def forge_token(self, repository: Repository, organization_uuid: UUID) -> str | None:
        """Opened: its own for the forge, else what its HTTP credentials have for a password. Raises SealBroken."""
        opened = await self._secrets.opened(repository, organization_uuid)
        return opened.get(FORGE_TOKEN) or password_of(git_of(opened))

    async def secret_names(self, repository: Repository) -> frozenset[str]:
        """What it has: `git_http`, `git_ssh`, `forge_token`; nothing is opened."""
        return await self._secrets.names(repository)

    # ---- what an operator does: local addresses are allowed ----------------------------------------------------------

    async def add(
        self,
        organization: Organization,
        *,
        name: str,
        url: str,
        default_branch: str | None = None,
        git: GitCredentials | None = None,
        forge: ForgeAccess | None = None,
        forge_token: str | None = None,
        reach: Reach | None = None,
    ) -> Repository:
        """Registers OWNER/NAME; an organization's first becomes its default. With `reach` it is looked at before
        anything is kept, and its default branch is what its HEAD means; without, nobody is asked.

        Raises InvalidInput naming every fault, Conflict when the name is taken, GitError when it cannot be reached, and
        ForgeError when `forge_token` cannot be used.
        """
        change = RepositoryChange(url, default_branch, git, forge, forge_token=forge_token)
        if faults := repository_faults(name, change, has_forge=forge is not None):
            raise InvalidInput(faults, "The repository cannot be registered.")
        clean_url, used = address_and_git(url, git)
        repository = Repository(
            id=0,  # the store gives it one
            uuid=self._new_uuid(),
            organization_id=organization.id,
            name=name,
            url=clean_url,
            default_branch=default_branch or FALLBACK_BRANCH,
            date_created=self._clock.now(),
            forge=forge,
        )
        seen = None
        if reach is not None:
            token = forge_token or password_of(used)
            seen = await _look(reach, organization, repository, used, token, branch=default_branch)
            _refuse(seen, reach, is_token_new=forge_token is not None)
            repository = learned(replace(repository, default_branch=seen.default_branch or FALLBACK_BRANCH), seen.facts)
        sealed = self._secrets.seal(organization.uuid, repository.uuid, used, forge_token)
        try:
            added = await self._store.add_repository(repository, sealed)
        finally:
            self._known.clear()
        if seen is not None and seen.check_names:
            await self._store.set_check_names(added.id, seen.check_names)
        owner = await self._store.organization(organization.id)
        if owner.default_repository_id is None and len(await self._store.repositories(organization.id)) == 1:
            await self._store.update_organization(replace(owner, default_repository_id=added.id))
        await self._note(Action.REPOSITORY_ADDED, added, {"url": added.url, "secrets": sorted(sealed)})
        return added

    async def update(
        self, organization: Organization, name: str, change: RepositoryChange, *, reach: Reach | None = None
    ) -> Repository:
        """Changes what is given, for later runs. A forge's token stays with the forge that it was given for. With
        `reach`, as in `add`, when something changes that access depends on. Raises what `add` does, and NotFound."""
        found = await self.named(organization.id, name)
        opened = await self._secrets.opened(found, organization.uuid)
        clean_url, used = (found.url, change.git) if change.url is None else address_and_git(change.url, change.git)
        is_replaced = change.git is not None or (used is not None and used != GitCredentials())
        forge = forge_after(found, clean_url, change)
        if faults := repository_faults(name, change, has_forge=forge is not None):
            raise InvalidInput(faults, "The repository cannot be changed.")
        used = used if is_replaced and used is not None else git_of(opened)
        is_moved = origin_of(forge) != origin_of(found.forge)
        kept_token = None if is_moved else opened.get(FORGE_TOKEN)
        token = kept_token if change.forge_token is None else change.forge_token or None
        changed = changed_by(
            replace(found, url=clean_url, forge=forge, forge_id=None if is_moved else found.forge_id), change
        )
        if reach is not None and change.needs_a_look:
            seen = await _look(
                reach, organization, changed, used, token or password_of(used), branch=changed.default_branch
            )
            _refuse(seen, reach, is_token_new=bool(change.forge_token))
            changed = changed_by(learned(changed, seen.facts), change)  # what was given counts for more
        sealed: dict[str, str | None] = {**NO_GIT} if is_replaced else {}
        sealed |= {FORGE_TOKEN: None} if token is None and FORGE_TOKEN in opened else {}
        sealed |= self._secrets.seal(
            organization.uuid, found.uuid, used if is_replaced else GitCredentials(), change.forge_token
        )
        try:
            await self._store.update_repository(changed, sealed or None, self._clock.now())
        finally:
            self._known.clear()
        detail: JsonObject = {**change_of(found, changed, told=_TOLD), "secrets": sorted(sealed)}
        await self._note(Action.REPOSITORY_CHANGED, changed, detail)
        return changed

    async def check(self, organization: Organization, name: str, reach: Reach) -> Inspection:
        """Looks whether it can be reached now, and keeps what the forge says of it. Raises NotFound, SealBroken."""
        found = await self.named(organization.id, name)
        opened = await self._secrets.opened(found, organization.uuid)
        git = git_of(opened)
        token = opened.get(FORGE_TOKEN) or password_of(git)
        seen = await _look(reach, organization, found, git, token, branch=found.default_branch)
        if seen.facts is not None:
            await self._store.update_repository(learned(found, seen.facts), None, self._clock.now())
        if seen.check_names is not None:
            await self._store.set_check_names(found.id, seen.check_names)
        return seen

    async def remove(self, organization_id: int, name: str) -> None:
        """Later runs know nothing of it; those that there are go on. Raises NotFound."""
        found = await self.named(organization_id, name)
        try:
            await self._store.remove_repository(found.id)
        finally:
            self._known.clear()
        owner = await self._store.organization(organization_id)
        if owner.default_repository_id == found.id:
            await self._store.update_organization(replace(owner, default_repository_id=None))
        await self._note(Action.REPOSITORY_REMOVED, found, {"url": found.url})

    async def set_setup(self, organization_id: int, name: str, commands: str | None) -> None:
        """Gives it these setup commands for later runs; None takes them away. Raises InvalidInput, NotFound."""
        text = (commands or "").strip()
        if fault := setup_fault(text):
            raise InvalidInput({"setup": [fault]}, "The setup commands cannot be kept.")
        found = await self.named(organization_id, name)
        await self._store.set_setup(found.id, SetupStatus.READY if text else SetupStatus.NONE, commands=text)
        await self._note(Action.REPOSITORY_SETUP_CHANGED, found, {"lines": len(text.splitlines())})

    async def _note(self, action: Action, repository: Repository, detail: JsonObject) -> None:
        await self._audit.note(
            action,
            target=repository.id,
            detail={"name": repository.name, **detail},
            organization_id=repository.organization_id,
        )


async def _look(
    reach: Reach,
    organization: Organization,
    repository: Repository,
    git: GitCredentials,
    token: str | None,
    *,
    branch: str | None,
) -> Inspection:
    forge = reach.place(repository, token) if token is not None else None
    return await inspect(reach, repository.url, organization.uuid, git, branch=branch, forge=forge)


def _refuse(seen: Inspection, reach: Reach, *, is_token_new: bool) -> None:
    """Raises what must not be kept so, and tells the rest: a password may be no token for the forge."""
    for finding in seen.findings:
        if finding.error is None:
            continue
        if finding.part == "git" or (finding.part == "forge" and is_token_new):
            raise finding.error
        reach.tell(finding)


def _spelling(url: str) -> str:
    try:
        return normalize(url)
    except ValueError:
        return url
