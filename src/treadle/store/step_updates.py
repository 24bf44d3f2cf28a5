"""Changes of a step by the worker that holds its run."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, bindparam, func, select, update

from treadle.domain.errors import Conflict, NotFound
from treadle.domain.run import Usage
from treadle.domain.states import STEP_TERMINAL, STEP_TRANSITIONS, StepStatus
from treadle.ports import StepUpdate
from treadle.store import costs
from treadle.store.prepared import Prepared, among, constant
from treadle.store.session import Session
from treadle.store.tables import steps
from treadle.store.values import micros, plain, results_json, structured_json

_KEPT_UNLESS_GIVEN = ("phase", "output", "structured_output", "failure_details", "commit_sha", "validation")
_ADDED = ("input_tokens", "output_tokens", "cost_usd", "duration_ms")


def _now() -> ColumnElement[int]:
    return bindparam("now", type_=steps.c.date_started.type)


def _sources(target: StepStatus) -> frozenset[StepStatus]:
    """A worker that takes a run over finds its step Running, and says so again."""
    before = frozenset(source for source, targets in STEP_TRANSITIONS.items() if target in targets)
    return before | {StepStatus.RUNNING} if target is StepStatus.RUNNING else before


def _statement(target: StepStatus | None) -> Prepared:
    changes: dict[str, ColumnElement[Any]] = {
        name: func.coalesce(bindparam(f"new_{name}", type_=steps.c[name].type), steps.c[name])
        for name in _KEPT_UNLESS_GIVEN
    }
    changes |= {name: steps.c[name] + bindparam(f"more_{name}", type_=steps.c[name].type) for name in _ADDED}
    found = [steps.c.run_id == bindparam("run"), steps.c.position == bindparam("at")]
    if target is not None:
        found.append(among(steps.c.status, _sources(target)))
        changes["status"] = constant(target)
        name = "date_completed" if target in STEP_TERMINAL else "date_started"
        changes[name] = func.coalesce(steps.c[name], _now())
    return Prepared(update(steps).where(*found).values(changes))


_UPDATES = {target: _statement(target) for target in (None, *(to for to in StepStatus if _sources(to)))}
_STATUS = Prepared(
    select(steps.c.status).where(steps.c.run_id == bindparam("run"), steps.c.position == bindparam("at"))
)


def apply(session: Session, run_id: int, change: StepUpdate, now: datetime) -> None:
    """Raises NotFound, and Conflict for a status that the step cannot go to."""
    statement = _UPDATES.get(change.status)
    usage = change.usage or Usage()
    values: dict[str, object] = {
        "run": run_id,
        "at": change.position,
        "new_phase": None if change.phase is None else change.phase.value,
        "new_output": plain(change.output),
        "new_structured_output": structured_json(change.structured_output),
        "new_failure_details": plain(change.failure_details),
        "new_commit_sha": plain(change.commit_sha),
        "new_validation": results_json(change.validation),
        "more_input_tokens": usage.input_tokens,
        "more_output_tokens": usage.output_tokens,
        "more_cost_usd": usage.cost_usd,
        "more_duration_ms": usage.duration_ms,
        "now": micros(now),
    }
    if statement is not None and session.run(statement, **values):
        if usage.input_tokens or usage.output_tokens or usage.cost_usd:
            costs.charge(session, run_id, usage, now)
        return
    row = session.one(_STATUS, run=run_id, at=change.position)
    if row is None:
        raise NotFound(f"Run {run_id} has no step {change.position}.")
    raise Conflict(f"Step {change.position} of run {run_id} is {row[0]} and cannot become {change.status}.")
