"""Claims: which run a worker gets. Fair among organizations, within their limits, one run a work branch, and as fast
with ten thousand runs in the queue as with one."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

from sqlalchemy import ColumnElement, Integer, Select, bindparam, func, literal_column, null, or_, select, update

from treadle.domain.events import Draft, EventType
from treadle.domain.run import Run
from treadle.domain.states import RunStatus
from treadle.store import branches
from treadle.store.branches import Keyless
from treadle.store.events import Batch
from treadle.store.events import write as write_events
from treadle.store.prepared import Prepared, Row, constant, only
from treadle.store.run_rows import load
from treadle.store.session import Executor, Session
from treadle.store.tables import IS_CLAIMABLE, organizations, runs
from treadle.store.values import micros, plain

#: Organizations that one claim tries at most, those whose turn it is first.
ORGANIZATIONS = 100
#: How often a claim begins again because others were claiming for the same organization at that moment.
TRIES = 3

#: Written out: a limit that PostgreSQL does not know it takes for a tenth of the table.
ONE: ColumnElement[int] = literal_column("1")

_slots = bindparam("slots", type_=Integer)


def _count(organization: ColumnElement[int]) -> Select[int]:
    """Its Running ones."""
    return select(func.count()).where(
        runs.c.status == constant(RunStatus.RUNNING), runs.c.organization_id == organization
    )


def oldest_of(organization: ColumnElement[int]) -> Select[int]:
    """Its claimable runs, the oldest first. By `runs_claimable` and no other index: there are some that hold all that
    is New, those of others and those that wait for their branch too."""
    return (
        select(runs.c.id)
        .where(IS_CLAIMABLE, only(runs.c.organization_id, organization))
        .order_by(runs.c.organization_id, runs.c.status, runs.c.id)
    )


def _oldest(organization: ColumnElement[int]) -> Select[int]:
    return oldest_of(organization).limit(ONE)


def _served(organization: ColumnElement[int]) -> Select[int]:
    """When a run of its was last claimed for the first time."""
    return (
        select(runs.c.date_started)
        .where(runs.c.organization_id == organization, runs.c.date_started.is_not(null()))
        .order_by(runs.c.date_started.desc())
        .limit(ONE)
    )


def _waiting_organizations() -> Select[int]:
    """Those with a claimable run, found by a leap over the index from one to the next."""
    first = select(runs.c.organization_id).where(IS_CLAIMABLE).order_by(runs.c.organization_id).limit(ONE)
    leap = select(first.scalar_subquery().label("id")).cte("waiting", recursive=True)
    following = (
        select(runs.c.organization_id)
        .where(IS_CLAIMABLE, runs.c.organization_id > leap.c.id)
        .order_by(runs.c.organization_id)
        .limit(ONE)
    )
    leap = leap.union_all(select(following.correlate(leap).scalar_subquery()).where(leap.c.id.is_not(None)))
    return select(leap.c.id).where(leap.c.id.is_not(None))


_waiting = _waiting_organizations().subquery("found")
_seen = (
    select(
        _waiting.c.id,
        _oldest(_waiting.c.id).correlate(_waiting).scalar_subquery().label("oldest"),
        _count(_waiting.c.id).correlate(_waiting).scalar_subquery().label("running"),
        func.coalesce(_served(_waiting.c.id).correlate(_waiting).scalar_subquery(), literal_column("0")).label(
            "served"
        ),
        func.coalesce(organizations.c.slots, _slots).label("allowed"),
    )
    .join_from(_waiting, organizations, organizations.c.id == _waiting.c.id)
    .subquery("seen")
)
#: Organizations that may have another run, in the order of their turns; whether a limit applies.
CANDIDATES = Prepared(
    select(_seen.c.id, _seen.c.allowed)
    .where(or_(_seen.c.allowed.is_(None), _seen.c.running < _seen.c.allowed))
    .order_by(_seen.c.running, _seen.c.served, _seen.c.oldest)
    .limit(ORGANIZATIONS)
)
#: Organizations with a claimable run, and the oldest one of each; the oldest first.
FRONTS = Prepared(
    select(_waiting.c.id, _oldest(_waiting.c.id).correlate(_waiting).scalar_subquery().label("oldest"))
    .order_by("oldest")
    .limit(bindparam("limit", type_=Integer))
)
RUNNING = Prepared(_count(bindparam("organization", type_=runs.c.organization_id.type)))
_OF_RUN = Prepared(
    select(runs.c.organization_id, func.coalesce(organizations.c.slots, _slots))
    .join_from(runs, organizations, organizations.c.id == runs.c.organization_id)
    .where(runs.c.id == bindparam("run"), IS_CLAIMABLE)
)


_CLAIMED = (
    runs.c.id, runs.c.lease, runs.c.last_event, runs.c.branch_key, runs.c.uuid, runs.c.organization_id, runs.c.git_url,
    runs.c.branch_work,
)  # fmt: skip


def _claim(pick: Select[int]) -> Prepared:
    """`pick` names one run; a row that another claim has locked is passed over (SQLite has one writer at a time)."""
    return Prepared(
        update(runs)
        .where(runs.c.id == pick.with_for_update(skip_locked=True).scalar_subquery(), IS_CLAIMABLE)
        .values(
            status=constant(RunStatus.RUNNING),
            lease=runs.c.lease + 1,
            last_write=0,
            worker=bindparam("by", type_=runs.c.worker.type),
            last_event=runs.c.last_event + 1,
            event_bytes=runs.c.event_bytes + bindparam("bytes", type_=runs.c.event_bytes.type),
            date_started=func.coalesce(runs.c.date_started, bindparam("now", type_=runs.c.date_started.type)),
            date_updated=bindparam("now", type_=runs.c.date_updated.type),
            date_runner_ping=bindparam("now", type_=runs.c.date_runner_ping.type),
        )
        .returning(*_CLAIMED)
    )


CLAIM_OLDEST = _claim(_oldest(bindparam("organization", type_=runs.c.organization_id.type)))
CLAIM_ONE = _claim(select(runs.c.id).where(runs.c.id == bindparam("run"), IS_CLAIMABLE))
_MINE = Prepared(
    select(runs.c.id).where(
        runs.c.status == constant(RunStatus.RUNNING),
        runs.c.worker == bindparam("by"),
        runs.c.date_runner_ping == bindparam("now"),
    )
)


class _KeylessFound(Exception):
    """A run of an older process won the claim, and nobody knows yet whether it is its turn."""

    def __init__(self, run: Keyless) -> None:
        super().__init__()
        self.run = run


class _Contended(Exception):
    """The organizations that are left are being claimed for by others, under their limits."""

    def __init__(self, organization_id: int) -> None:
        super().__init__()
        self.organization_id = organization_id


class Claims:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def claim(
        self, worker: str, now: datetime, *, run_id: int | None = None, organization_slots: int | None = None
    ) -> Run | None:
        """A worker asks one at a time: its name and `now` are what a claim is found by whose answer was lost."""
        contended: int | None = None
        tries = TRIES
        while tries:
            work = partial(_one, worker=worker, now=now, run_id=run_id, slots=organization_slots, contended=contended)
            again = partial(_again, worker=worker, now=now, work=work)
            try:
                return await self._executor.write(work, again=again)
            except _KeylessFound as found:
                await self._executor.write(
                    partial(branches.adopt, run=found.run, now=now),
                    again=partial(branches.adopt, run=found.run, now=now),
                )
            except _Contended as found:
                contended = found.organization_id
                tries -= 1
        return None


def _one(
    session: Session, *, worker: str, now: datetime, run_id: int | None, slots: int | None, contended: int | None
) -> Run | None:
    """Raises _KeylessFound and _Contended, for another try. `contended`: whose lock to wait for, which is safe only
    while nothing else is locked."""
    if contended is not None:
        _lock(session, contended, wait=True)
    row = _oldest_of_any(session, worker, now, slots) if run_id is None else _that(session, worker, now, run_id, slots)
    if row is None:
        return None
    claimed, lease, last, key, uuid, organization_id, git_url, branch_work = row
    if key is None:
        raise _KeylessFound(Keyless.of(claimed, uuid, organization_id, git_url, branch_work))
    write_events(session, claimed, last, Batch([_started(worker, lease)]), now)
    return load(session, run_id=claimed)


def _again(session: Session, *, worker: str, now: datetime, work: partial[Run | None]) -> Run | None:
    """After an answer that was lost with the connection."""
    row = session.one(_MINE, by=plain(worker), now=micros(now))
    return work(session) if row is None else load(session, run_id=row[0])


def _oldest_of_any(session: Session, worker: str, now: datetime, slots: int | None) -> Row | None:
    contended: int | None = None
    for organization_id, allowed in session.all(CANDIDATES, slots=slots):
        if allowed is not None:
            if not _lock(session, organization_id, wait=False):
                contended = contended or organization_id
                continue
            if not _has_room(session, organization_id, allowed):
                continue
        row = session.one(CLAIM_OLDEST, organization=organization_id, **_claimer(worker, now))
        if row is not None:
            return row
    if contended is not None:
        raise _Contended(contended)
    return None


def _that(session: Session, worker: str, now: datetime, run_id: int, slots: int | None) -> Row | None:
    row = session.one(_OF_RUN, run=run_id, slots=slots)
    if row is None:
        return None
    organization_id, allowed = row
    if allowed is not None:
        _lock(session, organization_id, wait=True)
        if not _has_room(session, organization_id, allowed):
            return None
    return session.one(CLAIM_ONE, run=run_id, **_claimer(worker, now))


def _claimer(worker: str, now: datetime) -> dict[str, object]:
    return {"by": plain(worker), "now": micros(now), "bytes": Batch([_started(worker, 0)]).size}


def _started(worker: str, lease: int) -> Draft:
    return Draft(EventType.RUN_STARTED, {"worker": worker, "lease": lease})


def _lock(session: Session, organization_id: int, *, wait: bool) -> bool:
    """So that nobody else claims for it before this transaction has ended."""
    return session.lock(f"claims of organization {organization_id}", wait=wait)


def _has_room(session: Session, organization_id: int, allowed: int) -> bool:
    """Counted again, now that nobody else claims for it."""
    rows: Sequence[Row] = session.all(RUNNING, organization=organization_id)
    return bool(rows[0][0] < allowed)
