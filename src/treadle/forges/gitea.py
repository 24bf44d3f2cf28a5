"""Gitea, and Forgejo, which speaks the same: the API v1. A pull request is a draft by its title.

Sources: docs.gitea.com, "API Usage" (`Authorization: token …`; pages by `page` and `limit`, of at most 50), the
descriptions beside the handlers in go-gitea/gitea `routers/api/v1/repo/pull.go` (create: 201, 404 for a branch that is
not there, 409 "pull request already exists for these targets", 422 where nothing lies between the branches; edit: 201,
and 412 for one that is merged) and `status.go`; "Config Cheat Sheet" (`WORK_IN_PROGRESS_PREFIXES`: `WIP:`, `[WIP]`).
"""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from urllib.parse import quote

from pydantic import Field

from treadle.domain.repository import ForgeKind
from treadle.forges.addresses import owner_and_name
from treadle.forges.answers import Dated, Link, Number, Refused, Shape, Title, state_of
from treadle.forges.line import Line
from treadle.forges.transport import Transport
from treadle.ports.forges import (
    ForgePullRequest,
    ForgeRepository,
    PullRequestChange,
    PullRequestDraft,
    RepositoryFacts,
)

#: Open pull requests in a page, and pages that are searched for one; the API has no filter by branch. Small pages: each
#: pull request comes with its repository, twice.
PULLS_PAGE = 20
PULLS_PAGES = 5

_WIP = re.compile(r"\A(?:\s*(?:wip:|\[wip\]))+\s*", re.IGNORECASE)

_STATES = {PullRequestChange.OPEN: "open", PullRequestChange.CLOSED: "closed"}


class _Permissions(Shape):
    push: bool = False


class _Repository(Shape):
    id: int
    description: str | None = None
    private: bool = False
    internal: bool = False
    archived: bool = False
    language: str | None = None
    default_branch: str | None = None
    permissions: _Permissions | None = None


class _Branch(Shape):
    label: str  # the branch's name, also when it is gone
    repo_id: int | None = None


class _Pull(Dated):
    number: Number
    title: Title
    html_url: Link
    state: str
    merged: bool = False
    draft: bool | None = None  # not said by older servers
    head: _Branch
    base: _Branch

    @property
    def is_open(self) -> bool:
        return self.state == "open"

    @property
    def is_draft(self) -> bool:
        return self.draft if self.draft is not None else _WIP.match(self.title) is not None

    def is_of(self, branch: str) -> bool:
        return self.is_open and self.head.label == branch and self.head.repo_id == self.base.repo_id

    def told(self) -> ForgePullRequest:
        state = state_of(is_open=self.is_open, is_merged=self.merged, is_draft=self.is_draft)
        return ForgePullRequest(self.number, self.title, self.html_url, state, self.head.label, self.date_created)


class _Status(Shape):
    context: str


class _CombinedStatus(Shape):
    statuses: list[_Status] | None = Field(default_factory=list)


class GiteaForge:
    """ports.forges.Forge."""

    kind = ForgeKind.GITEA

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def facts(self, repository: ForgeRepository) -> RepositoryFacts:
        path = f"repos/{owner_and_name(repository)}"
        async with self._transport.open(repository, headers_of(repository)) as line:
            found = await line.get(_Repository, path)
        return RepositoryFacts(
            forge_id=str(found.id),
            description=found.description or None,
            visibility="private" if found.private else "internal" if found.internal else "public",
            is_archived=found.archived,
            language=found.language or None,
            default_branch=found.default_branch or None,
            may_push=found.permissions.push if found.permissions is not None else None,
        )

    async def open_pull_request(self, repository: ForgeRepository, draft: PullRequestDraft) -> ForgePullRequest:
        path = f"repos/{owner_and_name(repository)}/pulls"
        async with self._transport.open(repository, headers_of(repository)) as line:

            async def find() -> _Pull | None:
                for page in range(1, PULLS_PAGES + 1):
                    pulls = await line.get(
                        list[_Pull], path, state="open", sort="recentupdate", limit=PULLS_PAGE, page=page
                    )
                    for pull in pulls:
                        if pull.is_of(draft.head):
                            return pull
                    if not pulls:  # a server may have smaller pages
                        break
                return None

            async def create() -> _Pull:
                body = {"title": draft.title, "body": draft.body, "head": draft.head, "base": draft.base}
                try:
                    return await line.send("POST", _Pull, path, body, is_repeatable=False)
                except Refused as error:
                    if error.status == HTTPStatus.CONFLICT and (found := await _between(line, path, draft)):
                        return found
                    raise

            return (await line.once(find, create)).told()

    async def pull_request(self, repository: ForgeRepository, number: int) -> ForgePullRequest:
        async with self._transport.open(repository, headers_of(repository)) as line:
            return (await line.get(_Pull, f"repos/{owner_and_name(repository)}/pulls/{number}")).told()

    async def change_pull_request(
        self, repository: ForgeRepository, number: int, change: PullRequestChange
    ) -> ForgePullRequest:
        path = f"repos/{owner_and_name(repository)}/pulls/{number}"
        async with self._transport.open(repository, headers_of(repository)) as line:
            found = await line.get(_Pull, path)
            body = _body_of(change, found)
            return (await line.send("PATCH", _Pull, path, body) if body else found).told()

    async def check_names(self, repository: ForgeRepository, ref: str) -> Sequence[str]:
        path = f"repos/{owner_and_name(repository)}/commits/{quote(ref, safe='')}/status"
        async with self._transport.open(repository, headers_of(repository)) as line:
            found = await line.get(_CombinedStatus, path, limit=50)
        return sorted({status.context for status in found.statuses or ()})


async def _between(line: Line, path: str, draft: PullRequestDraft) -> _Pull | None:
    """The open one of these two branches, where so many are open that it is on no page that is searched."""
    try:
        found = await line.get(_Pull, f"{path}/{quote(draft.base, safe='')}/{quote(draft.head, safe='')}")
    except Refused:
        return None
    return found if found.is_of(draft.head) else None


def _body_of(change: PullRequestChange, found: _Pull) -> Mapping[str, str]:
    """Nothing when it is so already."""
    if change in _STATES:
        return {"state": _STATES[change]} if found.merged or found.state != _STATES[change] else {}
    if (change is PullRequestChange.DRAFT) is found.is_draft:
        return {}
    if change is PullRequestChange.DRAFT:
        return {"title": f"WIP: {found.title}"}
    return {"title": _WIP.sub("", found.title) or found.head.label}


def headers_of(repository: ForgeRepository) -> Mapping[str, str]:
    return {"Accept": "application/json", "Authorization": f"token {repository.token}"}
