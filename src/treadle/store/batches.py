"""Batches: one plan on many repositories. What has ended is counted with the batch, so that advancing it looks at those
that are under way and no others."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, bindparam, case, func, literal_column, null, update

from treadle.domain.batch import (
    BATCH_TRANSITIONS,
    ITEM_RETRIED,
    Batch,
    BatchDraft,
    BatchItem,
    BatchStatus,
    ItemDraft,
    ItemStatus,
)
from treadle.domain.errors import NotFound
from treadle.domain.identity import Principal
from treadle.domain.messages import MessageType
from treadle.ports import Idempotency
from treadle.ports.batches import BatchFilter
from treadle.ports.chores import ChoreKind
from treadle.ports.trust import AuditEntry
from treadle.store import batch_rows, chores
from treadle.store.audit import add_entry
from treadle.store.automation_tables import batch_items, batches
from treadle.store.batch_rows import COUNTED, any_of, batch_of, item_of, missing, word
from treadle.store.batch_telling import tell
from treadle.store.prepared import Prepared, insert_into
from treadle.store.run_creation import earlier_use
from treadle.store.session import Dangling, Executor, Session, Taken
from treadle.store.values import json_of, micros, plain

_ZERO: ColumnElement[int] = literal_column("0")
_INSERT = Prepared(
    insert_into(
        batches,
        "uuid", "organization_id", "user_id", "name", "plan", "variables", "concurrency", "stop_after_failures",
        "max_cost_usd", "items", "date_created", "date_updated",
        status=word(BatchStatus.RUNNING),
        attempt=literal_column("1"),
        cost_usd=_ZERO,
        last_event=literal_column("1"),
        **dict.fromkeys(COUNTED.values(), _ZERO),
    ).returning(batches.c.id)
)  # fmt: skip
_INSERT_ITEM = Prepared(
    insert_into(
        batch_items,
        "batch_id", "position", "repository_id", "url", "name", "variables",
        status=word(ItemStatus.NOT_STARTED),
        attempt=literal_column("1"),
        earlier_runs=literal_column("'[]'"),
        cost_usd=_ZERO,
    )
)  # fmt: skip

_IS_IT = batches.c.id == bindparam("batch")
_KILL = Prepared(
    update(batches)
    .where(_IS_IT, batches.c.status == word(BatchStatus.RUNNING))
    .values(
        date_kill_requested=func.coalesce(
            batches.c.date_kill_requested, bindparam("now", type_=batches.c.date_updated.type)
        ),
        date_updated=bindparam("now", type_=batches.c.date_updated.type),
    )
)
_REOPEN = Prepared(
    update(batches)
    .where(
        _IS_IT,
        any_of(
            batches.c.status,
            [source for source, targets in BATCH_TRANSITIONS.items() if BatchStatus.RUNNING in targets],
        ),
    )
    .values(
        status=word(BatchStatus.RUNNING),
        attempt=batches.c.attempt + 1,
        failed=_ZERO,
        killed=_ZERO,
        skipped=_ZERO,
        failure_details=null(),
        date_completed=null(),
        date_kill_requested=null(),
        date_updated=bindparam("now", type_=batches.c.date_updated.type),
    )
    .returning(batches.c.attempt)
)
_AGAIN = Prepared(
    update(batch_items)
    .where(batch_items.c.batch_id == bindparam("batch"), any_of(batch_items.c.status, ITEM_RETRIED))
    .values(
        status=word(ItemStatus.NOT_STARTED),
        attempt=bindparam("number", type_=batch_items.c.attempt.type),
        earlier_runs=case(
            (batch_items.c.run_id.is_(null()), batch_items.c.earlier_runs),
            (
                batch_items.c.earlier_runs == literal_column("'[]'"),
                literal_column("'[' || batch_items.run_id || ']'"),
            ),
            else_=literal_column(
                "substr(batch_items.earlier_runs, 1, length(batch_items.earlier_runs) - 1)"
                " || ',' || batch_items.run_id || ']'"
            ),
        ),
        run_id=null(),
        changed_files=null(),
        failure_details=null(),
        date_started=null(),
        date_completed=null(),
    )
)
_SET_CONCURRENCY = Prepared(
    update(batches)
    .where(_IS_IT)
    .values(
        concurrency=bindparam("most", type_=batches.c.concurrency.type),
        date_updated=bindparam("now", type_=batches.c.date_updated.type),
    )
    .returning(batches.c.status)
)


class Batches:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def add_batch(
        self,
        draft: BatchDraft,
        principal: Principal,
        *,
        uuid: UUID,
        now: datetime,
        idempotency: Idempotency | None = None,
        audit: AuditEntry | None = None,
    ) -> tuple[Batch, bool]:
        def work(session: Session) -> tuple[Batch, bool]:
            if idempotency is not None:
                earlier = earlier_use(session, principal, uuid, idempotency, now)
                if earlier is not None:
                    return _by_uuid(session, earlier), earlier == uuid
            batch_id = _insert(session, draft, principal, uuid, now)
            session.many(_INSERT_ITEM, [_item_row(batch_id, at, one) for at, one in enumerate(draft.items, 1)])
            if audit is not None:
                add_entry(session, replace(audit, target=str(batch_id)))
            batch = _by_uuid(session, uuid)
            tell(session, batch, 1, MessageType.BATCH_CREATED, now)
            chores.plan(session, ChoreKind.BATCH, batch_id, now)
            return batch, True

        def again(session: Session) -> tuple[Batch, bool]:
            row = session.one(batch_rows.BY_UUID, named=str(uuid))
            return work(session) if row is None else (batch_of(row), True)

        try:
            return await self._executor.write(work, again=again)
        except Taken:  # the call was repeated
            return await self._executor.write(again)
        except Dangling as error:
            raise NotFound("A repository or the owner of this batch does not exist any more.") from error

    # ---- read

    async def batch(self, which: int | UUID, seen_by: BatchFilter) -> Batch:
        asked = batch_rows.seen(by_uuid=isinstance(which, UUID), is_own=seen_by.user_id is not None)
        row = await self._executor.read(
            lambda session: session.one(
                asked,
                batch=which if isinstance(which, int) else 0,
                named=str(which),
                organization=seen_by.organization_id,
                user=seen_by.user_id,
            )
        )
        if row is None:
            raise NotFound("Batch not found.")
        return batch_of(row)

    async def batches(self, seen_by: BatchFilter, *, limit: int, before: int | None = None) -> Sequence[Batch]:
        asked = batch_rows.newest(is_own=seen_by.user_id is not None)
        rows = await self._executor.read(
            lambda session: session.all(
                asked,
                organization=seen_by.organization_id,
                user=seen_by.user_id,
                before=before if before is not None else 1 << 62,
                limit=limit,
            )
        )
        return tuple(map(batch_of, rows))

    async def batch_items(
        self, batch_id: int, *, statuses: frozenset[ItemStatus] | None = None, limit: int, after: int = 0
    ) -> Sequence[BatchItem]:
        def work(session: Session) -> Sequence[BatchItem]:
            rows = session.all(batch_rows.items(statuses), batch=batch_id, after=after, limit=limit)
            if not rows:
                return ()
            within = {"batch": batch_id, "first": rows[0][0], "last": rows[-1][0]}
            commits = dict[int, list[str]]()
            for position, sha in session.all(batch_rows.COMMITS, **within):
                commits.setdefault(position, []).append(sha)
            opened: dict[int, str] = dict(session.all(batch_rows.PULL_REQUESTS, **within))  # a run's newest
            return tuple(item_of(row, commits.get(row[0], ()), opened.get(row[0])) for row in rows)

        return await self._executor.read(work)

    # ---- asked for by somebody

    async def kill_batch(self, batch_id: int, now: datetime) -> bool:
        def work(session: Session) -> bool:
            is_alive = session.run(_KILL, batch=batch_id, now=micros(now)) == 1
            if is_alive:
                chores.plan(session, ChoreKind.BATCH, batch_id, now)
            return is_alive

        return await self._executor.write(work, again=work)

    async def retry_batch(self, batch_id: int, now: datetime) -> bool:
        def work(session: Session) -> bool:
            row = session.one(_REOPEN, batch=batch_id, now=micros(now))
            if row is None:
                return False
            session.run(_AGAIN, batch=batch_id, number=row[0])
            chores.plan(session, ChoreKind.BATCH, batch_id, now)
            return True

        return await self._executor.write(work)

    async def set_batch_concurrency(self, batch_id: int, concurrency: int, now: datetime) -> None:
        def work(session: Session) -> None:
            row = session.one(_SET_CONCURRENCY, batch=batch_id, most=concurrency, now=micros(now))
            if row is not None and row[0] == BatchStatus.RUNNING:
                chores.plan(session, ChoreKind.BATCH, batch_id, now)

        await self._executor.write(work, again=work)


def _insert(session: Session, draft: BatchDraft, principal: Principal, uuid: UUID, now: datetime) -> int:
    row = session.all(
        _INSERT,
        uuid=str(uuid),
        organization_id=principal.organization_id,
        user_id=principal.user_id,
        name=plain(draft.name),
        plan=json_of(draft.plan),
        variables=json_of(draft.variables),
        concurrency=draft.concurrency,
        stop_after_failures=draft.stop_after_failures,
        max_cost_usd=draft.max_cost_usd,
        items=len(draft.items),
        date_created=micros(now),
        date_updated=micros(now),
    )[0]
    found: int = row[0]
    return found


def _item_row(batch_id: int, position: int, item: ItemDraft) -> dict[str, object]:
    return {
        "batch_id": batch_id,
        "position": position,
        "repository_id": item.repository_id,
        "url": plain(item.url),
        "name": plain(item.name),
        "variables": json_of(item.variables),
    }


def _by_uuid(session: Session, uuid: UUID) -> Batch:
    row = session.one(batch_rows.BY_UUID, named=str(uuid))
    if row is None:
        raise missing()
    return batch_of(row)
