"""Executions of setup commands."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Integer, bindparam, case, exists, literal_column, or_, select, update

from treadle.domain.errors import NotFound
from treadle.domain.repository import SandboxStatus, SetupSandbox
from treadle.domain.states import RunStatus
from treadle.ports import Fence
from treadle.store.known import member
from treadle.store.prepared import Prepared, Row, constant, insert_into
from treadle.store.session import Dangling, Executor, Session
from treadle.store.tables import repositories, runs, sandboxes
from treadle.store.transitions import held
from treadle.store.values import date_of, micros, optional_date, plain

_GIVEN = ("organization_id", "repository_id", "run_id", "digest", "date_created")
_INSERT = Prepared(
    insert_into(sandboxes, *_GIVEN, status=literal_column(f"'{SandboxStatus.RUNNING}'")).returning(*sandboxes.columns)
)
_MADE = Prepared(
    select(*sandboxes.columns).where(
        sandboxes.c.run_id == bindparam("run"),
        sandboxes.c.repository_id == bindparam("repository"),
        sandboxes.c.digest == bindparam("of"),
        sandboxes.c.date_created == bindparam("made"),
    )
)
_FINISH = Prepared(
    update(sandboxes)
    .where(sandboxes.c.id == bindparam("sandbox"), sandboxes.c.run_id == bindparam("run"))
    .values(
        status=bindparam("became", type_=sandboxes.c.status.type),
        exit_code=bindparam("code", type_=sandboxes.c.exit_code.type),
        log_blob=bindparam("blob", type_=sandboxes.c.log_blob.type),
        date_completed=bindparam("now", type_=sandboxes.c.date_completed.type),
    )
)
# Nobody ends an execution whose worker died: it goes on only while its run does, and until the run begins another.
_later = sandboxes.alias()
_is_abandoned = or_(
    runs.c.status != constant(RunStatus.RUNNING),
    exists().where(_later.c.run_id == sandboxes.c.run_id, _later.c.id > sandboxes.c.id),
)
_status = case(
    (sandboxes.c.status != literal_column(f"'{SandboxStatus.RUNNING}'"), sandboxes.c.status),
    (_is_abandoned, literal_column(f"'{SandboxStatus.FAILED}'")),
    else_=sandboxes.c.status,
)
# Those of a repository that was removed went with it.
_known = (
    select(*(_status if column is sandboxes.c.status else column for column in sandboxes.columns))
    .join_from(sandboxes, repositories)
    .join(runs, runs.c.id == sandboxes.c.run_id)
    .where(repositories.c.url != literal_column("''"))
)
_ONE = Prepared(
    _known.where(sandboxes.c.organization_id == bindparam("organization"), sandboxes.c.id == bindparam("sandbox"))
)
NEWEST = Prepared(
    _known.where(sandboxes.c.repository_id == bindparam("repository"))
    .order_by(sandboxes.c.id.desc())
    .limit(bindparam("limit", type_=Integer))
)


class Sandboxes:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def add_sandbox(self, fence: Fence, repository_id: int, digest: str, now: datetime) -> SetupSandbox:
        def work(session: Session) -> SetupSandbox:
            run = held(session, fence)
            rows = session.all(
                _INSERT,
                organization_id=run.organization_id,
                repository_id=repository_id,
                run_id=fence.run_id,
                digest=plain(digest),
                date_created=micros(now),
            )
            return _sandbox_of(rows[0])

        def again(session: Session) -> SetupSandbox:
            held(session, fence)
            made = session.one(_MADE, run=fence.run_id, repository=repository_id, of=plain(digest), made=micros(now))
            return work(session) if made is None else _sandbox_of(made)

        try:
            return await self._executor.write(work, again=again)
        except Dangling as error:
            raise NotFound(f"There is no repository {repository_id}.") from error

    async def finish_sandbox(
        self,
        fence: Fence,
        sandbox_id: int,
        status: SandboxStatus,
        now: datetime,
        *,
        exit_code: int | None,
        log_blob: str | None,
    ) -> None:
        def work(session: Session) -> None:
            held(session, fence)
            changed = session.run(
                _FINISH,
                sandbox=sandbox_id,
                run=fence.run_id,
                became=status.value,
                code=exit_code,
                blob=log_blob,
                now=micros(now),
            )
            if not changed:
                raise NotFound(f"Run {fence.run_id} has no sandbox {sandbox_id}.")

        await self._executor.write(work, again=work)

    async def sandbox(self, organization_id: int, sandbox_id: int) -> SetupSandbox:
        row = await self._executor.glance(
            lambda session: session.one(_ONE, organization=organization_id, sandbox=sandbox_id)
        )
        if row is None:
            raise NotFound(f"There is no sandbox {sandbox_id}.")
        return _sandbox_of(row)

    async def sandboxes(self, repository_id: int, *, limit: int) -> Sequence[SetupSandbox]:
        rows = await self._executor.read(lambda session: session.all(NEWEST, repository=repository_id, limit=limit))
        return tuple(map(_sandbox_of, rows))


def _sandbox_of(row: Row) -> SetupSandbox:
    id_, organization_id, repository_id, run_id, digest, status, exit_code, log_blob, created, completed = row
    return SetupSandbox(
        id_,
        organization_id,
        repository_id,
        run_id,
        digest,
        member(SandboxStatus, status) or SandboxStatus.FAILED,
        exit_code,
        log_blob,
        date_of(created),
        optional_date(completed),
    )
