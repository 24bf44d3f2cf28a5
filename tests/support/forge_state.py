"""What a forge remembers, whichever its API: projects, pull requests, checks."""

import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pydantic import JsonValue

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
        number = len(self.pulls) + 1
        date = FIRST + timedelta(minutes=number - 1)
        pull = Pull(number, title, body, head, base, date, is_from_fork=is_from_fork)
        self.pulls.append(pull)
        self.touch(pull)
        return pull

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


@dataclass(frozen=True)
class Reply:
    status: int
    body: JsonValue
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class ForgeState:
    """Everything of one forge."""

    token: str
    site: str = ""  # where its pages are
    projects: dict[str, Project] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def add(self, name: str, repositories: BareRepositories | None = None) -> Project:
        project = Project(len(self.projects) + 101, name, repositories=repositories)
        self.projects[name] = project
        return project
