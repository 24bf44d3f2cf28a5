"""What a forge remembers of what is said and checked: accounts, issues, comments, reviews, checks with logs."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Account:
    id: int
    login: str
    is_bot: bool = False


#: Whose the token is, and somebody else.
ME = Account(41, "treadle-bot")
SOMEBODY = Account(42, "somebody")


@dataclass
class Issue:
    number: int
    title: str
    body: str = ""
    author: Account = SOMEBODY
    labels: list[str] = field(default_factory=list)
    assignees: list[Account] = field(default_factory=list)


@dataclass
class Comment:
    """`is_on_pull`: of a pull request or an issue. `path` and `line`: where it stands beside a line."""

    id: int
    number: int
    body: str
    author: Account = ME
    is_on_pull: bool = False
    path: str | None = None
    line: int | None = None


@dataclass
class Review:
    id: int
    number: int
    body: str
    sha: str | None
    comments: list[Comment] = field(default_factory=list)


@dataclass
class CheckRun:
    """A job of CI at the forge itself, or with `is_status` what a CI elsewhere says."""

    id: int
    name: str
    branch: str
    sha: str
    is_passed: bool
    log: str = ""
    is_status: bool = False


#: Reads a file of a commit; what a check says that fails, or None when it passes.
Check = Callable[[Callable[[str], str]], str | None]


def shown_lines(diff: str) -> dict[str, dict[int, int | None]]:
    """Of a diff of plain names: by path and new line the old one, None for one that is added."""
    found: dict[str, dict[int, int | None]] = {}
    path, old, new = "", 0, 0
    for row in diff.splitlines():
        if row.startswith("+++ b/"):
            path = row.removeprefix("+++ b/")
            found[path] = {}
        elif row.startswith("@@"):
            before, after = row.split()[1:3]
            old, new = int(before[1:].split(",")[0]), int(after[1:].split(",")[0])
        elif path and row[:1] in {"+", " "}:
            is_added = row[0] == "+"
            found[path][new] = None if is_added else old
            old, new = old + (not is_added), new + 1
        elif path and row[:1] == "-" and not row.startswith("--- "):
            old += 1
    return found
