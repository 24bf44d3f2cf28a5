"""What the page of a run shows beside its trace: read together, so that all who watch it are shown the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from treadle.domain.errors import NotFound
from treadle.domain.events import EventType
from treadle.domain.git_url import parse
from treadle.domain.identity import Principal
from treadle.domain.permissions import Permission, may
from treadle.domain.repository import PullRequest
from treadle.domain.run import Artifact, Run, RunPurpose, Step
from treadle.domain.states import RunStatus, StepStatus
from treadle.ports import RunFilter
from treadle.ports.trace import Mark
from treadle.web.network import policy_in, words
from treadle.web.pages.run.stages import Stage, stages
from treadle.web.site import Site
from treadle.web.trace_words import outside

#: How the names of diffs end: they have a page of their own.
_DIFFS = ("diff.json", "diff.patch", "diff.contents")

_SOURCES: Mapping[str, str] = {
    "API": "the API", "CHAT": "the page", "GITHUB": "GitHub", "GITHUB_CHECK_SUITE": "a failed check",
    "GITHUB_PR_REVIEW": "a review", "SLACK": "Slack", "LINEAR": "Linear", "JIRA": "Jira", "CLICKUP": "ClickUp",
    "MONDAY": "Monday", "LOCAL": "a local session", "SETUP_COMMANDS": "setup commands",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Held:
    """The network policy of the run's latest claim, in words."""

    words: str
    is_enforced: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """`base`: the path that the run's links begin with. `artifacts`: without its diff."""

    run: Run
    base: str
    who: str
    repository: str
    stages: Sequence[Stage]
    pulls: Sequence[tuple[PullRequest, str | None]]
    artifacts: Sequence[Artifact]
    is_flagged: bool
    held: Held | None
    is_budget_passed: bool

    @property
    def source(self) -> str:
        return _SOURCES.get(self.run.source, self.run.source)

    @property
    def repository_link(self) -> str | None:
        return outside(self.run.git_url.removesuffix(".git"))

    @property
    def failed_step(self) -> Step | None:
        """The one that the run ended with; not one from before it was resumed."""
        steps = [step for step in self.run.steps if step.position >= self.run.first_step]
        return next((step for step in reversed(steps) if step.status is StepStatus.FAILED), None)

    @property
    def is_stopping(self) -> bool:
        return self.run.date_kill_requested is not None and not self.run.is_finished

    @property
    def begun(self) -> datetime | None:
        """When its work began, the last time that it began anew."""
        steps = [step for step in self.run.steps if step.position >= self.run.first_step]
        return min((step.date_started for step in steps if step.date_started), default=self.run.date_started)

    @property
    def seconds(self) -> float | None:
        """Of work, from the beginning to the end; None while there is none."""
        if self.begun is None or self.run.date_completed is None:
            return None
        return (self.run.date_completed - self.begun).total_seconds()

    @property
    def waits_for(self) -> str | None:
        if self.run.status is not RunStatus.NEW:
            return None
        return "another run to leave its work branch" if self.run.is_blocked else "the next free worker"

    @property
    def reach(self) -> str | None:
        """What it may connect to, by its own policy, before a worker has said what holds."""
        return words(self.run.network) if self.run.network is not None else None

    @property
    def partial_work(self) -> Sequence[Artifact]:
        return [artifact for artifact in self.artifacts if artifact.name.endswith(".patch")]

    @property
    def pushed(self) -> int:
        """How many steps' commits are pushed."""
        return sum(1 for step in self.run.steps if step.commit_sha is not None)

    @property
    def can_run_again(self) -> bool:
        return self.run.purpose is RunPurpose.CODE


async def show(site: Site, run: Run, *, base: str | None = None, who: str | None = None) -> Shown:
    """For a run that the caller was already let see. `who`: if it is known."""
    services = site.services
    marks = await services.runs.outline(run)
    pulls = (await services.pull_requests.of([run.id])).get(run.id, ())
    return Shown(
        run=run,
        base=base or f"/runs/{run.id}",
        who=who or "somebody",
        repository=await _repository(site, run),
        stages=stages(run, marks),
        pulls=[(pull, outside(pull.url)) for pull in pulls],
        artifacts=[each for each in await services.runs.artifacts_of(run) if not each.name.endswith(_DIFFS)],
        is_flagged=await services.agents.is_flagged(run),
        held=await _held(site, run, marks),
        is_budget_passed=_is_budget_passed(run, marks),
    )


async def _held(site: Site, run: Run, marks: Sequence[Mark]) -> Held | None:
    """None before a worker had it, and when its events are gone."""
    number = next((mark.number for mark in reversed(marks) if mark.type is EventType.NETWORK_POLICY), None)
    if number is None:
        return None
    found = await site.services.runs.events_of(run.id, after=number - 1, limit=1)
    policy = policy_in(found[0].data) if found else None
    return Held(words(policy), found[0].data.get("isEnforced") is True) if policy is not None else None


def _is_budget_passed(run: Run, marks: Sequence[Mark]) -> bool:
    """Whether that is what the run has failed of, since it was last resumed."""
    said = {EventType.BUDGET_PASSED, EventType.RUN_RESUMED}
    last = next((mark.type for mark in reversed(marks) if mark.type in said), None)
    return run.status is RunStatus.FAILED and last is EventType.BUDGET_PASSED


async def author(site: Site, run: Run, viewer: Principal) -> str:
    """Who asked for the run, as its organization calls them."""
    if run.user_id == viewer.user_id:
        return viewer.name or viewer.email
    if not may(viewer, Permission.READ):
        return "somebody"
    try:
        user, _ = await site.services.organizations.member(viewer, run.user_id)
    except NotFound:
        return "somebody who left"
    return user.name or user.email


async def again(site: Site, run: Run) -> Run:
    """As it is now."""
    return await site.services.runs.seen(run.id, RunFilter(run.organization_id))


async def _repository(site: Site, run: Run) -> str:
    registered = await site.services.repositories.of_run(run.organization_id, run.repository_id, run.git_url)
    if registered is not None:
        return registered.name
    try:
        path = parse(run.git_url).path
    except ValueError:
        path = run.git_url
    return "/".join(path.removesuffix(".git").strip("/").split("/")[-2:]) or run.git_url
