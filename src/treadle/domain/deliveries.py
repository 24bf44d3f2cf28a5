"""What forges tell by webhook, whichever forge it is."""

from dataclasses import dataclass, field
from enum import StrEnum

from treadle.domain.repository import ForgeKind


@dataclass(frozen=True, slots=True)
class Person:
    """An account at a forge. A login may be another's tomorrow; the id stays."""

    login: str
    id: str
    is_bot: bool = False  # where the forge says so


class Subject(StrEnum):
    """What is talked about. Some forges number the two apart."""

    ISSUE = "issue"
    PULL_REQUEST = "pull_request"


class CheckKind(StrEnum):
    """What a check is at its forge; by it and the id its log is found."""

    CHECK = "check"  # GitHub's check run
    SUITE = "suite"  # GitHub's check suite: all check runs of one app
    STATUS = "status"  # a commit status, which has no log at the forge
    JOB = "job"  # of a pipeline or workflow
    PIPELINE = "pipeline"  # or a workflow's run: all its jobs


@dataclass(frozen=True, slots=True)
class Check:
    """One execution of a check on a commit. Names and text are whatever the one who may write checks wrote."""

    kind: CheckKind
    id: str  # the forge's own
    name: str
    app: str | None  # what ran it, such as `github-actions`
    branch: str | None  # None: the forge does not say, and the commit is to be looked for
    sha: str
    url: str | None
    said: str = ""  # what it says of its outcome, in few words

    @property
    def is_summary(self) -> bool:
        """Whether it tells of others that are told of one by one as well."""
        return self.kind in {CheckKind.SUITE, CheckKind.PIPELINE}


@dataclass(frozen=True, slots=True)
class CheckFailed:
    check: Check


@dataclass(frozen=True, slots=True)
class CheckPassed:
    check: Check


@dataclass(frozen=True, slots=True)
class Issue:
    number: int
    title: str
    body: str
    url: str
    author: Person


@dataclass(frozen=True, slots=True)
class IssueLabelled:
    issue: Issue
    label: str


@dataclass(frozen=True, slots=True)
class IssueAssigned:
    issue: Issue
    assignee: Person


@dataclass(frozen=True, slots=True)
class CommentPosted:
    """A new comment, not an edit of one. `title` and `about`: of the issue or pull request."""

    subject: Subject
    number: int
    title: str
    about: str
    comment_id: str
    body: str
    url: str
    author: Person
    path: str | None = None  # of a comment on a line of a pull request
    line: int | None = None


@dataclass(frozen=True, slots=True)
class ReviewRequested:
    number: int
    title: str
    body: str
    url: str
    author: Person
    reviewer: Person
    head_branch: str
    base_branch: str
    head_sha: str
    is_from_fork: bool


@dataclass(frozen=True, slots=True)
class Ping:
    """The forge tries whether the address answers."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing that anything here follows from."""

    reason: str


Event = CheckFailed | CheckPassed | IssueLabelled | IssueAssigned | CommentPosted | ReviewRequested | Ping | Ignored


@dataclass(frozen=True, slots=True)
class Delivery:
    """One call of a webhook, which may tell of several things. `id` is the same when the forge sends it again; it is a
    header, which no forge but a signing GitLab signs: whoever caught a delivery may send it again under another id, so
    `digest`, of the body, is to be held against those that were seen too."""

    id: str
    digest: str  # SHA-256 of the body, in hexadecimal
    kind: ForgeKind
    repository_name: str  # OWNER/NAME; empty where it is of no repository
    repository_id: str  # the forge's own, as RepositoryFacts.forge_id
    sender: Person | None
    events: tuple[Event, ...] = field(default_factory=tuple)
