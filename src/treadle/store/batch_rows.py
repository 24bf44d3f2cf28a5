"""Batches and their items as rows: how they are read, and what is put together of their runs."""

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, Select, and_, bindparam, func, literal_column, select

from treadle.domain.batch import ITEM_OPEN, Batch, BatchCounts, BatchItem, BatchStatus, ItemStatus
from treadle.domain.errors import NotFound
from treadle.domain.states import RunStatus
from treadle.ports.batches import OpenItem, ToStart
from treadle.ports.chores import ChoreKind
from treadle.store.automation_tables import batch_items, batches, run_watchers
from treadle.store.prepared import Prepared, Row
from treadle.store.session import Session
from treadle.store.tables import pull_requests, runs, steps
from treadle.store.values import date_of, optional_date


def word(status: BatchStatus | ItemStatus) -> ColumnElement[str]:
    return literal_column(f"'{status}'")


def any_of(column: ColumnElement[str], statuses: Iterable[BatchStatus | ItemStatus]) -> ColumnElement[bool]:
    return column.in_([word(status) for status in sorted(statuses)])


#: By which of a batch's numbers an end is counted.
COUNTED: Final = {
    ItemStatus.SUCCESS: "succeeded",
    ItemStatus.FAILED: "failed",
    ItemStatus.KILLED: "killed",
    ItemStatus.SKIPPED: "skipped",
}

IS_OPEN = any_of(batch_items.c.status, ITEM_OPEN)

_open_ones = batch_items.alias("open_ones")
_is_open = and_(_open_ones.c.batch_id == batches.c.id, any_of(_open_ones.c.status, ITEM_OPEN))
_running = select(func.count()).select_from(_open_ones).where(_is_open).scalar_subquery()
_under_way = (
    select(func.coalesce(func.sum(steps.c.cost_usd), literal_column("0.0")))
    .select_from(_open_ones.join(steps, steps.c.run_id == _open_ones.c.run_id))
    .where(_is_open)
    .scalar_subquery()
)
_WHOLE = select(
    batches.c.id, batches.c.uuid, batches.c.organization_id, batches.c.user_id, batches.c.name, batches.c.plan,
    batches.c.variables, batches.c.concurrency, batches.c.stop_after_failures, batches.c.max_cost_usd,
    batches.c.status, batches.c.failure_details, batches.c.attempt, batches.c.date_created, batches.c.date_updated,
    batches.c.date_completed, batches.c.date_kill_requested, batches.c["items"], batches.c.succeeded,
    batches.c.failed, batches.c.killed, batches.c.skipped, batches.c.cost_usd, _running, _under_way,
)  # fmt: skip
_IN_ORGANIZATION = batches.c.organization_id == bindparam("organization")
_IS_MINE = batches.c.user_id == bindparam("user")

BY_ID = Prepared(_WHOLE.where(batches.c.id == bindparam("batch")))
BY_UUID = Prepared(_WHOLE.where(batches.c.uuid == bindparam("named")))


@lru_cache(maxsize=8)
def seen(*, by_uuid: bool, is_own: bool) -> Prepared:
    found = batches.c.uuid == bindparam("named") if by_uuid else batches.c.id == bindparam("batch")
    return Prepared(_own(_WHOLE.where(_IN_ORGANIZATION, found), is_own=is_own))


@lru_cache(maxsize=2)
def newest(*, is_own: bool) -> Prepared:
    whole = _own(_WHOLE.where(_IN_ORGANIZATION, batches.c.id < bindparam("before")), is_own=is_own)
    return Prepared(whole.order_by(batches.c.id.desc()).limit(bindparam("limit", type_=Integer)))


def _own(found: "Select[tuple[object, ...]]", *, is_own: bool) -> "Select[tuple[object, ...]]":
    return found.where(_IS_MINE) if is_own else found


def batch_of(row: Row) -> Batch:
    (
        id_, uuid, organization_id, user_id, name, plan, variables, concurrency, stop_after, max_cost, status, details,
        attempt, created, updated, completed, killed_at, items, succeeded, failed, killed, skipped, settled,
        running, under_way,
    ) = row  # fmt: skip
    return Batch(
        id=id_,
        uuid=UUID(uuid),
        organization_id=organization_id,
        user_id=user_id,
        name=name,
        plan=json.loads(plan),
        variables=json.loads(variables),
        concurrency=concurrency,
        stop_after_failures=stop_after,
        max_cost_usd=max_cost,
        status=BatchStatus(status),
        failure_details=details,
        counts=BatchCounts(items, succeeded, failed, killed, skipped, running),
        settled_usd=float(settled),
        cost_usd=float(settled) + float(under_way),
        attempt=attempt,
        date_created=date_of(created),
        date_updated=date_of(updated),
        date_completed=optional_date(completed),
        date_kill_requested=optional_date(killed_at),
    )


# ---- items -----------------------------------------------------------------------------------------------------------

