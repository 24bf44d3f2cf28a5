"""Every change of a run's status but the claim: a compare-and-set from the sources that `RUN_TRANSITIONS` allows, with
its events in the same transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, case, func, literal_column, select, update

from treadle.domain.errors import LeaseLost, NotFound
from treadle.domain.events import Draft, EventType
from treadle.domain.repository import SetupStatus
from treadle.domain.run import RunPurpose
from treadle.domain.states import RUN_ALIVE, RUN_TERMINAL, Phase, RunStatus, StepStatus, sources_of
from treadle.ports import Fence
from treadle.store import branches, chores, events, secrets
from treadle.store.prepared import Prepared, Row, among, constant
from treadle.store.session import Session
from treadle.store.tables import repositories, runs, steps
from treadle.store.values import micros, plain

_run = select(
    runs.c.id,
    runs.c.uuid,
    runs.c.organization_id,
    runs.c.status,
    runs.c.lease,
    runs.c.lost_workers,
    runs.c.date_runner_ping,
    runs.c.date_kill_requested,
    runs.c.branch_key,
    runs.c.purpose,
    runs.c.repository_id,
).where(runs.c.id == bindparam("run"))
_STANDING = Prepared(_run.with_for_update())
_STANDING_IF_FREE = Prepared(_run.with_for_update(skip_locked=True))

# Out of a terminal status leads only resume, which is not one of these.
_MOVES: dict[RunStatus, Prepared] = {
    target: Prepared(
        update(runs)
        .where(
            runs.c.id == bindparam("run"),
            runs.c.lease == bindparam("held"),
            among(runs.c.status, sources_of(target) & RUN_ALIVE),
        )
        .values(
            status=constant(target),
            failure_details=bindparam("details", type_=runs.c.failure_details.type),
            lost_workers=bindparam("lost", type_=runs.c.lost_workers.type),
            last_event=runs.c.last_event + bindparam("count", type_=runs.c.last_event.type),
            event_bytes=runs.c.event_bytes + bindparam("bytes", type_=runs.c.event_bytes.type),
            date_updated=bindparam("now", type_=runs.c.date_updated.type),
            date_completed=bindparam("completed", type_=runs.c.date_completed.type),
        )
        .returning(runs.c.last_event)
    )
    for target in RunStatus
    if target is not RunStatus.RUNNING
}

_FAIL_RUNNING_STEP = Prepared(
    update(steps)
    .where(steps.c.run_id == bindparam("run"), steps.c.status == constant(StepStatus.RUNNING))
    .values(
        status=constant(StepStatus.FAILED),
        failure_details=bindparam("details", type_=steps.c.failure_details.type),
        output=func.coalesce(bindparam("kept", type_=steps.c.output.type), steps.c.output),
        date_completed=bindparam("now", type_=steps.c.date_completed.type),
    )
    .returning(steps.c.position, steps.c.phase)
)
_GIVE_UP_SETUP = Prepared(
    update(repositories)
    .where(repositories.c.id == bindparam("repository"), repositories.c.url != literal_column("''"))
    .values(
        # Those that there were are still there, and nobody has seen them fail.
        setup_status=case(
            (
                func.coalesce(repositories.c.setup_commands, literal_column("''")) != literal_column("''"),
                literal_column(f"'{SetupStatus.READY}'"),
            ),
            else_=literal_column(f"'{SetupStatus.FAILED}'"),
        )
    )
)
_FOLLOW_UP = Prepared(
    select(steps.c.position)
    .join_from(runs, steps, steps.c.run_id == runs.c.id)
    .where(
        runs.c.id == bindparam("run"),
        steps.c.position >= runs.c.first_step,
        steps.c.is_follow_up,
        steps.c.status == constant(StepStatus.NOT_STARTED),
    )
    .limit(literal_column("1"))
)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a run stands, its row locked for this transaction. Dates in microseconds."""

    run_id: int
    uuid: UUID
    organization_id: int
    status: RunStatus
    lease: int
    lost_workers: int
    runner_ping: int | None
    kill_requested: int | None
    branch_key: str | None
    purpose: str
    repository_id: int | None

    @property
    def is_alive(self) -> bool:
        return self.status in RUN_ALIVE


def standing(session: Session, run_id: int) -> Standing:
    """Raises NotFound."""
    row = session.one(_STANDING, run=run_id)
    if row is None:
        raise NotFound(f"There is no run {run_id}.")
    return _standing_of(row)


def standing_if_free(session: Session, run_id: int) -> Standing | None:
    """None also while another transaction holds the row: somebody is just writing."""
    row = session.one(_STANDING_IF_FREE, run=run_id)
    return None if row is None else _standing_of(row)


