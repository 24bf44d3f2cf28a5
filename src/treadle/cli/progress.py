"""What is known of a run while it goes: a pure fold over its events, for any view to show."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Protocol

from treadle.cli.event_data import Cost, cost_of, describe_tool, first_line, number_of, outcome_of, text_of, whole

TERMINAL: Final = frozenset({"Success", "Failed", "Killed"})


class Happening(Protocol):
    """An event, as the SDK gives it."""

    @property
    def number(self) -> int: ...
    @property
    def type(self) -> str: ...
    @property
    def date(self) -> datetime | None: ...
    @property
    def step(self) -> int | None: ...
    @property
    def phase(self) -> str | None: ...
    @property
    def data(self) -> Mapping[str, object]: ...


@dataclass(frozen=True, slots=True)
class StepView:
    """One step. `activity` is what it did last; `attempt` counts the tries of its phase."""

    position: int
    text: str
    is_commitable: bool
    status: str = "NotStarted"
    phase: str | None = None
    attempt: int = 1
    activity: str = ""
    started: datetime | None = None
    ended: datetime | None = None
    commit_sha: str | None = None
    has_nothing_to_commit: bool = False
    failure: str | None = None
    cost: Cost = field(default_factory=Cost)
    cost_of_phase: Cost = field(default_factory=Cost)  # of the one that goes on, or broke off

    @property
    def title(self) -> str:
        """Its first line, as its commit is called."""
        return first_line(self.text)

    def seconds(self, now: datetime) -> float | None:
        """How long it took, or takes until now; None before it starts."""
        return None if self.started is None else max(0.0, ((self.ended or now) - self.started).total_seconds())


@dataclass(frozen=True, slots=True)
class RunView:
    """One run. `activity` is what it does outside of its steps."""

    id: str
    repo: str
    branch_source: str
    branch_work: str
    engine: str
    steps: tuple[StepView, ...]
    status: str = "New"
    activity: str = "waiting for a worker"
    failure: str | None = None
    created: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    files: int | None = None  # of the diff; None before there is one
    additions: int = 0
    deletions: int = 0
    kept: tuple[str, ...] = ()  # names of the artifacts of failed steps

    @property
    def is_finished(self) -> bool:
        return self.status in TERMINAL

    @property
    def cost(self) -> Cost:
        return sum((step.cost + step.cost_of_phase for step in self.steps), Cost())

    @property
    def done(self) -> int:
        """How many steps succeeded."""
        return sum(step.status == "Success" for step in self.steps)

    def seconds(self, now: datetime) -> float | None:
        """How long it took, or takes until now; None before a worker has it."""
        return None if self.started is None else max(0.0, ((self.ended or now) - self.started).total_seconds())


def advance(run: RunView, event: Happening) -> RunView:
    """The run after `event`; one that this version does not know changes nothing."""
    change = _OF_RUN.get(event.type)
    if change is not None:
        run = change(run, event)
    if event.step is None or not 1 <= event.step <= len(run.steps):
        return run
    change_step = _OF_STEP.get(event.type)
    if change_step is None:
        return run
    step = change_step(run.steps[event.step - 1], event)
    return replace(run, steps=(*run.steps[: event.step - 1], step, *run.steps[event.step :]))


# ---- what each event changes -----------------------------------------------------------------------------------------


def _run_created(run: RunView, event: Happening) -> RunView:
    return replace(run, created=event.date)


def _run_started(run: RunView, event: Happening) -> RunView:
    return replace(run, status="Running", activity="preparing the workspace", started=run.started or event.date)


def _run_requeued(run: RunView, event: Happening) -> RunView:
    is_released = event.data.get("reason") == "released"
    why = "handed over, waiting for a worker" if is_released else "its worker was lost, waiting for another"
    return replace(run, status="New", activity=why)


def _kill_requested(run: RunView, _event: Happening) -> RunView:
    return replace(run, activity="killing")


def _prepared(run: RunView, _event: Happening) -> RunView:
    return replace(run, activity="")


def _run_finished(run: RunView, event: Happening) -> RunView:
    status = text_of(event.data, "status") or "Failed"
    failure = text_of(event.data, "failureDetails") or None
    steps = tuple(
        replace(
            step,
            status="Failed",
            activity="",
            failure=step.failure or ("killed" if status == "Killed" else None),
            ended=event.date,
        )
        if step.status == "Running"
        else step
        for step in run.steps
    )
    return replace(run, status=status, failure=failure, steps=steps, activity="", ended=event.date, started=run.started)


def _diff_ready(run: RunView, event: Happening) -> RunView:
    data = event.data
    return replace(
        run,
        files=whole(data, "files"),
        additions=whole(data, "additions"),
        deletions=whole(data, "deletions"),
    )


def _artifact_kept(run: RunView, event: Happening) -> RunView:
    return replace(run, kept=(*run.kept, text_of(event.data, "name")))


def _step_started(step: StepView, event: Happening) -> StepView:
    return replace(step, status="Running", started=step.started or event.date, activity="")


def _step_finished(step: StepView, event: Happening) -> StepView:
    status = text_of(event.data, "status") or "Success"
    failure = text_of(event.data, "failureDetails") or None
    return replace(step, status=status, failure=failure, activity="", ended=event.date)


def _phase_started(step: StepView, event: Happening) -> StepView:
    attempt = max(1, whole(event.data, "attempt"))
    begun = replace(step, status="Running", phase=event.phase, attempt=attempt, activity="")
    if attempt > 1:  # the phase's end counts all of its attempts
        return begun
    return replace(begun, cost=step.cost + step.cost_of_phase, cost_of_phase=Cost())


def _phase_finished(step: StepView, event: Happening) -> StepView:
    usage = event.data.get("usage")
    if not isinstance(usage, Mapping):
        return step
    return replace(step, cost=step.cost + cost_of(usage), cost_of_phase=Cost())


def _answered(step: StepView, event: Happening) -> StepView:
    data = event.data
    read = sum(whole(data, key) for key in ("inputTokens", "cacheReadTokens", "cacheWriteTokens"))
    cost = Cost(read, whole(data, "outputTokens"), number_of(data, "costUsd"))
    return replace(step, cost_of_phase=step.cost_of_phase + cost)


def _said(step: StepView, event: Happening) -> StepView:
    lines = text_of(event.data, "text").strip().splitlines()
    return replace(step, activity=lines[-1]) if lines else step


def _used_tool(step: StepView, event: Happening) -> StepView:
    return replace(step, activity=describe_tool(event.data))


def _validating(step: StepView, event: Happening) -> StepView:
    return replace(step, activity=f"validating: {text_of(event.data, 'command')}")


def _validated(step: StepView, event: Happening) -> StepView:
    return replace(step, activity=f"{text_of(event.data, 'command')}: {outcome_of(event.data)}")


def _retried(step: StepView, event: Happening) -> StepView:
    delay = number_of(event.data, "delaySeconds")
    return replace(step, activity=f"trying again in {delay:g} s: {text_of(event.data, 'reason')}")


def _committed(step: StepView, event: Happening) -> StepView:
    return replace(step, commit_sha=text_of(event.data, "sha"), activity="pushing")


def _pushed(step: StepView, event: Happening) -> StepView:
    return replace(step, commit_sha=text_of(event.data, "sha"), activity="")


def _nothing_to_commit(step: StepView, _event: Happening) -> StepView:
    return replace(step, has_nothing_to_commit=True)


_OF_RUN: Final[Mapping[str, Callable[[RunView, Happening], RunView]]] = {
    "run.created": _run_created,
    "run.started": _run_started,
    "run.requeued": _run_requeued,
    "run.kill_requested": _kill_requested,
    "run.finished": _run_finished,
    "workspace.prepared": _prepared,
    "diff.ready": _diff_ready,
    "artifact.kept": _artifact_kept,
}

_OF_STEP: Final[Mapping[str, Callable[[StepView, Happening], StepView]]] = {
    "step.started": _step_started,
    "step.finished": _step_finished,
    "phase.started": _phase_started,
    "phase.finished": _phase_finished,
    "model.answered": _answered,
    "engine.text": _said,
    "engine.thought": _said,
    "engine.retry": _retried,
    "tool.started": _used_tool,
    "validation.started": _validating,
    "validation.finished": _validated,
    "git.committed": _committed,
    "git.pushed": _pushed,
    "git.nothing_to_commit": _nothing_to_commit,
}


def waiting_steps(steps: Sequence[tuple[str, bool]]) -> tuple[StepView, ...]:
    """Steps, as (text, whether it commits), before any event."""
    return tuple(StepView(position, text, commits) for position, (text, commits) in enumerate(steps, start=1))
