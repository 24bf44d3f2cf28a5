"""GitLab: the REST API v4. A project is named by its path, percent-encoded; a merge request is a draft by its title.

Sources: docs.gitlab.com, "Merge requests API" (create: 201, 409 "Another open merge request already exists for this
source branch: !N", 400 for a branch that is not there; update: PUT with `state_event` or `title`), "Projects API",
"Pipelines API", "Jobs API", "Draft merge requests" (`Draft:`, `[Draft]`, `(Draft)` at the beginning of the title;
`WIP:` before 14.8), "REST API authentication" (`Authorization: Bearer` takes personal, project and group tokens, and
those of OAuth).
"""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from treadle.domain.errors import ForgeError
from treadle.domain.repository import ForgeKind
from treadle.forges.answers import Dated, Link, Number, Shape, Title, state_of
from treadle.forges.line import Line
from treadle.forges.transport import Transport
from treadle.ports.forges import (
    ForgePullRequest,
    ForgeRepository,
    PullRequestChange,
    PullRequestDraft,
    RepositoryFacts,
)

#: Whose jobs are read, of the newest ones.
PIPELINES = 3

#: Jobs in a page, and pages that are read of each.
JOBS_PAGE = 50
JOBS_PAGES = 3

_DRAFT = re.compile(r"\A(?:\s*(?:draft:|\[draft\]|\(draft\)|wip:|\[wip\]))+\s*", re.IGNORECASE)
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

#: The role from which on one may push: Developer.
DEVELOPER = 30

#: What there is to do in which state.
_EVENTS = {PullRequestChange.OPEN: ("closed", "reopen"), PullRequestChange.CLOSED: ("opened", "close")}


class _Access(Shape):
    access_level: int = 0


class _Permissions(Shape):
    project_access: _Access | None = None
    group_access: _Access | None = None

    @property
    def may_push(self) -> bool:
        return any(access and access.access_level >= DEVELOPER for access in (self.project_access, self.group_access))


class _Project(Shape):
    id: int
    description: str | None = None
    visibility: str | None = None
    archived: bool = False
    default_branch: str | None = None
    permissions: _Permissions | None = None


class _MergeRequest(Dated):
    iid: Number
    title: Title
    web_url: Link
    state: str
    draft: bool | None = None
    work_in_progress: bool | None = None  # its name before 13.2
    source_branch: str
    source_project_id: int | None = None
    target_project_id: int | None = None

    @property
    def is_draft(self) -> bool:
        return bool(self.draft if self.draft is not None else self.work_in_progress)

    def told(self) -> ForgePullRequest:
        is_open = self.state in {"opened", "locked"}  # locked: it is being merged
        state = state_of(is_open=is_open, is_merged=self.state == "merged", is_draft=self.is_draft)
        return ForgePullRequest(self.iid, self.title, self.web_url, state, self.source_branch, self.date_created)


class _Pipeline(Shape):
    id: int


class _Job(Shape):
    name: str


class GitLabForge:
    """ports.forges.Forge."""

    kind = ForgeKind.GITLAB

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def facts(self, repository: ForgeRepository) -> RepositoryFacts:
        async with self._transport.open(repository, headers_of(repository)) as line:
            found = await line.get(_Project, project_path(repository))
            try:
                shares = await line.get(dict[str, float], f"{project_path(repository)}/languages")
            except ForgeError:  # of a project whose code is hidden from the token
                shares = {}
        return RepositoryFacts(
            forge_id=str(found.id),
            description=found.description,
            visibility=found.visibility,
            is_archived=found.archived,
            language=max(shares, key=lambda name: shares[name], default=None),
            default_branch=found.default_branch,
            may_push=found.permissions.may_push if found.permissions is not None else None,
        )

    async def open_pull_request(self, repository: ForgeRepository, draft: PullRequestDraft) -> ForgePullRequest:
        path = f"{project_path(repository)}/merge_requests"
        async with self._transport.open(repository, headers_of(repository)) as line:

            async def find() -> _MergeRequest | None:
                open_ones = await line.get(
                    list[_MergeRequest], path, state="opened", source_branch=draft.head, scope="all", per_page=30
                )
                for found in open_ones:
                    if found.source_branch == draft.head and found.source_project_id == found.target_project_id:
                        return found
                return None

            async def create() -> _MergeRequest:
                body = {
                    "title": draft.title,
                    "description": draft.body,
                    "source_branch": draft.head,
                    "target_branch": draft.base,
                }
                return await line.send("POST", _MergeRequest, path, body, is_repeatable=False)

            return (await line.once(find, create)).told()

    async def pull_request(self, repository: ForgeRepository, number: int) -> ForgePullRequest:
        async with self._transport.open(repository, headers_of(repository)) as line:
            return (await line.get(_MergeRequest, f"{project_path(repository)}/merge_requests/{number}")).told()

    async def change_pull_request(
        self, repository: ForgeRepository, number: int, change: PullRequestChange
    ) -> ForgePullRequest:
        path = f"{project_path(repository)}/merge_requests/{number}"
        async with self._transport.open(repository, headers_of(repository)) as line:
            found = await line.get(_MergeRequest, path)
            body = _body_of(change, found)
            return (await line.send("PUT", _MergeRequest, path, body) if body else found).told()

    async def check_names(self, repository: ForgeRepository, ref: str) -> Sequence[str]:
        which = {"sha" if _COMMIT.fullmatch(ref) else "ref": ref}
        async with self._transport.open(repository, headers_of(repository)) as line:
            pipelines = f"{project_path(repository)}/pipelines"
            found = await line.get(list[_Pipeline], pipelines, per_page=PIPELINES, **which)
            names = set[str]()
            for pipeline in found[:PIPELINES]:
                names |= await _jobs(line, f"{pipelines}/{pipeline.id}/jobs")
        return sorted(names)


async def _jobs(line: Line, path: str) -> set[str]:
    names = set[str]()
    for page in range(1, JOBS_PAGES + 1):
        jobs = await line.get(list[_Job], path, per_page=JOBS_PAGE, page=page)
        names.update(job.name for job in jobs)
        if len(jobs) < JOBS_PAGE:
            break
    return names


def _body_of(change: PullRequestChange, found: _MergeRequest) -> Mapping[str, str]:
    """Nothing when it is so already: GitLab refuses to close what is closed."""
    if change in _EVENTS:
        state, event = _EVENTS[change]
        return {"state_event": event} if found.state == state else {}
    if (change is PullRequestChange.DRAFT) is found.is_draft:
        return {}
    if change is PullRequestChange.DRAFT:
        return {"title": f"Draft: {found.title}"}
    return {"title": _DRAFT.sub("", found.title) or found.source_branch}


def project_path(repository: ForgeRepository) -> str:
    return f"projects/{quote(repository.name, safe='')}"


def headers_of(repository: ForgeRepository) -> Mapping[str, str]:
    return {"Accept": "application/json", "Authorization": f"Bearer {repository.token}"}
