"""A run's steps as a line of stages: phases, commit and push, with times."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from treadle.domain.events import EventType
from treadle.domain.run import Run, Step
from treadle.domain.states import Phase, StepStatus
from treadle.ports.trace import Mark
from treadle.web.trace_words import PHASES


class State(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Part:
    """A phase, the commit, or the push. `number`: of the event that it begins with; `since`: of one that runs."""

    name: str
    state: State
    number: int | None = None
    seconds: float | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    step: Step
    state: State
    parts: Sequence[Part]
    number: int | None
    seconds: float | None
    since: datetime | None


def stages(run: Run, marks: Sequence[Mark]) -> Sequence[Stage]:
    """One for each step. `marks`: the run's outline, oldest first; without one (its events are gone) there are no
    times of phases."""
    by_step: dict[int, list[Mark]] = {}
    for mark in marks:
        if mark.step is not None:
            by_step.setdefault(mark.step, []).append(mark)
    return [_stage(run, step, by_step.get(step.position, [])) for step in run.steps]


def _stage(run: Run, step: Step, marks: Sequence[Mark]) -> Stage:
    parts = [_phase(step, phase, marks) for phase in step.phases]
    if step.is_commitable:
        ended = {EventType.GIT_COMMITTED, EventType.GIT_NOTHING_TO_COMMIT}
        committed = next((mark for mark in marks if mark.type in ended), None)
        pushed = next((mark for mark in reversed(marks) if mark.type is EventType.GIT_PUSHED), None)
        is_nothing = committed is not None and committed.type is EventType.GIT_NOTHING_TO_COMMIT
        name = "Nothing to commit" if is_nothing else "Commit"
        parts.append(_deed(step, name, committed, is_done=step.commit_sha is not None or is_nothing))
        if not is_nothing:
            parts.append(_deed(step, "Push", pushed, is_done=step.commit_sha is not None))
    started = next((mark for mark in marks if mark.type in {EventType.STEP_STARTED, EventType.RUN_RESUMED}), None)
    is_running = step.status is StepStatus.RUNNING
    seconds = None
    if step.date_started is not None and step.date_completed is not None:
        seconds = (step.date_completed - step.date_started).total_seconds()
    return Stage(
        step=step,
        state=_state(run, step),
        parts=parts,
        number=started.number if started is not None else None,
        seconds=seconds,
        since=step.date_started if is_running else None,
    )


def _state(run: Run, step: Step) -> State:
    match step.status:
        case StepStatus.SUCCESS:
            return State.DONE
        case StepStatus.FAILED:
            return State.FAILED
        case StepStatus.RUNNING:
            return State.RUNNING
        case StepStatus.NOT_STARTED:
            return State.SKIPPED if run.is_finished else State.WAITING


def _phase(step: Step, phase: Phase, marks: Sequence[Mark]) -> Part:
    own = [mark for mark in marks if mark.phase is phase]
    starts = [mark for mark in own if mark.type is EventType.PHASE_STARTED]
    ends = [mark for mark in own if mark.type is EventType.PHASE_FINISHED]
    name = PHASES[phase]
    if not starts:
        return Part(name, _unseen(step, phase))
    first, last = starts[0], starts[-1]
    if ends and ends[-1].number > last.number:
        return Part(name, State.DONE, first.number, (ends[-1].date - first.date).total_seconds())
    if step.status is StepStatus.RUNNING:
        return Part(name, State.RUNNING, first.number, since=first.date)
    if step.status is StepStatus.SUCCESS:  # another worker found it done
        return Part(name, State.DONE, first.number)
    seconds = (step.date_completed - first.date).total_seconds() if step.date_completed is not None else None
    return Part(name, State.FAILED, first.number, seconds)


def _unseen(step: Step, phase: Phase) -> State:
    """The state of a phase that no event tells of."""
    if step.status is StepStatus.SUCCESS:
        return State.DONE
    if step.phase is not None and step.phases.index(phase) < step.phases.index(step.phase):
        return State.DONE
    if step.status is StepStatus.FAILED:
        return State.FAILED if step.phase is phase else State.SKIPPED
    return State.WAITING


def _deed(step: Step, name: str, mark: Mark | None, *, is_done: bool) -> Part:
    if mark is not None or is_done:
        return Part(name, State.DONE, mark.number if mark is not None else None)
    ended = step.status in {StepStatus.FAILED, StepStatus.SUCCESS}
    return Part(name, State.SKIPPED if ended else State.WAITING)
