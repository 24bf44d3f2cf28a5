"""Work branches: of the runs of one organization on one branch of one repository only that may be Running whose turn it
is. Its turn lasts until its end; then the oldest of those that wait has it.

The branch's row in `branch_holders` is the lock: who joins the branch and who leaves it take turns there, and it is
always taken before the row of another run. So nobody joins behind a run that is just leaving, and two never wait for
each other.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Boolean, bindparam, delete, literal_column, null, or_, select, true, update
from sqlalchemy.dialects.postgresql import insert as insert_or  # SQLite's dialect writes its ON CONFLICT the same way

from treadle.domain.states import RUN_ALIVE, RUN_TERMINAL, RunStatus
from treadle.store.branch_key import branch_key
from treadle.store.prepared import Prepared, among, constant, insert_into, only
from treadle.store.session import Session
from treadle.store.tables import IS_BLOCKED, branch_holders, runs
from treadle.store.values import micros

#: What one look for what is amiss finds at most; the next finds the rest.
FOUND = 100

_THE_BRANCH = branch_holders.c.branch == bindparam("on")
_IS_NEW = runs.c.status == constant(RunStatus.NEW)

_insert = insert_or(branch_holders).values(
    {column: bindparam(column.name, type_=column.type) for column in branch_holders.columns}
)
# Changes nothing on a branch that has a holder, but locks its row.
_TAKE = Prepared(
    _insert.on_conflict_do_update(
        index_elements=[*branch_holders.primary_key], set_={"run_uuid": branch_holders.c.run_uuid}
    ).returning(branch_holders.c.run_uuid)
)
_TAKE_FREE = Prepared(_insert.on_conflict_do_nothing(index_elements=[*branch_holders.primary_key]))
# By its run too: who does not hold the branch must not wait for who does.
_LEAVE = Prepared(delete(branch_holders).where(_THE_BRANCH, branch_holders.c.run_uuid == bindparam("mine")))
_GIVE = Prepared(insert_into(branch_holders))
_NEXT = Prepared(
    select(runs.c.id, runs.c.uuid)
    .where(IS_BLOCKED, only(runs.c.branch_key, bindparam("on", type_=runs.c.branch_key.type)))
    .order_by(runs.c.branch_key, runs.c.id)
    .limit(literal_column("1"))
)
_HOLD = Prepared(
    update(runs)
    .where(runs.c.id == bindparam("run"), _IS_NEW)
    .values(holds_branch=true(), date_updated=bindparam("now", type_=runs.c.date_updated.type))
)

_KEYLESS_COLUMNS = (runs.c.id, runs.c.uuid, runs.c.organization_id, runs.c.git_url, runs.c.branch_work)
#: One statement a status: each has an index of its own.
KEYLESS = tuple(
    Prepared(
        select(*_KEYLESS_COLUMNS)
        .where(runs.c.status == constant(status), runs.c.branch_key.is_(null()))
        .order_by(runs.c.id)
        .limit(FOUND)
    )
    for status in sorted(RUN_ALIVE)
)
_NAME = Prepared(
    update(runs)
    .where(runs.c.id == bindparam("run"), among(runs.c.status, RUN_ALIVE), runs.c.branch_key.is_(null()))
    .values(branch_key=bindparam("key", type_=runs.c.branch_key.type), holds_branch=bindparam("holds", type_=Boolean))
)
STALE = Prepared(
    select(branch_holders.c.branch, branch_holders.c.run_uuid)
    .select_from(branch_holders.outerjoin(runs, runs.c.uuid == branch_holders.c.run_uuid))
    .where(or_(runs.c.id.is_(null()), among(runs.c.status, RUN_TERMINAL)))
    .limit(FOUND)
)
_STATUS = Prepared(select(runs.c.status).where(runs.c.uuid == bindparam("of")))
FORSAKEN = Prepared(
    select(runs.c.branch_key)
    .where(
        IS_BLOCKED,
        runs.c.branch_key.is_not(null()),
        ~select(branch_holders.c.branch).where(branch_holders.c.branch == runs.c.branch_key).exists(),
    )
    .distinct()
    .limit(FOUND)
)


@dataclass(frozen=True, slots=True)
class Keyless:
    """A run that a process of schema 0001 made."""

    run_id: int
    uuid: UUID
    key: str

    @classmethod
    def of(cls, run_id: int, uuid: str, organization_id: int, git_url: str, branch_work: str) -> "Keyless":
        return cls(run_id, UUID(uuid), branch_key(organization_id, git_url, branch_work))


def join(session: Session, branch: str, run: UUID) -> bool:
    """Whether it is the run's turn. Until this transaction ends nobody else joins the branch or leaves it."""
    row = session.one(_TAKE, branch=branch, run_uuid=str(run))
    return row is not None and row[0] == str(run)


def leave(session: Session, branch: str, run: UUID, now: datetime) -> None:
    """Ends the run's turn, if it has it, and gives it to the oldest that waits. The run is not New any more."""
    if session.run(_LEAVE, on=branch, mine=str(run)):
        # Nobody can take the branch before this transaction ends: the row that was deleted stands in their way.
        following = _hold_next(session, branch, now)
        if following is not None:
            session.run(_GIVE, branch=branch, run_uuid=following)


def adopt(session: Session, run: Keyless, now: datetime) -> None:
    """Gives a run that has none its branch, and its turn if nobody has it."""
    holds = join(session, run.key, run.uuid)
    if not session.run(_NAME, run=run.run_id, key=run.key, holds=holds) and holds:
        leave(session, run.key, run.uuid, now)  # it has ended meanwhile


def mend(session: Session, branch: str, holder: str | None, now: datetime) -> None:
    """Of a branch whose `holder` has ended without leaving, or that has none."""
    if holder is not None:
        row = session.one(_STATUS, of=holder)
        if row is None or RunStatus(row[0]) in RUN_TERMINAL:
            leave(session, branch, UUID(holder), now)
        return
    row = session.one(_NEXT, on=branch)
    if row is None or not session.run(_TAKE_FREE, branch=branch, run_uuid=row[1]):
        return
    if not session.run(_HOLD, run=row[0], now=micros(now)):  # it was killed meanwhile
        leave(session, branch, UUID(row[1]), now)


def _hold_next(session: Session, branch: str, now: datetime) -> str | None:
    """The UUID of the run whose turn it is now."""
    while (row := session.one(_NEXT, on=branch)) is not None:
        run_id, uuid = row
        # None is changed when it was killed meanwhile: then it is not New any more, and another is next.
        if session.run(_HOLD, run=run_id, now=micros(now)):
            return str(uuid)
    return None