def _standing_of(row: Row) -> Standing:
    id_, uuid, organization_id, status, *more = row
    return Standing(id_, UUID(uuid), organization_id, RunStatus(status), *more)


def held(session: Session, fence: Fence) -> Standing:
    """Raises LeaseLost unless the fence's claim is the current one."""
    try:
        found = standing(session, fence.run_id)
    except NotFound as error:
        raise lease_lost(fence) from error
    if found.status is not RunStatus.RUNNING or found.lease != fence.lease:
        raise lease_lost(fence)
    return found


def lease_lost(fence: Fence) -> LeaseLost:
    return LeaseLost(f"Lease {fence.lease} on run {fence.run_id} is no longer current.")


def requeue(session: Session, run: Standing, reason: str, now: datetime, *, lost_workers: int) -> None:
    """Running -> New. `reason`: as RUN_REQUEUED has it."""
    said = Draft(EventType.RUN_REQUEUED, {"reason": reason, "lease": run.lease})
    _move(session, run, RunStatus.NEW, now, [said], details=None, lost_workers=lost_workers)


def end(
    session: Session,
    run: Standing,
    status: RunStatus,
    details: str | None,
    now: datetime,
    *,
    output: str | None = None,
    lost_workers: int | None = None,
) -> None:
    """To a terminal status. The running step fails; secrets go; `run.finished`, with the step that failed, is the last
    event; the next run may have the work branch; a repository that waited for its setup commands waits no more. The
    checkpoint stays: with it a resume goes on with the conversation."""
    if status not in RUN_TERMINAL:
        raise ValueError(f"{status} ends no run.")
    said = _fail_running_step(session, run, details, output, now)
    failed = said[-1].step if said else None
    said.append(Draft(EventType.RUN_FINISHED, {"status": status, "failureDetails": details}, failed))
    lost = run.lost_workers if lost_workers is None else lost_workers
    _move(session, run, status, now, said, details=plain(details), lost_workers=lost)
    secrets.erase(session, run.uuid)
    if run.branch_key is not None:
        branches.leave(session, run.branch_key, run.uuid, now)
    # Last, as two runs share a repository: who has its row waits for nobody any more.
    if run.purpose == RunPurpose.SETUP_COMMANDS and status is not RunStatus.SUCCESS:
        session.run(_GIVE_UP_SETUP, repository=run.repository_id)
    chores.wake_watchers(session, run.run_id, now)


def go_on(
    session: Session, run: Standing, status: RunStatus, details: str | None, now: datetime, *, is_after_steps: bool
) -> RunStatus | None:
    """In the place of the end that it would have: New, where a follow-up waits; Killed, where the run is to be killed
    before that. None when there is nothing to go on with, or the failure came before the steps: it would only come
    again."""
    if status is RunStatus.KILLED or session.one(_FOLLOW_UP, run=run.run_id) is None:
        return None
    if run.kill_requested is not None:
        end(session, run, RunStatus.KILLED, details, now)
        return RunStatus.KILLED
    said = _fail_running_step(session, run, details, None, now) if status is RunStatus.FAILED else []
    if status is RunStatus.FAILED and not said and not is_after_steps:
        return None
    why: dict[str, str | int] = {"reason": "follow_up", "lease": run.lease}
    if status is RunStatus.FAILED and not said and details is not None:
        why["failureDetails"] = details  # no step's, so nothing else tells of it
    said.append(Draft(EventType.RUN_REQUEUED, why))
    _move(session, run, RunStatus.NEW, now, said, details=None, lost_workers=0)
    return RunStatus.NEW


def _fail_running_step(
    session: Session, run: Standing, details: str | None, output: str | None, now: datetime
) -> list[Draft]:
    return [
        Draft(
            EventType.STEP_FINISHED,
            {"status": StepStatus.FAILED, "failureDetails": details, "output": None},
            step=position,
            phase=None if phase is None else Phase(phase),
        )
        for position, phase in session.all(
            _FAIL_RUNNING_STEP, run=run.run_id, details=plain(details), kept=plain(output), now=micros(now)
        )
    ]


def _move(
    session: Session,
    run: Standing,
    target: RunStatus,
    now: datetime,
    said: Sequence[Draft],
    *,
    details: str | None,
    lost_workers: int,
) -> None:
    batch = events.Batch(said)
    row = session.one(
        _MOVES[target],
        run=run.run_id,
        held=run.lease,
        count=len(said),
        bytes=batch.size,
        details=details,
        lost=lost_workers,
        now=micros(now),
        completed=micros(now) if target in RUN_TERMINAL else None,
    )
    if row is None:
        raise LeaseLost(f"Run {run.run_id} is {run.status} and cannot become {target}.")
    events.write(session, run.run_id, row[0], batch, now)
