"""Sweeps: runs whose worker is gone go to the next, or end."""

import asyncio
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Integer, bindparam, delete, or_, select

from treadle.domain.states import RunStatus
from treadle.ports import Sweep
from treadle.store.prepared import Prepared, constant
from treadle.store.session import Executor, Session
from treadle.store.tables import idempotency_keys, runs
from treadle.store.transitions import Standing, end, requeue, standing
from treadle.store.values import micros

#: How many unclaimed runs are announced again at once; the rest has its turn when these are gone.
ANNOUNCED = 1000
#: How long idempotency keys are kept; callers forget them long before (`Idempotency.not_before`).
KEPT_KEYS = timedelta(days=7)

_LATE = Prepared(
    select(runs.c.id)
    .where(
        runs.c.status == constant(RunStatus.RUNNING),
        or_(
            runs.c.date_runner_ping <= bindparam("silent_since"),
            runs.c.date_kill_requested <= bindparam("unanswered_since"),
        ),
    )
    .order_by(runs.c.id)
)
_WAITING = Prepared(
    select(runs.c.id)
    .where(runs.c.status == constant(RunStatus.NEW))
    .order_by(runs.c.id)
    .limit(bindparam("limit", type_=Integer))
)
_IS_OLD = idempotency_keys.c.date_created < bindparam("old")
_OLD_KEY = Prepared(select(idempotency_keys.c.key).where(_IS_OLD).limit(1))
_FORGET_KEYS = Prepared(delete(idempotency_keys).where(_IS_OLD))


class Sweeps:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def sweep(self, now: datetime, *, lease_seconds: float, kill_seconds: float, max_lost_workers: int) -> Sweep:
        silent_since = micros(now - timedelta(seconds=lease_seconds))
        unanswered_since = micros(now - timedelta(seconds=kill_seconds))
        old = micros(now - KEPT_KEYS)

        def look(session: Session) -> tuple[list[int], list[int], bool]:
            late = session.all(_LATE, silent_since=silent_since, unanswered_since=unanswered_since)
            waiting = session.all(_WAITING, limit=ANNOUNCED)
            return (
                [row[0] for row in late],
                [row[0] for row in waiting],
                session.one(_OLD_KEY, old=old) is not None,
            )

        def judge(session: Session, run_id: int) -> RunStatus | None:
            """Whatever it was when it was looked at, it is locked now and judged again."""
            run = standing(session, run_id)
            if run.status is not RunStatus.RUNNING:
                return None
            is_silent = run.runner_ping is not None and run.runner_ping <= silent_since
            is_unanswered = run.kill_requested is not None and run.kill_requested <= unanswered_since
            if not is_silent and not is_unanswered:
                return None
            return _take_away(session, run, now, is_silent=is_silent, max_lost_workers=max_lost_workers)

        late, waiting, has_old_keys = await self._executor.read(look)
        statuses = await asyncio.gather(*(self._executor.write(partial(judge, run_id=run_id)) for run_id in late))
        if has_old_keys:
            await self._executor.write(lambda session: session.run(_FORGET_KEYS, old=old))

        def those(status: RunStatus) -> tuple[int, ...]:
            return tuple(run_id for run_id, found in zip(late, statuses, strict=True) if found is status)

        return Sweep(those(RunStatus.NEW), those(RunStatus.FAILED), those(RunStatus.KILLED), tuple(waiting))


def _take_away(session: Session, run: Standing, now: datetime, *, is_silent: bool, max_lost_workers: int) -> RunStatus:
    lost_workers = run.lost_workers + is_silent
    if run.kill_requested is not None:  # nobody should begin with it again
        end(
            session,
            run,
            RunStatus.KILLED,
            "The worker did not answer the kill request.",
            now,
            lost_workers=lost_workers,
        )
        return RunStatus.KILLED
    if lost_workers >= max_lost_workers:
        details = f"{lost_workers} workers were lost while they had this run: each stopped answering. It was given up."
        end(session, run, RunStatus.FAILED, details, now, lost_workers=lost_workers)
        return RunStatus.FAILED
    requeue(session, run, "lease_expired", now, lost_workers=lost_workers)
    return RunStatus.NEW
