"""Runs as rows of a list: what a row shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from treadle.domain.git_url import parse
from treadle.domain.run import Run
from treadle.domain.states import RunStatus
from treadle.web.text import one_line


@dataclass(frozen=True, slots=True)
class Row:
    """`waits_for`: why a queued run has not begun."""

    run: Run
    title: str
    repository: str
    who: str
    seconds: float | None
    waits_for: str | None


@dataclass(frozen=True, slots=True)
class Names:
    """What ids are called. `slots`: Running at once of the organization, None: as many as there are workers for."""

    users: Mapping[int, str]
    repositories: Mapping[int, str]
    running: int
    slots: int | None


def row_of(run: Run, names: Names, now: datetime) -> Row:
    registered = names.repositories.get(run.repository_id) if run.repository_id is not None else None
    return Row(
        run=run,
        title=one_line(run.steps[0].text if run.steps else run.branch_work),
        repository=registered or short_address(run.git_url),
        who=names.users.get(run.user_id, "somebody who left"),
        seconds=_seconds(run, now),
        waits_for=_reason(run, names),
    )


def short_address(url: str) -> str:
    """`acme/demo` of an address."""
    try:
        path = parse(url).path
    except ValueError:
        path = url
    return "/".join(path.removesuffix(".git").strip("/").split("/")[-2:]) or url


def _seconds(run: Run, now: datetime) -> float | None:
    """Of work: since the last time that it began anew."""
    begun = [step.date_started for step in run.steps if step.position >= run.first_step and step.date_started]
    start = min(begun, default=run.date_started)
    if start is None or run.status is RunStatus.NEW:
        return None
    return ((run.date_completed or now) - start).total_seconds()


def _reason(run: Run, names: Names) -> str | None:
    if run.status is not RunStatus.NEW:
        return None
    if run.is_blocked:
        return "another run has its work branch"
    if names.slots is not None and names.running >= names.slots:
        return f"the organization runs {names.slots} at once"
    return "the next free worker"
