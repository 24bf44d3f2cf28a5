"""Whether a repository can be reached, and what is known of it there: asked when it is registered, not by the first
run."""

from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import BranchNotFound, ForgeError, GitError
from treadle.domain.repository import ForgeAccess, Repository
from treadle.ports.forges import Forge, ForgeRepository, RepositoryFacts


@dataclass(frozen=True, slots=True)
class RemoteHead:
    """What a remote says of its branches. `name`: the one that HEAD means, None when it means none that there is;
    `has_branch`: whether the one that was asked for is there."""

    name: str | None
    has_branch: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look found, at `git`, at the `forge` or at its `checks`. `error` None: it is as it should be."""

    part: str
    said: str
    error: ForgeError | GitError | None = None


@dataclass(frozen=True, slots=True)
class Inspection:
    """`facts`, `check_names`: None where the forge does not tell, or there is none."""

    findings: tuple[Finding, ...]
    default_branch: str | None
    facts: RepositoryFacts | None
    check_names: tuple[str, ...] | None


class Reach(Protocol):
    """The way out to Git hosts and forges, as the service goes it, and to the person who asked."""

    async def head(
        self, url: str, organization_uuid: UUID, credentials: GitCredentials, branch: str | None
    ) -> RemoteHead:
        """Raises GitError with the cause."""

    def forge(self, access: ForgeAccess) -> Forge: ...

    def place(self, repository: Repository, token: str) -> ForgeRepository | None:
        """The repository at its forge; None when it has none."""

    def tell(self, finding: Finding) -> None:
        """What is no reason to refuse, and yet to be known."""


async def inspect(
    reach: Reach,
    url: str,
    organization_uuid: UUID,
    credentials: GitCredentials,
    *,
    branch: str | None,
    forge: ForgeRepository | None,
) -> Inspection:
    """Looks at everything, whatever it finds; `branch` None: whichever the remote's HEAD means. Never raises what the
    outside world answers."""
    found, git = await _git(reach, url, organization_uuid, credentials, branch)
    if forge is None:
        return Inspection((git,), found, None, None)
    client = reach.forge(forge.access)
    try:
        facts = await client.facts(forge)
    except ForgeError as error:
        return Inspection((git, Finding("forge", error.sentence(), error)), found, None, None)
    at_forge = _judged(facts, forge)
    asked = found or facts.default_branch
    if at_forge.error is not None or asked is None:
        return Inspection((git, at_forge), found, facts, None)
    try:
        names = tuple(await client.check_names(forge, asked))
    except ForgeError as error:
        return Inspection((git, at_forge, Finding("checks", error.sentence(), error)), found, facts, None)
    checks = Finding("checks", f"{len(names)} ran on {asked} lately." if names else f"None ran on {asked} lately.")
    return Inspection((git, at_forge, checks), found, facts, names)


async def _git(
    reach: Reach, url: str, organization_uuid: UUID, credentials: GitCredentials, branch: str | None
) -> tuple[str | None, Finding]:
    try:
        head = await reach.head(url, organization_uuid, credentials, branch)
        found = _branch(head, branch)
    except GitError as error:
        return None, Finding("git", error.sentence(), error)
    return found, Finding("git", f"The repository can be read, and its branch {found} is there.")


def _branch(head: RemoteHead, branch: str | None) -> str:
    if branch is None:
        if head.name is None:
            raise BranchNotFound(
                "The repository can be reached, but its HEAD means no branch that there is; perhaps it is empty.",
                hint="Push a first commit, or name the branch with --default-branch.",
            )
        return head.name
    if not head.has_branch:
        raise BranchNotFound(
            f"The repository can be reached, but it has no branch {branch}.",
            hint=f"Its HEAD is {head.name}." if head.name else "Push a first commit; perhaps it is empty.",
        )
    return branch


def _judged(facts: RepositoryFacts, forge: ForgeRepository) -> Finding:
    if facts.is_archived:
        error = ForgeError(f"{forge.name} is archived at its forge, so nothing can be pushed to it.")
        return Finding("forge", error.sentence(), error)
    if facts.may_push is False:
        error = ForgeError(
            f"The forge's token may read {forge.name} but not push to it, so no pull request could be opened.",
            hint="Give a token that may write contents and pull requests.",
        )
        return Finding("forge", error.sentence(), error)
    may = "may push" if facts.may_push else "can read it (the forge does not say whether it may push)"
    return Finding("forge", f"{forge.name} is there, and the token {may}.")
