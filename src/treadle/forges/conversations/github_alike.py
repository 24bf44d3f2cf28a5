"""What is said at GitHub, and at forges whose API was made after GitHub's. What differs is for each to say."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from typing import ClassVar, TypeVar
from urllib.parse import quote

from pydantic import JsonValue

from treadle.domain.deliveries import Check, Person, Subject
from treadle.forges.addresses import owner_and_name
from treadle.forges.answers import Dated, Link, Refused, Shape
from treadle.forges.conversations.asking import first_marked, newest
from treadle.forges.conversations.lines import Lines
from treadle.forges.conversations.placing import Placed, place
from treadle.forges.conversations.texts import (
    MAX_LOG_BYTES,
    beside_text,
    end_of,
    mark_of,
    marked,
    number_of,
    with_findings,
)
from treadle.forges.line import Line
from treadle.forges.transport import Transport
from treadle.ports.conversations import Finding, ForgeComment, ForgeReview, PullRequestDetails
from treadle.ports.forges import ForgeRepository

T = TypeVar("T")

#: Of an account that is gone.
GHOST = Person("ghost", "10137")

_WRITING = frozenset({"owner", "admin", "write"})


class User(Shape):
    id: int
    login: str
    type: str = ""

    @property
    def person(self) -> Person:
        """Gitea's own accounts, such as of its actions, have ids below 0."""
        return Person(self.login, str(self.id), self.type == "Bot" or self.login.endswith("[bot]") or self.id < 0)


class _Permission(Shape):
    permission: str
    user: User


class Comment(Dated):
    id: int
    html_url: Link
    body: str | None = None
    user: User | None = None

    def told(self) -> ForgeComment:
        author = self.user.person if self.user else GHOST
        return ForgeComment(str(self.id), self.html_url, self.body or "", author, self.date_created)


class _Review(Shape):
    id: int
    html_url: Link
    body: str | None = None


class GitHubAlike(ABC):
    """Of ports.conversations.Conversations; `size`: how a query names the length of a page."""

    size: ClassVar[str]

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    @abstractmethod
    def headers(self, repository: ForgeRepository) -> Mapping[str, str]:
        """With the token."""

    @abstractmethod
    async def said(self, line: Line, path: str) -> Sequence[Comment]:
        """Comments, oldest first."""

    @abstractmethod
    async def details(self, line: Line, path: str) -> PullRequestDetails: ...

    @abstractmethod
    async def lines(self, line: Line, path: str) -> Mapping[str, Lines]:
        """Those that a pull request's diff shows, by path."""

    @abstractmethod
    def beside(self, finding: Finding) -> Mapping[str, JsonValue]:
        """Where a finding stands."""

    @abstractmethod
    async def log(self, line: Line, path: str, check: Check, id_: str) -> str: ...

    def open(self, repository: ForgeRepository) -> AbstractAsyncContextManager[Line]:
        return self._transport.open(repository, self.headers(repository))

    async def identity(self, repository: ForgeRepository) -> Person:
        async with self.open(repository) as line:
            return (await line.get(User, "user")).person

    async def may_write(self, repository: ForgeRepository, person: Person) -> bool:
        path = f"repos/{owner_and_name(repository)}/collaborators/{quote(person.login, safe='')}/permission"
        async with self.open(repository) as line:
            try:
                found = await line.get(_Permission, path)
            except Refused as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
                return False
        # A login that is another's by now is not the person's.
        return found.permission in _WRITING and str(found.user.id) == person.id

    async def comments(self, repository: ForgeRepository, subject: Subject, number: int) -> Sequence[ForgeComment]:  # noqa: ARG002 - both are numbered together
        async with self.open(repository) as line:
            found = await self.said(line, f"repos/{owner_and_name(repository)}/issues/{number}/comments")
        return [comment.told() for comment in found]

    async def comment(
        self,
        repository: ForgeRepository,
        subject: Subject,  # noqa: ARG002 - both are numbered together
        number: int,
        body: str,
        *,
        marker: str,
    ) -> ForgeComment:
        path, mark = f"repos/{owner_and_name(repository)}/issues/{number}/comments", mark_of(marker)
        async with self.open(repository) as line:

            async def find() -> Comment | None:
                return await first_marked(self._newest(line, list[Comment], path), mark)

            async def create() -> Comment:
                return await line.send("POST", Comment, path, {"body": marked(body, marker)}, is_repeatable=False)

            return (await line.once(find, create)).told()

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
        path, mark = f"repos/{owner_and_name(repository)}/pulls/{number}", mark_of(marker)
        async with self.open(repository) as line:

            async def find() -> _Review | None:
                return await first_marked(self._newest(line, list[_Review], f"{path}/reviews"), mark)

            async def create() -> _Review:
                placed = place(findings, await shown() if findings else {})
                if placed.beside:
                    try:
                        return await send({**_body(placed), "commit_id": sha})
                    except Refused as error:
                        if error.status != HTTPStatus.UNPROCESSABLE_ENTITY:
                            raise
                return await send(_body(Placed((), tuple(findings))))

            async def shown() -> Mapping[str, Lines]:
                """Nothing when the pull request has moved on: its lines are others now."""
                is_it = (await self.details(line, path)).head_sha == sha
                return await self.lines(line, path) if is_it else {}

            async def send(said: Mapping[str, JsonValue]) -> _Review:
                return await line.send("POST", _Review, f"{path}/reviews", said, is_repeatable=False)

            def _body(placed: Placed) -> Mapping[str, JsonValue]:
                beside: list[JsonValue] = [
                    {"path": one.path, "body": beside_text(one.text), **self.beside(one)} for one in placed.beside
                ]
                text = marked(with_findings(body, placed.elsewhere), marker)
                return {"body": text, "event": "COMMENT", "comments": beside}

            found = await line.once(find, create)
        return ForgeReview(str(found.id), found.html_url)

    async def check_log(self, repository: ForgeRepository, check: Check) -> str:
        path, id_ = f"repos/{owner_and_name(repository)}", number_of(check)
        async with self.open(repository) as line:
            log = await self.log(line, path, check, id_)
            return end_of(line.hide(log or check.said), MAX_LOG_BYTES)

    async def pull_request_details(self, repository: ForgeRepository, number: int) -> PullRequestDetails:
        async with self.open(repository) as line:
            return await self.details(line, f"repos/{owner_and_name(repository)}/pulls/{number}")

    def _newest(self, line: Line, shape: type[list[T]], path: str) -> AsyncIterator[T]:
        return newest(line, shape, path, size=self.size)
