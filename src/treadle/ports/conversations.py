"""The port to what is said at a forge: comments, reviews, and why checks failed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from treadle.domain.deliveries import Check, Person, Subject
from treadle.domain.repository import ForgeKind, PullRequestState
from treadle.ports.forges import ForgeRepository


@dataclass(frozen=True, slots=True)
class ForgeComment:
    id: str
    url: str
    body: str
    author: Person
    date_created: datetime


@dataclass(frozen=True, slots=True)
class Finding:
    """What a review says of a line, numbered as in the new file."""

    path: str
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class ForgeReview:
    """What became of a review. `url`: of it, or of the pull request."""

    id: str
    url: str


@dataclass(frozen=True, slots=True)
class PullRequestDetails:
    number: int
    title: str
    body: str
    url: str
    state: PullRequestState
    author: Person
    head_branch: str
    base_branch: str
    head_sha: str
    is_from_fork: bool


class Conversations(Protocol):
    """As ports.forges.Forge: every call has a deadline and raises ForgeError, and no token is ever in it.

    `marker`: letters, digits and `.:_-`, at most 100. It goes hidden into the text; a call whose marker is there
    already says nothing again and answers with what was said. Derive it from an id that outsiders do not foresee.
    """

    @property
    def kind(self) -> ForgeKind: ...

    async def identity(self, repository: ForgeRepository) -> Person:
        """Whose the token is."""

    async def may_write(self, repository: ForgeRepository, person: Person) -> bool:
        """Whether the forge lets that account push to the repository. What a stranger says in a public one is so told
        from what a member says."""

    async def comments(self, repository: ForgeRepository, subject: Subject, number: int) -> Sequence[ForgeComment]:
        """Of an issue or pull request, oldest first; as many as a bounded number of pages has."""

    async def comment(
        self, repository: ForgeRepository, subject: Subject, number: int, body: str, *, marker: str
    ) -> ForgeComment:
        """Said once. A body that is too long for the forge is cut."""

    async def review(
        self,
        repository: ForgeRepository,
        number: int,
        sha: str,
        body: str,
        findings: Sequence[Finding],
        *,
        marker: str,
    ) -> ForgeReview:
        """Said once, of the pull request's commit `sha`, without approving or rejecting it. What cannot stand beside
        its line (because the diff has no such line) stands in the body."""

    async def check_log(self, repository: ForgeRepository, check: Check) -> str:
        """The end of what a failed check wrote: of its failed parts where it has parts, and what it says in words where
        it has no log. Empty when there is nothing. At most `MAX_LOG_BYTES` of UTF-8."""

    async def pull_request_details(self, repository: ForgeRepository, number: int) -> PullRequestDetails:
        """As it is now."""
