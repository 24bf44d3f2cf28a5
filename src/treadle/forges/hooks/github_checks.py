"""What GitHub's deliveries tell of checks."""

from pydantic import Field

from treadle.domain.deliveries import Check, CheckKind, Event, Ignored
from treadle.forges.hooks.github_frame import Frame, Repository
from treadle.forges.hooks.shapes import MaybeLink, Name, Sha, Shape, Text, check_of, outcome

#: The app whose check runs are jobs, with logs at GitHub.
ACTIONS = "github-actions"


class _App(Shape):
    slug: Text = ""


class _Output(Shape):
    title: Text = ""
    summary: Text = ""


class _Suite(Shape):
    head_branch: Text = ""


class _CheckRun(Shape):
    id: int
    name: Name
    head_sha: Sha
    html_url: MaybeLink = None
    conclusion: Text = ""
    app: _App | None = None
    output: _Output = Field(default_factory=_Output)
    check_suite: _Suite = Field(default_factory=_Suite)


class CheckRunTold(Frame):
    check_run: _CheckRun

    def events(self) -> list[Event]:
        if self.action != "completed":
            return []
        run = self.check_run
        app = run.app.slug if run.app else ""
        return [
            check_of(
                CheckKind.JOB if app == ACTIONS else CheckKind.CHECK,
                run.id,
                run.name,
                app=app or None,
                branch=run.check_suite.head_branch,
                sha=run.head_sha,
                url=run.html_url,
                conclusion=run.conclusion,
                said="\n".join(text for text in (run.output.title, run.output.summary) if text),
            )
        ]


class _CheckSuite(Shape):
    id: int
    head_branch: Text = ""
    head_sha: Sha
    conclusion: Text = ""
    app: _App | None = None


class CheckSuiteTold(Frame):
    check_suite: _CheckSuite

    def events(self) -> list[Event]:
        if self.action != "completed":
            return []
        suite = self.check_suite
        app = suite.app.slug if suite.app else ""
        return [
            check_of(
                CheckKind.SUITE,
                suite.id,
                app or "checks",
                app=app or None,
                branch=suite.head_branch,
                sha=suite.head_sha,
                url=None,
                conclusion=suite.conclusion,
            )
        ]


class _Branch(Shape):
    name: Name


class StatusTold(Frame):
    id: int
    sha: Sha
    state: Text
    context: Name
    description: Text = ""
    target_url: MaybeLink = None
    branches: list[_Branch] = Field(default_factory=list)  # at most ten

    def events(self) -> list[Event]:
        return [
            check_of(
                CheckKind.STATUS,
                self.id,
                self.context,
                app=None,
                branch=branch.name,
                sha=self.sha,
                url=self.target_url,
                conclusion=self.state,
                said=self.description,
            )
            for branch in self.branches
        ]


class _Job(Shape):
    id: int
    name: Name
    head_sha: Sha
    head_branch: Text = ""
    html_url: MaybeLink = None
    conclusion: Text = ""


class JobTold(Frame):
    """Whether the branch is a fork's is not told, and a stranger may call a fork's branch as they like: the run is
    found by the commit that it pushed."""

    workflow_job: _Job

    def events(self) -> list[Event]:
        if self.action != "completed":
            return []
        job = self.workflow_job
        if not job.head_branch:
            return [Ignored("The check ran on no branch of this repository.")]
        check = Check(CheckKind.JOB, str(job.id), job.name, ACTIONS, None, job.head_sha, job.html_url, "")
        return [outcome(check, job.conclusion)]


class _Run(Shape):
    id: int
    name: Text = ""
    head_sha: Sha
    head_branch: Text = ""
    html_url: MaybeLink = None
    conclusion: Text = ""
    head_repository: Repository | None = None


class RunTold(Frame):
    workflow_run: _Run

    def events(self) -> list[Event]:
        run = self.workflow_run
        if self.action != "completed":
            return []
        is_ours = run.head_repository is not None and run.head_repository.id == self.repository.id
        return [
            check_of(
                CheckKind.PIPELINE,
                run.id,
                run.name or "workflow",
                app=ACTIONS,
                branch=run.head_branch if is_ours else None,
                sha=run.head_sha,
                url=run.html_url,
                conclusion=run.conclusion,
            )
        ]
