"""What workers say of themselves, and how many runs each holds."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import bindparam, delete, select

from treadle.domain.states import RunStatus
from treadle.ports.page import WorkerReport
from treadle.store.figures import BY_WORKER
from treadle.store.prepared import Prepared, Row, constant, in_portion, put_into
from treadle.store.session import Executor, Session
from treadle.store.tables import runs, workers
from treadle.store.values import date_of, micros, plain

#: A worker that has said nothing for so long is forgotten when another one reports: it was killed.
SILENCE = timedelta(days=1)
#: Of those, at a time.
PORTION = 100

_PUT = put_into(workers)
_FORGET = Prepared(delete(workers).where(workers.c.name == bindparam("called")))
_silent = (
    select(workers.c.name)
    .where(workers.c.date_seen < bindparam("before"))
    .order_by(workers.c.date_seen)
    .limit(PORTION)
    .with_for_update(skip_locked=True)
)
FORGET_SILENT = Prepared(delete(workers).where(in_portion(workers.c.name, _silent)))
SEEN = Prepared(select(*workers.columns).where(workers.c.date_seen >= bindparam("since")))
# Few rows, however many runs there are: the index of those that are alive has them.
HOLDERS = Prepared(
    select(runs.c.id, runs.c.worker).where(
        runs.c.organization_id == bindparam("organization"), runs.c.status == constant(RunStatus.RUNNING)
    )
)


class WorkerReports:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def report_worker(self, report: WorkerReport) -> None:
        def work(session: Session) -> None:
            session.run(
                _PUT,
                name=plain(report.name),
                version=plain(report.version),
                sandbox=plain(report.sandbox),
                slots=report.slots,
                is_paused=report.is_paused,
                date_started=micros(report.date_started),
                date_seen=micros(report.date_seen),
            )
            session.run(FORGET_SILENT, before=micros(report.date_seen - SILENCE))

        await self._executor.write(work, again=work)

    async def forget_worker(self, name: str) -> None:
        def work(session: Session) -> int:
            return session.run(_FORGET, called=plain(name))

        await self._executor.write(work, again=work)

    async def workers(self, since: datetime) -> Sequence[WorkerReport]:
        def work(session: Session) -> Sequence[WorkerReport]:
            running = {worker: count for worker, count, _ in session.all(BY_WORKER)}
            rows = sorted(session.all(SEEN, since=micros(since)))  # here: databases sort texts in their own ways
            return tuple(_report_of(row, running.get(row[0], 0)) for row in rows)

        return await self._executor.read(work)

    async def holders(self, organization_id: int) -> Mapping[int, str]:
        rows = await self._executor.read(lambda session: session.all(HOLDERS, organization=organization_id))
        return {run_id: worker or "" for run_id, worker in rows}


def _report_of(row: Row, running: int) -> WorkerReport:
    name, version, sandbox, slots, is_paused, started, seen = row
    return WorkerReport(name, version, sandbox, slots, bool(is_paused), date_of(started), date_of(seen), running)
