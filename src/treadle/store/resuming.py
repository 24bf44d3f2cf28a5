"""Resumes runs: one more step, for a run that has ended as for one that is still at work."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, bindparam, func, literal_column, null, select, update
from sqlalchemy.dialects.postgresql import insert as insert_or  # SQLite's dialect writes its ON CONFLICT the same way

from treadle.domain.errors import Conflict, NotFound
from treadle.domain.events import Draft, EventType, clip
from treadle.domain.identity import Principal
from treadle.domain.run import FollowUp, Run, Step
from treadle.domain.states import RUN_ALIVE, RUN_TERMINAL, RunStatus
from treadle.ports import Idempotency
from treadle.store import branches, events, secrets
from treadle.store.branch_key import branch_key
from treadle.store.prepared import Prepared, among, constant
from treadle.store.run_creation import INSERT_STEP, earlier_use, step_row
from treadle.store.run_rows import load
from treadle.store.secrets import add as add_secrets
from treadle.store.session import Dangling, Executor, Session
from treadle.store.tables import run_files, runs, steps
from treadle.store.transitions import Standing, standing
from treadle.store.values import micros

_KNOWN = Prepared(select(steps.c.position).where(steps.c.run_id == bindparam("run"), steps.c.uuid == bindparam("step")))
_LAST_STEP = Prepared(
    select(func.coalesce(func.max(steps.c.position), literal_column("0"))).where(steps.c.run_id == bindparam("run"))
)
_PLACE = Prepared(
    select(runs.c.organization_id, runs.c.git_url, runs.c.branch_work).where(runs.c.id == bindparam("run"))
)
_ADD_FILE = Prepared(
    insert_or(run_files)
    .values({column: bindparam(column.name, type_=column.type) for column in run_files.columns})
    .on_conflict_do_nothing()
)


def _said() -> dict[str, ColumnElement[Any]]:
    """One more event, at this moment, and another budget if there is one."""
    return {
        "max_cost_usd": func.coalesce(bindparam("budget", type_=runs.c.max_cost_usd.type), runs.c.max_cost_usd),
        "last_event": runs.c.last_event + 1,
        "event_bytes": runs.c.event_bytes + bindparam("bytes", type_=runs.c.event_bytes.type),
        "date_updated": bindparam("now", type_=runs.c.date_updated.type),
    }


_QUEUE_BEHIND = Prepared(
    update(runs)
    .where(runs.c.id == bindparam("run"), among(runs.c.status, RUN_ALIVE))
    .values(_said())
    .returning(runs.c.last_event)
)
_REOPEN = Prepared(
    update(runs)
    .where(runs.c.id == bindparam("run"), among(runs.c.status, RUN_TERMINAL))
    .values(
        _said()
        | {
            "status": constant(RunStatus.NEW),
            "failure_details": null(),
            "date_completed": null(),
            "date_kill_requested": null(),
            "lost_workers": literal_column("0"),
            "secrets_version": runs.c.secrets_version + 1,
            "first_step": bindparam("first", type_=runs.c.first_step.type),
            "branch_key": bindparam("key", type_=runs.c.branch_key.type),
            "holds_branch": bindparam("holds", type_=runs.c.holds_branch.type),
        }
    )
    .returning(runs.c.last_event)
)


class Resuming:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def resume_run(
        self,
        run_id: int,
        follow_up: FollowUp,
        *,
        step_id: UUID,
        secrets: Mapping[str, str],
        now: datetime,
        most_steps: int,
        max_cost_usd: float | None = None,
        asked_by: Principal | None = None,
        idempotency: Idempotency | None = None,
    ) -> Run:
        def work(session: Session) -> Run:
            # Before any row is locked: whoever waits for the key's other user holds nothing up meanwhile.
            if asked_by is not None and idempotency is not None:
                earlier = earlier_use(session, asked_by, step_id, idempotency, now)
                if earlier not in {None, step_id}:
                    return load(session, run_id=run_id)
            run = standing(session, run_id)
            if session.one(_KNOWN, run=run_id, step=str(step_id)) is None:
                step = _next_step(session, run, follow_up, step_id, most_steps)
                session.many(INSERT_STEP, [step_row(run_id, step)])
                if step.file_ids:
                    session.many(_ADD_FILE, [{"file_uuid": str(one), "run_id": run_id} for one in step.file_ids])
                said = events.Batch([Draft(EventType.RUN_RESUMED, {"text": clip(step.text)[0]}, step.position)])
                last = _reopen(session, run, step, secrets, said, now, max_cost_usd)
                events.write(session, run_id, last, said, now)
            return load(session, run_id=run_id)

        try:
            return await self._executor.write(work, again=work)
        except Dangling as error:
            raise NotFound("A file of this request does not exist any more.") from error


def _next_step(session: Session, run: Standing, follow_up: FollowUp, step_id: UUID, most_steps: int) -> Step:
    """Raises Conflict."""
    if run.is_alive and run.kill_requested is not None:
        raise Conflict("The run is being killed.", hint="It can be resumed once it has ended.")
    position = 1 + session.all(_LAST_STEP, run=run.run_id)[0][0]
    if position > most_steps:
        raise Conflict(f"The run has {most_steps:,} steps already.", hint="Start another run on its work branch.")
    return Step(
        step_id,
        position,
        follow_up.text,
        follow_up.is_commitable,
        is_structured=False,
        is_follow_up=True,
        file_ids=follow_up.file_ids,
    )


def _reopen(
    session: Session,
    run: Standing,
    step: Step,
    sealed: Mapping[str, str],
    said: events.Batch,
    now: datetime,
    budget: float | None,
) -> int:
    """The number of the event. The run's own row is locked, as at its end; then comes the branch's."""
    values = {"run": run.run_id, "bytes": said.size, "now": micros(now), "budget": budget}
    if run.is_alive:
        row = session.one(_QUEUE_BEHIND, **values)
    else:
        key = run.branch_key or branch_key(*session.all(_PLACE, run=run.run_id)[0])
        holds = branches.join(session, key, run.uuid)
        row = session.one(_REOPEN, **values, first=step.position, key=key, holds=holds)
        secrets.erase(session, run.uuid)
        add_secrets(session, run.uuid, run.organization_id, sealed, now)
    if row is None:
        raise Conflict(f"The run {run.run_id} is {run.status} and cannot be resumed.")
    return int(row[0])
