"""What is said at GitHub.

Sources: docs.github.com, "REST API endpoints for issue comments" (a pull request's too), "… for pull request reviews"
(422 for a line that is not in the diff), "… for pull requests" (`files`), "… for check runs" (`output`, annotations),
"… for workflow jobs" (`logs`: 302 to an address that is good for a minute; a check run of Actions has its job's id),
"… for collaborators" (`permission`), "… for users" (403 for the token of an app's installation, whose login GraphQL
tells).
"""

from collections.abc import Mapping, Sequence

from pydantic import Field, JsonValue

from treadle.domain.deliveries import Check, CheckKind, Person
from treadle.domain.errors import ForgeAuthenticationFailed
from treadle.domain.repository import ForgeKind
from treadle.forges.answers import Link, Number, Shape, Title, state_of
from treadle.forges.conversations.asking import PAGE, every, unless_gone
from treadle.forges.conversations.github_alike import GHOST, Comment, GitHubAlike, User
from treadle.forges.conversations.lines import Lines, of_hunks
from treadle.forges.conversations.texts import (
    MAX_LOG_BYTES,
    MAX_PARTS,
    log_text,
    parts_text,
)
from treadle.forges.github import headers_of
from treadle.forges.line import Line
from treadle.ports.conversations import Finding, PullRequestDetails
from treadle.ports.forges import ForgeRepository

ACTIONS = "github-actions"

_FAILED = frozenset({"failure", "timed_out", "startup_failure"})


class _Viewer(Shape):
    login: str
    database_id: int = Field(alias="databaseId")


class _ViewerData(Shape):
    viewer: _Viewer


class _ViewerAnswer(Shape):
    data: _ViewerData


class _Repository(Shape):
    full_name: str


class _Branch(Shape):
    ref: str
    sha: str
    repo: _Repository | None = None


class _Pull(Shape):
    number: Number
    title: Title
    body: str | None = None
    html_url: Link
    state: str
    draft: bool = False
    merged_at: str | None = None
    user: User | None = None
    head: _Branch
    base: _Branch

    def told(self) -> PullRequestDetails:
        return PullRequestDetails(
            self.number,
            self.title,
            self.body or "",
            self.html_url,
            state_of(is_open=self.state == "open", is_merged=self.merged_at is not None, is_draft=self.draft),
            self.user.person if self.user else GHOST,
            self.head.ref,
            self.base.ref,
            self.head.sha,
            is_from_fork=self.head.repo is None or self.head.repo != self.base.repo,
        )


class _File(Shape):
    filename: str
    patch: str = ""  # not of a binary, or of one that is too large


class _Output(Shape):
    title: str | None = None
    summary: str | None = None
    text: str | None = None


class _App(Shape):
    slug: str | None = None


class _CheckRun(Shape):
    id: int
    name: str
    conclusion: str | None = None
    app: _App | None = None
    output: _Output = Field(default_factory=_Output)


class _CheckRuns(Shape):
    check_runs: list[_CheckRun]


class _Job(Shape):
    id: int
    name: str
    conclusion: str | None = None


class _Jobs(Shape):
    jobs: list[_Job]


class _Annotation(Shape):
    path: str
    start_line: int
    message: str | None = None


class GitHubConversations(GitHubAlike):
    """ports.conversations.Conversations."""

    kind = ForgeKind.GITHUB
    size = "per_page"

    def headers(self, repository: ForgeRepository) -> Mapping[str, str]:
        return headers_of(repository)

    async def identity(self, repository: ForgeRepository) -> Person:
        try:
            return await super().identity(repository)
        except ForgeAuthenticationFailed:  # an app's installation is no user
            async with self.open(repository) as line:
                asked: Mapping[str, JsonValue] = {"query": "query { viewer { login databaseId } }"}
                below = line.place.path.removesuffix("/v3")
                viewer = (await line.send("POST", _ViewerAnswer, "graphql", asked, below=below)).data.viewer
                return Person(viewer.login, str(viewer.database_id), viewer.login.endswith("[bot]"))

    async def said(self, line: Line, path: str) -> Sequence[Comment]:
        return await every(line, list[Comment], path)

    async def details(self, line: Line, path: str) -> PullRequestDetails:
        return (await line.get(_Pull, path)).told()

    async def lines(self, line: Line, path: str) -> Mapping[str, Lines]:
        return {file.filename: of_hunks(file.patch) for file in await every(line, list[_File], f"{path}/files")}

    def beside(self, finding: Finding) -> Mapping[str, JsonValue]:
        return {"line": finding.line, "side": "RIGHT"}

    async def log(self, line: Line, path: str, check: Check, id_: str) -> str:
        match check.kind:
            case CheckKind.JOB:
                return await _job_log(line, path, id_)
            case CheckKind.CHECK:
                return await _output(line, path, await line.get(_CheckRun, f"{path}/check-runs/{id_}"))
            case CheckKind.SUITE:
                return await _suite_log(line, path, id_)
            case CheckKind.PIPELINE:
                return await _run_log(line, path, id_)
            case CheckKind.STATUS:
                return ""


async def _job_log(line: Line, path: str, id_: str) -> str:
    async def read() -> str:
        return log_text(await line.end_of(f"{path}/actions/jobs/{id_}/logs", 2 * MAX_LOG_BYTES))

    return await unless_gone(read())


async def _output(line: Line, path: str, run: _CheckRun) -> str:
    notes = await line.get(list[_Annotation], f"{path}/check-runs/{run.id}/annotations", per_page=PAGE)
    said = [text for text in (run.output.title, run.output.summary, run.output.text) if text]
    return "\n\n".join([*said, *(f"{note.path}:{note.start_line}: {note.message or ''}" for note in notes)])


async def _suite_log(line: Line, path: str, id_: str) -> str:
    runs = await line.get_long(_CheckRuns, f"{path}/check-suites/{id_}/check-runs", filter="latest", per_page=PAGE)
    parts = list[tuple[str, str]]()
    for run in [run for run in runs.check_runs if run.conclusion in _FAILED][:MAX_PARTS]:
        is_job = run.app is not None and run.app.slug == ACTIONS
        log = await _job_log(line, path, str(run.id)) if is_job else await _output(line, path, run)
        parts.append((run.name, log))
    return parts_text(parts)


async def _run_log(line: Line, path: str, id_: str) -> str:
    jobs = await line.get(_Jobs, f"{path}/actions/runs/{id_}/jobs", filter="latest", per_page=PAGE)
    failed = [job for job in jobs.jobs if job.conclusion in _FAILED][:MAX_PARTS]
    return parts_text([(job.name, await _job_log(line, path, str(job.id))) for job in failed])
