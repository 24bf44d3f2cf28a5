"""The states of runs and steps, and every transition there is: tables, so that SQL, docs and tests can agree with
them."""

from collections.abc import Mapping
from enum import StrEnum


class RunStatus(StrEnum):
    """Where a run stands."""

    NEW = "New"
    RUNNING = "Running"
    SUCCESS = "Success"
    FAILED = "Failed"
    KILLED = "Killed"


class StepStatus(StrEnum):
    """Where a step stands."""

    NOT_STARTED = "NotStarted"
    RUNNING = "Running"
    SUCCESS = "Success"
    FAILED = "Failed"


class Phase(StrEnum):
    """One engine call inside a step. An analysis-only step has the first alone."""

    ANALYSIS = "Analysis"
    IMPLEMENTATION = "Implementation"
    VALIDATION = "Validation"


#: Running -> New is a lease that ran out or was handed back. Only resume reopens a finished run.
RUN_TRANSITIONS: Mapping[RunStatus, frozenset[RunStatus]] = {
    RunStatus.NEW: frozenset({RunStatus.RUNNING, RunStatus.KILLED}),
    RunStatus.RUNNING: frozenset({RunStatus.NEW, RunStatus.SUCCESS, RunStatus.FAILED, RunStatus.KILLED}),
    RunStatus.SUCCESS: frozenset({RunStatus.NEW}),
    RunStatus.FAILED: frozenset({RunStatus.NEW}),
    RunStatus.KILLED: frozenset({RunStatus.NEW}),
}

STEP_TRANSITIONS: Mapping[StepStatus, frozenset[StepStatus]] = {
    StepStatus.NOT_STARTED: frozenset({StepStatus.RUNNING}),
    StepStatus.RUNNING: frozenset({StepStatus.SUCCESS, StepStatus.FAILED}),
    StepStatus.SUCCESS: frozenset(),
    StepStatus.FAILED: frozenset(),
}

#: A run here does nothing more unless somebody resumes it.
RUN_TERMINAL: frozenset[RunStatus] = frozenset({RunStatus.SUCCESS, RunStatus.FAILED, RunStatus.KILLED})
RUN_ALIVE: frozenset[RunStatus] = frozenset(RunStatus) - RUN_TERMINAL
STEP_TERMINAL: frozenset[StepStatus] = frozenset({StepStatus.SUCCESS, StepStatus.FAILED})

#: The phases of a step, in order.
COMMITABLE_PHASES: tuple[Phase, ...] = (Phase.ANALYSIS, Phase.IMPLEMENTATION, Phase.VALIDATION)
ANALYSIS_ONLY_PHASES: tuple[Phase, ...] = (Phase.ANALYSIS,)


def sources_of(target: RunStatus) -> frozenset[RunStatus]:
    """The statuses that a run may come from to reach `target`."""
    return frozenset(source for source, targets in RUN_TRANSITIONS.items() if target in targets)
