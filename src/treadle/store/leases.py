"""What a worker does with a run that it holds, and the sweeps that take runs from workers that are gone."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Boolean, Select, bindparam, func, or_, select, update

from treadle.domain.errors import AlreadyFinished
from treadle.domain.events import Draft, EventType
from treadle.domain.run import Run
from treadle.domain.states import RunStatus, sources_of
from treadle.ports import Fence, Pulse, StepUpdate
from treadle.store import step_updates
from treadle.store.events import write as write_events
from treadle.store.prepared import Prepared, among, constant
from treadle.store.run_rows import load
from treadle.store.session import Executor, Session
from treadle.store.tables import runs
from treadle.store.transitions import end, held, lease_lost, requeue, standing
from treadle.store.values import micros, plain

_IS_NEW = among(runs.c.status, sources_of(RunStatus.RUNNING))


def _claim(pick: Select[tuple[int]]) -> Prepared:
    """`pick` names one run; a row that another claim has locked is passed over (SQLite has one writer at a time)."""
    return Prepared(
        update(runs)
        .where(runs.c.id == pick.with_for_update(skip_locked=True).scalar_subquery(), _IS_NEW)
        .values(
            status=constant(RunStatus.RUNNING),
            lease=runs.c.lease + 1,
            worker=bindparam("by", type_=runs.c.worker.type),
            last_event=runs.c.last_event + 1,
            date_started=func.coalesce(runs.c.date_started, bindparam("now", type_=runs.c.date_started.type)),
            date_updated=bindparam("now", type_=runs.c.date_updated.type),
            date_runner_ping=bindparam("now", type_=runs.c.date_runner_ping.type),
        )
        .returning(runs.c.id, runs.c.lease, runs.c.last_event)
    )


_CLAIM_OLDEST = _claim(select(runs.c.id).where(_IS_NEW).order_by(runs.c.id).limit(1))
_CLAIM_ONE = _claim(select(runs.c.id).where(runs.c.id == bindparam("run"), _IS_NEW))

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
_RECORD = Prepared(
    update(runs)
    .where(*_IS_HELD)
    .values(
        last_event=runs.c.last_event + bindparam("count", type_=runs.c.last_event.type),
        has_diff=or_(runs.c.has_diff, bindparam("diff", type_=Boolean)),
        date_updated=bindparam("now", type_=runs.c.date_updated.type),
    )
    .returning(runs.c.last_event)
)
_MARK_KILL = Prepared(
    update(runs)
    .where(
        runs.c.id == bindparam("run"),
        runs.c.status == constant(RunStatus.RUNNING),
        runs.c.date_kill_requested.is_(None),
    )
    .values(
        last_event=runs.c.last_event + 1,
        date_updated=bindparam("now", type_=runs.c.date_updated.type),
        date_kill_requested=bindparam("now", type_=runs.c.date_kill_requested.type),
    )
    .returning(runs.c.last_event)
)


class Leases:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def claim(self, worker: str, now: datetime, *, run_id: int | None = None) -> Run | None:
        def work(session: Session) -> Run | None:
            if run_id is None:
                row = session.one(_CLAIM_OLDEST, by=plain(worker), now=micros(now))
            else:
                row = session.one(_CLAIM_ONE, by=plain(worker), now=micros(now), run=run_id)
            if row is None:
                return None
            claimed, lease, last = row
            started = Draft(EventType.RUN_STARTED, {"worker": worker, "lease": lease})
            write_events(session, claimed, last, [started], now)
            return load(session, run_id=claimed)

        return await self._executor.write(work)

    async def ping(self, fence: Fence, now: datetime) -> Pulse:
        row = await self._executor.write(
            lambda session: session.one(_PING, run=fence.run_id, held=fence.lease, now=micros(now))
        )
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
    ) -> int:
        def work(session: Session) -> int:
            row = session.one(
                _RECORD, run=fence.run_id, held=fence.lease, count=len(events), diff=has_diff, now=micros(now)
            )
            if row is None:
                raise lease_lost(fence)
            last: int = row[0]
            if events:
                write_events(session, fence.run_id, last, events, now)
            if step is not None:
                step_updates.apply(session, fence.run_id, step, now)
            return last

        return await self._executor.write(work)

    async def finish(
        self,
        fence: Fence,
        status: RunStatus,
        failure_details: str | None,
        now: datetime,
        *,
        output: str | None = None,
    ) -> None:
        await self._executor.write(
            lambda session: end(session, held(session, fence), status, failure_details, now, output=output)
        )

    async def release(self, fence: Fence, now: datetime) -> None:
        """A run that is to be killed is Killed instead: nobody else should begin with it."""

        def work(session: Session) -> None:
            run = held(session, fence)
            if run.kill_requested is None:
                requeue(session, run, "released", now, lost_workers=run.lost_workers)
            else:
                end(session, run, RunStatus.KILLED, None, now)

        await self._executor.write(work)

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
                write_events(session, run_id, row[0], [Draft(EventType.RUN_KILL_REQUESTED)], now)
            return RunStatus.RUNNING

        return await self._executor.write(work)
