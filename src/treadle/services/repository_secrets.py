"""The secrets of registered repositories: sealed to the repository, opened at the moment of use."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from treadle.domain.credentials import GitCredentials
from treadle.domain.repository import Repository
from treadle.ports import Vault
from treadle.ports.directory import RepositoryStore
from treadle.services.credentials import GIT_HTTP, GIT_SSH, git_secrets, row

TABLE = "repositories"

#: The secret that opens the forge's API, beside those of Git.
FORGE_TOKEN = "forge_token"  # noqa: S105 - a secret's name

#: Before the names of the variables of its environment, which are no credentials.
VARIABLES = "env/"

NO_GIT: Mapping[str, str | None] = {GIT_HTTP: None, GIT_SSH: None}


@dataclass(frozen=True, slots=True)
class RepositorySecrets:
    """Reads the store each time."""

    store: RepositoryStore
    vault: Vault

    def seal(
        self, organization_uuid: UUID, repository_uuid: UUID, git: GitCredentials, forge_token: str | None
    ) -> Mapping[str, str]:
        """Those that there are, by the names that the store keeps them under."""
        clear = {**git_secrets(git), FORGE_TOKEN: forge_token or None}
        return {
            name: self.vault.seal(text, organization=organization_uuid, table=TABLE, row=row(repository_uuid, name))
            for name, text in clear.items()
            if text is not None
        }

    async def names(self, repository: Repository) -> frozenset[str]:
        return frozenset(await self.store.repository_secrets(repository.id))

    async def opened(self, repository: Repository, organization_uuid: UUID) -> Mapping[str, str]:
        """In the clear, by the same names. Raises SealBroken."""
        return {
            name: self.vault.open(sealed, organization=organization_uuid, table=TABLE, row=row(repository.uuid, name))
            for name, sealed in (await self.store.repository_secrets(repository.id)).items()
        }


def git_of(opened: Mapping[str, str]) -> GitCredentials:
    return GitCredentials(http=opened.get(GIT_HTTP), ssh_key=opened.get(GIT_SSH))


def password_of(git: GitCredentials) -> str | None:
    """Of the HTTP credentials: what forges take for a token, where there is no other."""
    user, colon, password = (git.http or "").strip().partition(":")
    return (password if colon else user) or None
