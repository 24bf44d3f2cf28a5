"""Figures of the runs that are alive, for the metrics: read from the indexes of these alone."""

from datetime import datetime

from sqlalchemy import bindparam, func, select

from treadle.domain.states import RunStatus
from treadle.ports import Statistics
from treadle.store.claims import FRONTS
from treadle.store.prepared import Prepared, constant
from treadle.store.run_list import QUEUE_DEPTH
from treadle.store.session import Executor, Session
from treadle.store.tables import IS_CLAIMABLE, runs
from treadle.store.values import micros

#: Above any number of organizations.
_ALL = 1 << 30

# Ordered and limited for the same reason as QUEUE_DEPTH.
_claimable = (
    select(runs.c.id).where(IS_CLAIMABLE).order_by(runs.c.organization_id, runs.c.status, runs.c.id).limit(1 << 62)
)
CLAIMABLE = Prepared(select(func.count()).select_from(_claimable.subquery("claimable")))
BY_WORKER = Prepared(
    select(runs.c.worker, func.count(), func.count(runs.c.date_kill_requested))
    .where(runs.c.status == constant(RunStatus.RUNNING))
    .group_by(runs.c.worker)
)
_SINCE = Prepared(select(runs.c.date_updated).where(runs.c.id == bindparam("run")))


class Figures:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def statistics(self, now: datetime) -> Statistics:
        """A run waits since it became New, or got its branch; the oldest one of each organization is asked."""

        def work(session: Session) -> Statistics:
            new: int = session.all(QUEUE_DEPTH)[0][0]
            claimable: int = session.all(CLAIMABLE)[0][0]
            waiting = [
                row[0] for _, run_id in session.all(FRONTS, limit=_ALL) for row in session.all(_SINCE, run=run_id)
            ]
            workers = session.all(BY_WORKER)
            return Statistics(
                new=new,
                running=sum(count for _, count, _ in workers),
                blocked=new - claimable,
                waiting_seconds=max(0.0, (micros(now) - min(waiting)) / 1e6) if waiting else 0.0,
                by_worker={worker or "": count for worker, count, _ in workers},
                kill_requested=sum(kills for _, _, kills in workers),
            )

        return await self._executor.read(work)
