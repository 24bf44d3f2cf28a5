"""What a forge remembers, whichever its API: projects, pull requests, checks."""

import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pydantic import JsonValue

from tests.support.forge_talk_state import ME, Account, CheckRun, Comment, Issue, Review
from tests.support.repositories import BareRepositories

#: When the first pull request is opened; each later one a minute after the one before.
FIRST = datetime(2031, 4, 5, 6, 7, 8, tzinfo=UTC)


@dataclass
class Pull:
    number: int
    title: str
    body: str
    head: str
    base: str
    date: datetime
    state: str = "open"  # open, closed, merged
    is_draft: bool = False  # GitHub's; elsewhere the title says it
    is_from_fork: bool = False
    updated: int = 0  # counts up with each change
    sha: str = "c" * 40  # of its head, where no real repository is beside it
    diff: str = ""  # the same
    author: Account = ME


@dataclass
class Project:
    """A repository at the forge. `checks`: names by the branch that they ran on."""

    id: int
    name: str
    default_branch: str = "main"
    description: str | None = "A sample"
    is_private: bool = True
    is_archived: bool = False
    may_push: bool = True
    languages: dict[str, float] = field(default_factory=lambda: {"Shell": 20.5, "Python": 79.5})
    branches: set[str] = field(default_factory=lambda: {"main"})  # where no real repository is beside it
    checks: dict[str, list[str]] = field(default_factory=dict)
    statuses: dict[str, list[str]] = field(default_factory=dict)
    pulls: list[Pull] = field(default_factory=list)
    issues: list[Issue] = field(default_factory=list)
    comments: list[Comment] = field(default_factory=list)
    reviews: list[Review] = field(default_factory=list)
    runs: list[CheckRun] = field(default_factory=list)
    writers: dict[str, Account] = field(default_factory=lambda: {ME.login: ME})  # who may push
    readers: dict[str, Account] = field(default_factory=dict)  # whom it knows, and who may not
    are_numbered_together: bool = True  # issues and pull requests
    repositories: BareRepositories | None = None
    _changes: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def has_branch(self, name: str) -> bool:
        if self.repositories is None:
            return name in self.branches
        return name in self.repositories.branches(self.name)

    def ahead(self, head: str, base: str) -> int:
        """Commits of `head` that `base` has not."""
        if self.repositories is None:
            return int(head != base)
        return int(self.repositories.git(self.name, "rev-list", "--count", f"refs/heads/{base}..refs/heads/{head}"))

    def find(self, number: int) -> Pull | None:
        return next((pull for pull in self.pulls if pull.number == number), None)

    def open_ones(self, head: str) -> list[Pull]:
        return [pull for pull in self.pulls if pull.state == "open" and pull.head == head and not pull.is_from_fork]

    def open(self, title: str, head: str, *, base: str = "main", body: str = "", is_from_fork: bool = False) -> Pull:
        number = len(self.pulls) + (len(self.issues) if self.are_numbered_together else 0) + 1
        date = FIRST + timedelta(minutes=number - 1)
        pull = Pull(number, title, body, head, base, date, is_from_fork=is_from_fork)
        self.pulls.append(pull)
        self.touch(pull)
        return pull

    def raise_issue(self, title: str, body: str = "") -> Issue:
        number = len(self.issues) + (len(self.pulls) if self.are_numbered_together else 0) + 1
        issue = Issue(number, title, body)
        self.issues.append(issue)
        return issue

    def issue(self, number: int) -> Issue | None:
        return next((issue for issue in self.issues if issue.number == number), None)

    def say(  # of a test: what somebody says
        self, number: int, body: str, *, author: Account, is_on_pull: bool = False
    ) -> Comment:
        comment = Comment(self.next_id(), number, body, author, is_on_pull)
        self.comments.append(comment)
        return comment

    def said(self, number: int, *, is_on_pull: bool = False) -> list[str]:
        """The comments on an issue or pull request, oldest first."""
        return [one.body for one in self.comments if (one.number, one.is_on_pull) == (number, is_on_pull)]

    def head_of(self, pull: Pull) -> str:
        return pull.sha if self.repositories is None else self.sha_of(pull.head)

    def sha_of(self, branch: str) -> str:
        assert self.repositories is not None, "no real repository is beside it"
        return self.repositories.git(self.name, "rev-parse", f"refs/heads/{branch}").strip()

    def diff_of(self, pull: Pull) -> str:
        if self.repositories is None:
            return pull.diff
        return self.repositories.git(self.name, "diff", f"refs/heads/{pull.base}...refs/heads/{pull.head}")

    def next_id(self) -> int:
        return 5_000 + next(self._changes)

    def touch(self, pull: Pull) -> None:
        pull.updated = next(self._changes)


@dataclass(frozen=True)
class ForgeRequest:
    """As it arrived; header names in lower case."""

    method: str
    path: str  # decoded
    raw_path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: JsonValue

    def text(self, name: str) -> str:
        """A field of the body; an empty one where there is none."""
        found = self.body.get(name) if isinstance(self.body, dict) else None
        return found if isinstance(found, str) else ""

    @property
    def page(self) -> int:
        return int(self.query.get("page", "1"))

    @property
    def size(self) -> int:
        return int(self.query.get("per_page") or self.query.get("limit") or "30")

    def paged(self, items: Sequence[JsonValue], *, most: int = 100) -> list[JsonValue]:
        size = min(self.size, most)
        return list(items[(self.page - 1) * size : self.page * size])

    def page_of(self, items: Sequence[JsonValue], site: str) -> "Reply":
        """As GitHub answers: with a link to the last page where there are others."""
        last, links = max(1, -(-len(items) // self.size)), dict[str, str]()
        if last > self.page:
            address = f"{site}{self.raw_path}?per_page={self.size}"
            links["Link"] = f'<{address}&page={self.page + 1}>; rel="next", <{address}&page={last}>; rel="last"'
        return Reply(200, self.paged(items), links)


@dataclass(frozen=True)
class Reply:
    status: int
    body: JsonValue
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str | None = None  # in place of a body


@dataclass
class ForgeState:
    """Everything of one forge."""

    token: str
    site: str = ""  # where its pages are
    logs_site: str = ""  # where logs are, by another name of its host
    me: Account = ME  # whose the token is
    is_app: bool = False  # GitHub's: the token is an app's, which is no user
    projects: dict[str, Project] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def add(
        self, name: str, repositories: BareRepositories | None = None, *, are_numbered_together: bool = True
    ) -> Project:
        project = Project(
            len(self.projects) + 101, name, repositories=repositories, are_numbered_together=are_numbered_together
        )
        self.projects[name] = project
        return project