_ITEM = (
    batch_items.c.position, batch_items.c.name, batch_items.c.url, batch_items.c.repository_id,
    batch_items.c.variables, batch_items.c.status, batch_items.c.attempt, batch_items.c.run_id,
    batch_items.c.changed_files, batch_items.c.failure_details, batch_items.c.cost_usd, batch_items.c.earlier_runs,
    batch_items.c.date_started, batch_items.c.date_completed,
)  # fmt: skip
_cost = (
    select(func.coalesce(func.sum(steps.c.cost_usd), literal_column("0.0")))
    .where(steps.c.run_id == batch_items.c.run_id)
    .scalar_subquery()
)


@lru_cache(maxsize=128)
def items(statuses: frozenset[ItemStatus] | None) -> Prepared:
    found = (
        select(*_ITEM, runs.c.uuid, runs.c.branch_work, _cost)
        .select_from(batch_items.outerjoin(runs, runs.c.id == batch_items.c.run_id))
        .where(batch_items.c.batch_id == bindparam("batch"), batch_items.c.position > bindparam("after"))
        .order_by(batch_items.c.position)
        .limit(bindparam("limit", type_=Integer))
    )
    return Prepared(found if statuses is None else found.where(any_of(batch_items.c.status, statuses)))


_within = and_(
    batch_items.c.batch_id == bindparam("batch"),
    batch_items.c.position >= bindparam("first"),
    batch_items.c.position <= bindparam("last"),
)
COMMITS = Prepared(
    select(batch_items.c.position, steps.c.commit_sha)
    .select_from(batch_items.join(steps, steps.c.run_id == batch_items.c.run_id))
    .where(_within, steps.c.commit_sha.is_not(None))
    .order_by(batch_items.c.position, steps.c.position)
)
PULL_REQUESTS = Prepared(
    select(batch_items.c.position, pull_requests.c.url)
    .select_from(batch_items.join(pull_requests, pull_requests.c.run_id == batch_items.c.run_id))
    .where(_within)
    .order_by(batch_items.c.position, pull_requests.c.id)
)


def item_of(row: Row, commits: Sequence[str], pull_request: str | None) -> BatchItem:
    (
        position, name, url, repository_id, variables, status, attempt, run_id, changed, details, cost, earlier,
        started, completed, run_uuid, branch, run_cost,
    ) = row  # fmt: skip
    is_open = ItemStatus(status) in ITEM_OPEN
    return BatchItem(
        position=position,
        name=name,
        url=url,
        repository_id=repository_id,
        variables=json.loads(variables),
        status=ItemStatus(status),
        attempt=attempt,
        run_id=run_id,
        run_uuid=None if run_uuid is None else UUID(run_uuid),
        branch=branch or None,
        commits=commits,
        pull_request_url=pull_request,
        changed_files=changed,
        failure_details=details,
        cost_usd=float(cost) + (float(run_cost) if is_open else 0.0),
        earlier_runs=json.loads(earlier),
        date_started=optional_date(started),
        date_completed=optional_date(completed),
    )


_START = (
    batch_items.c.position, batch_items.c.attempt, batch_items.c.url, batch_items.c.repository_id,
    batch_items.c.variables,
)  # fmt: skip
_watching = and_(
    run_watchers.c.run_id == batch_items.c.run_id,
    run_watchers.c.kind == literal_column(f"'{ChoreKind.BATCH}'"),
    run_watchers.c.subject == batch_items.c.batch_id,
)
OPEN = Prepared(
    select(
        *_START,
        batch_items.c.status,
        batch_items.c.run_id,
        runs.c.status,
        runs.c.failure_details,
        runs.c.max_cost_usd,
        _cost,
        runs.c.date_kill_requested,
        run_watchers.c.run_id,
    )
    .select_from(batch_items.outerjoin(runs, runs.c.id == batch_items.c.run_id).outerjoin(run_watchers, _watching))
    .where(batch_items.c.batch_id == bindparam("batch"), IS_OPEN)
    .order_by(batch_items.c.position)
)
WAITING = Prepared(
    select(*_START)
    .where(batch_items.c.batch_id == bindparam("batch"), batch_items.c.status == word(ItemStatus.NOT_STARTED))
    .order_by(batch_items.c.position)
    .limit(bindparam("limit", type_=Integer))
)


def to_start(row: Row) -> ToStart:
    position, attempt, url, repository_id, variables = row[:5]
    return ToStart(position, attempt, url, repository_id, json.loads(variables))


def open_item_of(row: Row) -> OpenItem:
    status, run_id, run_status, details, max_cost, cost, killed_at, watcher = row[5:]
    return OpenItem(
        item=to_start(row),
        status=ItemStatus(status),
        run_id=run_id,
        run_status=None if run_status is None else RunStatus(run_status),
        run_failure=details,
        max_cost_usd=max_cost,
        cost_usd=float(cost),
        is_kill_requested=killed_at is not None,
        is_watched=watcher is not None,
    )


def by_id(session: Session, batch_id: int) -> Batch:
    row = session.one(BY_ID, batch=batch_id)
    if row is None:
        raise missing()
    return batch_of(row)


def missing() -> NotFound:
    return NotFound("Batch not found.")
