"""What changes on a registered repository: by an operator, and by what its forge says."""

from dataclasses import dataclass, field, replace

from treadle.domain.credentials import GitCredentials
from treadle.domain.git_url import parse, split_credentials
from treadle.domain.network import NetworkPolicy
from treadle.domain.repository import ForgeAccess, Repository
from treadle.domain.validation import ValidationRules
from treadle.ports.forges import RepositoryFacts

#: What is kept of a description and of a language, in characters.
MAX_DESCRIPTION = 2_000
MAX_LANGUAGE = 100

VISIBILITIES = ("public", "private", "internal")


@dataclass(frozen=True, slots=True)
class RepositoryChange:
    """What is to be different from now on; None: stays as it is. `git`, or credentials in the address, replace all that
    it has; empty ones take them away. An empty token or text takes away what there is."""

    url: str | None = None
    default_branch: str | None = None
    git: GitCredentials | None = None
    forge: ForgeAccess | None = None
    is_without_forge: bool = False
    forge_token: str | None = field(default=None, repr=False)
    description: str | None = None
    visibility: str | None = None
    language: str | None = None
    is_archived: bool | None = None
    rules: str | None = None
    network: NetworkPolicy | None = None
    is_without_network: bool = False  # of its own: the service's counts
    scans_secrets: bool | None = None
    validation: ValidationRules | None = None
    is_without_validation: bool = False

    @property
    def needs_a_look(self) -> bool:
        """Whether it can be told now that it may not be reached afterwards. Credentials that are only taken away say
        nothing: runs may bring theirs."""
        brings = self.git is not None and self.git != GitCredentials()
        return brings or any((self.url, self.default_branch, self.forge, self.forge_token))


def address_and_git(url: str, git: GitCredentials | None) -> tuple[str, GitCredentials]:
    """The address without credentials, and the credentials given or in it."""
    clean_url, in_url = split_credentials(url)
    given = git or GitCredentials()
    return clean_url, GitCredentials(http=given.http or in_url, ssh_key=given.ssh_key)


def forge_after(found: Repository, url: str, change: RepositoryChange) -> ForgeAccess | None:
    """The forge that the repository has with its new address: an address elsewhere brings none."""
    if change.forge is not None or change.is_without_forge:
        return change.forge
    return found.forge if _host(url) == _host(found.url) else None


def _host(url: str) -> str | None:
    try:
        return parse(url).host
    except ValueError:
        return None


def origin_of(forge: ForgeAccess | None) -> tuple[str, ...] | None:
    """What a forge's token is for: its kind, scheme and host."""
    return (forge.kind, *forge.api_url.split("/")[:3]) if forge is not None else None


def learned(repository: Repository, facts: RepositoryFacts | None) -> Repository:
    """With what its forge says of it; what a column or a page could not hold is cut or left out."""
    if facts is None:
        return repository
    visibility = facts.visibility if facts.visibility in VISIBILITIES else None
    return replace(
        repository,
        forge_id=facts.forge_id,
        description=facts.description[:MAX_DESCRIPTION] if facts.description else None,
        visibility=visibility,
        is_archived=facts.is_archived,
        language=facts.language[:MAX_LANGUAGE] if facts.language else None,
    )


def changed_by(repository: Repository, change: RepositoryChange) -> Repository:
    """With what the change says of it; an empty text takes one away."""
    return replace(
        repository,
        default_branch=change.default_branch or repository.default_branch,
        description=_text(change.description, repository.description),
        visibility=_text(change.visibility, repository.visibility),
        language=_text(change.language, repository.language),
        is_archived=repository.is_archived if change.is_archived is None else change.is_archived,
        rules=_text(change.rules, repository.rules),
        network=None if change.is_without_network else change.network or repository.network,
        scans_secrets=repository.scans_secrets if change.scans_secrets is None else change.scans_secrets,
        validation=None if change.is_without_validation else change.validation or repository.validation,
    )


def _text(given: str | None, known: str | None) -> str | None:
    return known if given is None else given.strip() or None
