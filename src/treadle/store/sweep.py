"""Sweeps: runs whose worker is gone go to the next, or end."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Integer, bindparam, delete, or_, select

from treadle.domain.run import given_up
from treadle.domain.states import RunStatus
from treadle.ports import Sweep
from treadle.store import branches
from treadle.store.branches import Keyless
from treadle.store.claims import FRONTS, oldest_of
from treadle.store.prepared import Prepared, constant
from treadle.store.session import Executor, Session
from treadle.store.tables import idempotency_keys, runs
from treadle.store.transitions import Standing, end, requeue, standing_if_free
from treadle.store.values import micros

#: How many unclaimed runs a sweep names at most, of each organization as many; the rest when these are gone.
ANNOUNCED = 100
#: A run that has waited for less is not named: whoever made it has just announced it.
UNCLAIMED_SECONDS = 3.0
#: How often a process looks for branches that an older version's process, which knows of no turns, left in disorder.
MENDING_SECONDS = 30.0
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
    oldest_of(bindparam("organization", type_=runs.c.organization_id.type))
    .add_columns(runs.c.date_updated)
    .limit(bindparam("limit", type_=Integer))
)
_IS_OLD = idempotency_keys.c.date_created < bindparam("old")
_OLD_KEY = Prepared(select(idempotency_keys.c.key).where(_IS_OLD).limit(1))
_FORGET_KEYS = Prepared(delete(idempotency_keys).where(_IS_OLD))


class Sweeps:
    _mended: datetime | None = None  # when this process last looked

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def sweep(self, now: datetime, *, lease_seconds: float, kill_seconds: float, max_lost_workers: int) -> Sweep:
        silent_since = micros(now - timedelta(seconds=lease_seconds))
        unanswered_since = micros(now - timedelta(seconds=kill_seconds))
        old = micros(now - KEPT_KEYS)

        def look(session: Session) -> tuple[list[int], tuple[int, ...], bool]:
            late = session.all(_LATE, silent_since=silent_since, unanswered_since=unanswered_since)
            waiting = _waiting(session, micros(now - timedelta(seconds=UNCLAIMED_SECONDS)))
            return [row[0] for row in late], waiting, session.one(_OLD_KEY, old=old) is not None

        def judge(session: Session, run_id: int) -> RunStatus | None:
            """Whatever it was when it was looked at, it is locked now and judged again. Not waited for: a worker that
            was stopped in the middle of a write would hold up all that this sweep has to say."""
            run = standing_if_free(session, run_id)
            if run is None or run.status is not RunStatus.RUNNING:
                return None
            is_silent = run.runner_ping is not None and run.runner_ping <= silent_since
            is_unanswered = run.kill_requested is not None and run.kill_requested <= unanswered_since
            if not is_silent and not is_unanswered:
                return None
            return _take_away(session, run, now, is_silent=is_silent, max_lost_workers=max_lost_workers)

        late, waiting, has_old_keys = await self._executor.read(look)
        judges = [partial(judge, run_id=run_id) for run_id in late]
        statuses = await asyncio.gather(*(self._executor.write(one, again=one) for one in judges))
        if has_old_keys:
            await self._executor.write(lambda session: session.run(_FORGET_KEYS, old=old))
        if self._mended is None or not timedelta(0) <= now - self._mended < timedelta(seconds=MENDING_SECONDS):
            await self._mend(now)
            self._mended = now

        def those(status: RunStatus) -> tuple[int, ...]:
            return tuple(run_id for run_id, found in zip(late, statuses, strict=True) if found is status)

        return Sweep(those(RunStatus.NEW), those(RunStatus.FAILED), those(RunStatus.KILLED), waiting)

    async def _mend(self, now: datetime) -> None:
        """Each in a transaction of its own, which looks again."""

        def look(session: Session) -> list[Callable[[Session], None]]:
            found: list[Callable[[Session], None]] = [
                partial(branches.adopt, run=Keyless.of(*row), now=now)
                for statement in branches.KEYLESS
                for row in session.all(statement)
            ]
            found += [
                partial(branches.mend, branch=row[0], holder=row[1], now=now) for row in session.all(branches.STALE)
            ]
            found += [
                partial(branches.mend, branch=row[0], holder=None, now=now) for row in session.all(branches.FORSAKEN)
            ]
            return found

        for one in await self._executor.read(look):
            await self._executor.write(one, again=one)


def _waiting(session: Session, since: int) -> tuple[int, ...]:
    """Claimable since then: of every organization as many, and so not only of the one that has filled the queue."""
    fronts = [row[0] for row in session.all(FRONTS, limit=ANNOUNCED)]
    if not fronts:
        return ()
    found = [
        run_id
        for organization_id in fronts
        for run_id, updated in session.all(_WAITING, organization=organization_id, limit=ANNOUNCED // len(fronts))
        if updated <= since
    ]
    return tuple(sorted(found))


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
        end(session, run, RunStatus.FAILED, given_up(lost_workers), now, lost_workers=lost_workers)
        return RunStatus.FAILED
    requeue(session, run, "lease_expired", now, lost_workers=lost_workers)
    return RunStatus.NEW
