"""What is said at GitLab.

Sources: docs.gitlab.com, "Notes API", "Discussions API" (a thread on a line needs the three commits of the merge
request's `diff_refs`, both paths, and both numbers of a line that the diff leaves as it is; 400 for what is not in it),
"Merge requests API" (`diffs`), "Jobs API" (`trace`, and a pipeline's jobs by `scope[]`), "Members API" (`all`:
inherited ones too), "Users API". A review is no thing of its own there: its body is a note, each finding a thread.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from pydantic import JsonValue

from treadle.domain.deliveries import Check, CheckKind, Person, Subject
from treadle.domain.repository import ForgeKind
from treadle.forges.answers import Dated, Link, Number, Refused, Shape, Title, state_of
from treadle.forges.conversations.asking import PAGE, every, unless_gone
from treadle.forges.conversations.lines import Lines, of_hunks
from treadle.forges.conversations.placing import place
from treadle.forges.conversations.texts import (
    MAX_LOG_BYTES,
    MAX_PARTS,
    beside_text,
    end_of,
    log_text,
    mark_of,
    marked,
    number_of,
    part_of,
    parts_text,
    with_findings,
)
from treadle.forges.gitlab import DEVELOPER, headers_of, project_path
from treadle.forges.line import Line
from treadle.forges.transport import Transport
from treadle.ports.conversations import Finding, ForgeComment, ForgeReview, PullRequestDetails
from treadle.ports.forges import ForgeRepository

_PATHS = {Subject.ISSUE: "issues", Subject.PULL_REQUEST: "merge_requests"}


class _User(Shape):
    id: int
    username: str
    bot: bool = False

    @property
    def person(self) -> Person:
        return Person(self.username, str(self.id), self.bot)


class _Member(Shape):
    access_level: int
    state: str = "active"


class _Note(Dated):
    id: int
    body: str
    author: _User
    system: bool = False

    def told(self, page: str) -> ForgeComment:
        return ForgeComment(str(self.id), f"{page}#note_{self.id}", self.body, self.author.person, self.date_created)


class _Thread(Shape):
    notes: list[_Note]


class _Page(Shape):
    web_url: Link


class _Commits(Shape):
    base_sha: str | None = None
    start_sha: str | None = None
    head_sha: str | None = None


class _MergeRequest(Shape):
    iid: Number
    title: Title
    description: str | None = None
    web_url: Link
    state: str
    draft: bool = False
    author: _User
    source_branch: str
    target_branch: str
    source_project_id: int | None = None
    target_project_id: int | None = None
    sha: str | None = None
    diff_refs: _Commits | None = None

    def told(self) -> PullRequestDetails:
        is_open = self.state in {"opened", "locked"}
        return PullRequestDetails(
            self.iid,
            self.title,
            self.description or "",
            self.web_url,
            state_of(is_open=is_open, is_merged=self.state == "merged", is_draft=self.draft),
            self.author.person,
            self.source_branch,
            self.target_branch,
            self.sha or "",
            is_from_fork=self.source_project_id != self.target_project_id,
        )


class _File(Shape):
    old_path: str
    new_path: str
    diff: str = ""


class _Job(Shape):
    id: int
    name: str
    allow_failure: bool = False


class GitLabConversations:
    """ports.conversations.Conversations."""

    kind = ForgeKind.GITLAB

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def identity(self, repository: ForgeRepository) -> Person:
        async with self._transport.open(repository, headers_of(repository)) as line:
            return (await line.get(_User, "user")).person

    async def may_write(self, repository: ForgeRepository, person: Person) -> bool:
        if not person.id.isdecimal():
            return False
        async with self._transport.open(repository, headers_of(repository)) as line:
            try:
                found = await line.get(_Member, f"{project_path(repository)}/members/all/{person.id}")
            except Refused as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
                return False
        return found.access_level >= DEVELOPER and found.state == "active"

    async def comments(self, repository: ForgeRepository, subject: Subject, number: int) -> Sequence[ForgeComment]:
        path = f"{project_path(repository)}/{_PATHS[subject]}/{number}"
        async with self._transport.open(repository, headers_of(repository)) as line:
            page = (await line.get(_Page, path)).web_url
            return [note.told(page) for note in await _notes(line, path, sort="asc") if not note.system]

    async def comment(
        self, repository: ForgeRepository, subject: Subject, number: int, body: str, *, marker: str
    ) -> ForgeComment:
        path = f"{project_path(repository)}/{_PATHS[subject]}/{number}"
        async with self._transport.open(repository, headers_of(repository)) as line:
            page = (await line.get(_Page, path)).web_url
            return (await _say(line, path, body, marker)).told(page)

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
        """The body comes last: once it is there, everything was said."""
        path, mark = f"{project_path(repository)}/merge_requests/{number}", mark_of(marker)
        async with self._transport.open(repository, headers_of(repository)) as line:
            merge = await line.get(_MergeRequest, path)
            known = await _notes(line, path)
            said = next((note for note in known if mark in note.body), None)
            if said is None:
                left = await _threads(line, path, merge, sha, findings, marker, known)
                said = await _say(line, path, with_findings(body, left), marker)
        return ForgeReview(str(said.id), f"{merge.web_url}#note_{said.id}")

    async def check_log(self, repository: ForgeRepository, check: Check) -> str:
        path, id_ = project_path(repository), number_of(check)
        async with self._transport.open(repository, headers_of(repository)) as line:
            match check.kind:
                case CheckKind.JOB:
                    log = await _trace(line, path, id_)
                case CheckKind.PIPELINE:
                    log = await _pipeline_log(line, path, id_)
                case _:
                    log = ""
            return end_of(line.hide(log or check.said), MAX_LOG_BYTES)

    async def pull_request_details(self, repository: ForgeRepository, number: int) -> PullRequestDetails:
        async with self._transport.open(repository, headers_of(repository)) as line:
            return (await line.get(_MergeRequest, f"{project_path(repository)}/merge_requests/{number}")).told()


async def _notes(line: Line, path: str, *, sort: str = "desc") -> list[_Note]:
    """Those of threads too, the newest first: what is looked for was said just now."""
    return await every(line, list[_Note], f"{path}/notes", sort=sort, order_by="created_at")


async def _say(line: Line, path: str, body: str, marker: str) -> _Note:
    mark = mark_of(marker)

    async def find() -> _Note | None:
        return next((note for note in await _notes(line, path) if mark in note.body), None)

    async def create() -> _Note:
        return await line.send("POST", _Note, f"{path}/notes", {"body": marked(body, marker)}, is_repeatable=False)

    return await line.once(find, create)


async def _threads(
    line: Line,
    path: str,
    merge: _MergeRequest,
    sha: str,
    findings: Sequence[Finding],
    marker: str,
    known: Sequence[_Note],
) -> list[Finding]:
    """Starts one for each finding that stands beside its line; those that are left."""
    commits = merge.diff_refs
    if not findings or commits is None or sha not in {commits.head_sha, merge.sha}:
        return list(findings)
    files = {file.new_path: file for file in await every(line, list[_File], f"{path}/diffs")}
    shown: Mapping[str, Lines] = {name: of_hunks(file.diff) for name, file in files.items()}
    placed = place(findings, shown)
    left = list(placed.elsewhere)
    for number, finding in enumerate(placed.beside):
        part = part_of(marker, number)
        if any(mark_of(part) in note.body for note in known):
            continue
        position: dict[str, JsonValue] = {
            "position_type": "text",
            "base_sha": commits.base_sha,
            "start_sha": commits.start_sha,
            "head_sha": commits.head_sha,
            "old_path": files[finding.path].old_path,
            "new_path": finding.path,
            "new_line": finding.line,
        }
        if (old := shown[finding.path][finding.line]) is not None:
            position["old_line"] = old
        try:
            await _start(line, path, marked(beside_text(finding.text), part), position, mark_of(part))
        except Refused as error:
            if error.status not in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY}:
                raise
            left.append(finding)
    return left


async def _start(line: Line, path: str, text: str, position: Mapping[str, JsonValue], mark: str) -> None:
    is_first = True

    async def find() -> bool | None:
        nonlocal is_first
        if is_first:  # it was looked for already
            is_first = False
            return None
        return any(mark in note.body for note in await _notes(line, path)) or None

    async def create() -> bool:
        body: Mapping[str, JsonValue] = {"body": text, "position": dict(position)}
        return bool((await line.send("POST", _Thread, f"{path}/discussions", body, is_repeatable=False)).notes)

    await line.once(find, create)


async def _trace(line: Line, path: str, id_: str) -> str:
    async def read() -> str:
        return log_text(await line.end_of(f"{path}/jobs/{id_}/trace", 2 * MAX_LOG_BYTES))

    return await unless_gone(read())


async def _pipeline_log(line: Line, path: str, id_: str) -> str:
    query = {"scope[]": "failed"}
    jobs = await line.get(list[_Job], f"{path}/pipelines/{id_}/jobs", per_page=PAGE, **query)
    failed = [job for job in jobs if not job.allow_failure] or jobs
    return parts_text([(job.name, await _trace(line, path, str(job.id))) for job in failed[:MAX_PARTS]])
