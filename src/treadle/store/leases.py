"""What a worker does with a run that it holds."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Boolean, bindparam, case, literal_column, or_, select, update

from treadle.domain.errors import AlreadyFinished, Conflict
from treadle.domain.events import Draft, EventType
from treadle.domain.states import RunStatus, StepStatus
from treadle.ports import Fence, Pulse, StepUpdate
from treadle.store import step_updates
from treadle.store.events import Batch
from treadle.store.events import write as write_events
from treadle.store.prepared import Prepared, Row, constant
from treadle.store.session import Executor, Session
from treadle.store.tables import runs
from treadle.store.transitions import end, go_on, held, lease_lost, requeue, standing
from treadle.store.values import micros

_IS_HELD = (
    runs.c.id == bindparam("run"),
    runs.c.lease == bindparam("held"),
    runs.c.status == constant(RunStatus.RUNNING),
)
_PING = Prepared(
    update(runs)
    .where(*_IS_HELD)
    .values(date_runner_ping=bindparam("now", type_=runs.c.date_runner_ping.type))
    .returning(runs.c.date_kill_requested, runs.c.secrets_version)
)
_record = (
    update(runs)
    .where(*_IS_HELD)
    .values(
        last_event=runs.c.last_event + bindparam("count", type_=runs.c.last_event.type),
        event_bytes=runs.c.event_bytes + bindparam("bytes", type_=runs.c.event_bytes.type),
        has_diff=or_(runs.c.has_diff, bindparam("diff", type_=Boolean)),
        # A step is done once, and a run has only so many: one that kills its workers ends all the same.
        lost_workers=case((bindparam("is_step_done", type_=Boolean), literal_column("0")), else_=runs.c.lost_workers),
        date_updated=bindparam("now", type_=runs.c.date_updated.type),
    )
    .returning(runs.c.last_event)
)
_RECORD = Prepared(_record)
_number = bindparam("number", type_=runs.c.last_write.type)
_RECORD_ONCE = Prepared(_record.where(runs.c.last_write == _number - 1).values(last_write=_number))
_WRITTEN = Prepared(select(runs.c.last_write, runs.c.last_event).where(*_IS_HELD))
_MARK_KILL = Prepared(
    update(runs)
    .where(
        runs.c.id == bindparam("run"),
        runs.c.status == constant(RunStatus.RUNNING),
        runs.c.date_kill_requested.is_(None),
    )
    .values(
        last_event=runs.c.last_event + 1,
        event_bytes=runs.c.event_bytes + len("{}"),
        date_updated=bindparam("now", type_=runs.c.date_updated.type),
        date_kill_requested=bindparam("now", type_=runs.c.date_kill_requested.type),
    )
    .returning(runs.c.last_event)
)


class Leases:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def ping(self, fence: Fence, now: datetime) -> Pulse:
        def work(session: Session) -> Row | None:
            return session.one(_PING, run=fence.run_id, held=fence.lease, now=micros(now))

        row = await self._executor.write(work, again=work)
        if row is None:
            raise lease_lost(fence)
        return Pulse(row[0] is not None, row[1])

    async def record(
        self,
        fence: Fence,
        events: Sequence[Draft],
        now: datetime,
        *,
        step: StepUpdate | None = None,
        has_diff: bool = False,
        write: int | None = None,
    ) -> int:
        batch = Batch(events)

        def work(session: Session) -> int:
            values = {
                "run": fence.run_id,
                "held": fence.lease,
                "count": len(events),
                "bytes": batch.size,
                "diff": has_diff,
                "is_step_done": step is not None and step.status is StepStatus.SUCCESS,
                "now": micros(now),
            }
            statement = _RECORD if write is None else _RECORD_ONCE
            row = session.one(statement, **values, number=write)
            if row is None:
                return _written_before(session, fence, write)
            last: int = row[0]
            if events:
                write_events(session, fence.run_id, last, batch, now)
            if step is not None:
                step_updates.apply(session, fence.run_id, step, now)
            return last

        return await self._executor.write(work, again=None if write is None else work)

    async def finish(
        self,
        fence: Fence,
        status: RunStatus,
        failure_details: str | None,
        now: datetime,
        *,
        output: str | None = None,
        is_after_steps: bool = False,
    ) -> RunStatus:
        def work(session: Session) -> RunStatus:
            run = held(session, fence)
            instead = go_on(session, run, status, failure_details, now, is_after_steps=is_after_steps)
            if instead is not None:
                return instead
            end(session, run, status, failure_details, now, output=output)
            return status

        def again(session: Session) -> RunStatus:
            run = standing(session, fence.run_id)
            is_done = run.lease == fence.lease and run.status is not RunStatus.RUNNING
            return run.status if is_done else work(session)

        return await self._executor.write(work, again=again)

    async def release(self, fence: Fence, now: datetime) -> None:
        """A run that is to be killed is Killed instead: nobody else should begin with it."""

        def work(session: Session) -> None:
            run = held(session, fence)
            if run.kill_requested is None:
                requeue(session, run, "released", now, lost_workers=run.lost_workers)
            else:
                end(session, run, RunStatus.KILLED, None, now)

        def again(session: Session) -> None:
            run = standing(session, fence.run_id)
            if run.lease == fence.lease and run.status is RunStatus.RUNNING:
                work(session)

        await self._executor.write(work, again=again)

    async def request_kill(self, run_id: int, now: datetime) -> RunStatus:
        def work(session: Session) -> RunStatus:
            run = standing(session, run_id)
            if not run.is_alive:
                raise AlreadyFinished(f"The run has ended: {run.status}.")
            if run.status is RunStatus.NEW:
                end(session, run, RunStatus.KILLED, None, now)
                return RunStatus.KILLED
            row = session.one(_MARK_KILL, run=run_id, now=micros(now))
            if row is not None:  # else it was asked for before
                write_events(session, run_id, row[0], Batch([Draft(EventType.RUN_KILL_REQUESTED)]), now)
            return RunStatus.RUNNING

        def again(session: Session) -> RunStatus:
            run = standing(session, run_id)
            return run.status if run.status is RunStatus.KILLED else work(session)

        return await self._executor.write(work, again=again)


def _written_before(session: Session, fence: Fence, write: int | None) -> int:
    """The newest event's number, if it was only the answer that was lost. Raises LeaseLost."""
    row = session.one(_WRITTEN, run=fence.run_id, held=fence.lease)
    if row is None:
        raise lease_lost(fence)
    last_write, last_event = row
    if last_write != write:
        raise Conflict(f"Write {write} of run {fence.run_id} does not follow write {last_write}.")
    return int(last_event)
