"""What is said at Gitea and Forgejo.

Sources: the descriptions beside the handlers in go-gitea/gitea `routers/api/v1/repo`: `issue_comment.go` (a pull
request's too; they come all at once), `pull_review.go` (`new_position` is the line of the new file; `X-Total-Count`),
`pull.go` (`pulls/N.diff`), `actions_run.go` and `action.go` (`actions/jobs/N/logs` from 1.24 on, `actions/runs/N/jobs`
from 1.25 on; Forgejo has neither); `collaborators.go` (a permission, for a token of an admin of the repository);
`user/user.go`.
"""

from collections.abc import Mapping, Sequence

from pydantic import Field, JsonValue

from treadle.domain.deliveries import Check, CheckKind
from treadle.domain.repository import ForgeKind
from treadle.forges.answers import Link, Number, Shape, Title, state_of
from treadle.forges.conversations.asking import unless_gone
from treadle.forges.conversations.github_alike import Comment, GitHubAlike, User
from treadle.forges.conversations.lines import Lines, of_diff
from treadle.forges.conversations.texts import (
    MAX_LOG_BYTES,
    MAX_PARTS,
    log_text,
    parts_text,
)
from treadle.forges.gitea import headers_of
from treadle.forges.line import MAX_LONG_ANSWER_BYTES, Line
from treadle.forges.reading import TooLong
from treadle.ports.conversations import Finding, PullRequestDetails
from treadle.ports.forges import ForgeRepository

#: Jobs of a workflow's run that are looked through for those that failed.
JOBS_PAGE = 50


class _Head(Shape):
    label: str  # the branch's name, also when it is gone
    ref: str
    sha: str
    repo_id: int | None = None


class _Pull(Shape):
    number: Number
    title: Title
    body: str = ""
    html_url: Link
    state: str
    merged: bool = False
    draft: bool = False
    user: User
    head: _Head
    base: _Head

    def told(self) -> PullRequestDetails:
        return PullRequestDetails(
            self.number,
            self.title,
            self.body,
            self.html_url,
            state_of(is_open=self.state == "open", is_merged=self.merged, is_draft=self.draft),
            self.user.person,
            self.head.label,
            self.base.ref,
            self.head.sha,
            is_from_fork=self.head.repo_id != self.base.repo_id,
        )


class _Job(Shape):
    id: int
    name: str = ""
    conclusion: str | None = None


class _Jobs(Shape):
    jobs: list[_Job] = Field(default_factory=list)


class GiteaConversations(GitHubAlike):
    """ports.conversations.Conversations."""

    kind = ForgeKind.GITEA
    size = "limit"

    def headers(self, repository: ForgeRepository) -> Mapping[str, str]:
        return headers_of(repository)

    async def said(self, line: Line, path: str) -> Sequence[Comment]:
        return await line.get_long(list[Comment], path)

    async def details(self, line: Line, path: str) -> PullRequestDetails:
        return (await line.get(_Pull, path)).told()

    async def lines(self, line: Line, path: str) -> Mapping[str, Lines]:
        """Nothing when the diff is too long to be looked through."""
        try:
            return of_diff((await line.all_of(f"{path}.diff", MAX_LONG_ANSWER_BYTES)).decode("utf-8", errors="replace"))
        except TooLong:
            return {}

    def beside(self, finding: Finding) -> Mapping[str, JsonValue]:
        return {"new_position": finding.line, "old_position": 0}

    async def log(self, line: Line, path: str, check: Check, id_: str) -> str:
        match check.kind:
            case CheckKind.JOB:
                return await _job_log(line, f"{path}/actions", id_)
            case CheckKind.PIPELINE:
                return await unless_gone(_run_log(line, f"{path}/actions", id_))
            case _:
                return ""


async def _job_log(line: Line, path: str, id_: str) -> str:
    async def read() -> str:
        return log_text(await line.end_of(f"{path}/jobs/{id_}/logs", 2 * MAX_LOG_BYTES))

    return await unless_gone(read())


async def _run_log(line: Line, path: str, id_: str) -> str:
    jobs = (await line.get(_Jobs, f"{path}/runs/{id_}/jobs", limit=JOBS_PAGE)).jobs
    failed = [job for job in jobs if job.conclusion == "failure"][:MAX_PARTS]
    return parts_text([(job.name, await _job_log(line, path, str(job.id))) for job in failed])
