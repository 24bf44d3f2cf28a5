"""The outbox: what happens is put in line for the webhooks that want to know it, in the transaction in which it
happens. An organization without webhooks pays one look for each event that could be told of."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID, uuid5

from sqlalchemy import ColumnElement, bindparam, func, literal_column, select

from treadle.domain.events import Draft, JsonObject, JsonValue, clip
from treadle.domain.messages import MAX_MESSAGE_TEXT, TOLD, Filter, MessageStatus, MessageType, told_of
from treadle.domain.run import RunPurpose
from treadle.ports.chores import ChoreKind
from treadle.store import chores
from treadle.store.automation_tables import chores as chores_table
from treadle.store.automation_tables import messages, webhooks
from treadle.store.prepared import Prepared, Row, insert_into
from treadle.store.session import Session
from treadle.store.tables import repositories, runs
from treadle.store.values import json_of, micros, optional_date

# Kept from removal until the transaction ends: it would fail over a webhook that is just removed.
_wanting = (
    select(webhooks.c.id, webhooks.c.uuid, webhooks.c.filter)
    .where(webhooks.c.is_enabled)
    .order_by(webhooks.c.id)
    .with_for_update(read=True, key_share=True, of=webhooks)
)
_OF_RUN = Prepared(
    _wanting.join_from(runs, webhooks, webhooks.c.organization_id == runs.c.organization_id).where(
        runs.c.id == bindparam("run")
    )
)
_OF_ORGANIZATION = Prepared(_wanting.where(webhooks.c.organization_id == bindparam("organization")))
_RUN = Prepared(
    select(
        runs.c.uuid,
        runs.c.status,
        runs.c.repository_id,
        repositories.c.name,
        runs.c.git_url,
        runs.c.branch_source,
        runs.c.branch_work,
        runs.c.engine,
        runs.c.model,
        runs.c.source,
        runs.c.purpose,
        func.coalesce(runs.c.metadata, literal_column("'null'")),
        runs.c.failure_details,
        runs.c.date_created,
        runs.c.date_started,
        runs.c.date_completed,
    )
    .select_from(runs.outerjoin(repositories, repositories.c.id == runs.c.repository_id))
    .where(runs.c.id == bindparam("run"))
)
_INSERT = Prepared(insert_into(messages))
_NOW = bindparam("now", type_=chores_table.c.date_due.type)
_KIND: ColumnElement[str] = literal_column(f"'{ChoreKind.MESSAGES}'")
#: Whoever would claim it passes it by until this transaction has ended, and then sees its messages. Transactions of
#: several runs hold it together: they do not wait for one another.
_IS_DUE = Prepared(
    select(chores_table.c.subject)
    .where(
        chores_table.c.kind == _KIND,
        chores_table.c.subject == bindparam("about", type_=chores_table.c.subject.type),
        chores_table.c.date_due <= _NOW,
    )
    .with_for_update(read=True, skip_locked=True)
)


def tell_run(session: Session, run_id: int, first: int, drafts: Sequence[Draft], now: datetime) -> None:
    """Of those of a run's new events that others are told of. `first`: the number of the first. The run's row is locked
    by whoever writes its events: the messages' ids are in their order."""
    told = [(number, draft) for number, draft in enumerate(drafts, first) if draft.type in TOLD]
    if not told:
        return
    wanting = session.all(_OF_RUN, run=run_id)
    if not wanting:
        return
    row = session.one(_RUN, run=run_id)
    if row is None or row[10] != RunPurpose.CODE:
        return
    run, source, repository = _run_json(run_id, row), str(row[9]), row[2]
    for webhook_id, uuid, kept in wanting:
        wanted = Filter.read(json.loads(kept))
        rows = []
        for number, draft in told:
            type_, names = TOLD[draft.type]
            if wanted.admits(type_, draft.data.get("status"), repository=repository, source=source):
                event = {"number": number, "step": draft.step, **told_of(draft.data, names)}
                at = draft.date or now
                rows.append(
                    _message(webhook_id, uuid, f"run {run_id}", type_, number, {"event": event, "run": run}, at, now)
                )
                rows[-1]["run_id"] = run_id
        _put(session, webhook_id, rows, now)


def tell_batch(
    session: Session,
    organization_id: int,
    batch_id: int,
    number: int,
    type_: MessageType,
    data: Mapping[str, JsonValue],
    now: datetime,
) -> None:
    """Of a batch whose row is locked. `number`: of its event; told of twice under one number, it fails as Taken.
    `data`: what a receiver reads, such as `{"batch": {"id", "name", "status", …}}`; with a `status` of its own, filters
    go by that. Best as the transaction's last, before `chores.plan`."""
    for webhook_id, uuid, kept in session.all(_OF_ORGANIZATION, organization=organization_id):
        if Filter.read(json.loads(kept)).admits(type_, _status_of(data)):
            rows = [_message(webhook_id, uuid, f"batch {batch_id}", type_, number, data, now, now)]
            _put(session, webhook_id, rows, now)


def rouse(session: Session, webhook_id: int, now: datetime) -> None:
    """Has the webhook's messages looked at, after this transaction."""
    if session.one(_IS_DUE, about=webhook_id, now=micros(now)) is None:
        chores.plan(session, ChoreKind.MESSAGES, webhook_id, now)


def _put(session: Session, webhook_id: int, rows: Sequence[Mapping[str, object]], now: datetime) -> None:
    if rows:
        session.many(_INSERT, rows)
        rouse(session, webhook_id, now)


def _message(
    webhook_id: int,
    webhook: str,
    lane: str,
    type_: MessageType,
    number: int,
    data: JsonObject,
    at: datetime,
    now: datetime,
) -> dict[str, object]:
    return {
        "uuid": str(uuid5(UUID(webhook), f"{lane}/{number}")),
        "webhook_id": webhook_id,
        "lane": lane,
        "type": type_.value,
        "run_id": None,
        "number": number,
        "data": json_of(data),
        "status": MessageStatus.WAITING.value,
        "tries": 0,
        "last_error": None,
        "date_created": micros(at),
        "date_queued": micros(now),
        "date_next": micros(now),
        "date_done": None,
    }


def _run_json(run_id: int, row: Row) -> JsonObject:
    uuid, status, repository, name, url, source_branch, work_branch, engine, model, source, _, metadata, details = row[
        :13
    ]
    dates = [optional_date(value) for value in row[13:]]
    created, began, ended = [None if date is None else date.isoformat() for date in dates]
    return {
        "id": run_id,
        "uuid": uuid,
        "status": status,
        "repository": None if repository is None else {"id": repository, "name": name},
        "gitUrl": url,
        "branchSource": source_branch,
        "branchWork": work_branch,
        "engine": engine,
        "model": model,
        "source": source,
        "metadata": json.loads(metadata) if len(metadata) <= MAX_MESSAGE_TEXT else None,
        "failureDetails": None if details is None else clip(details, MAX_MESSAGE_TEXT)[0],
        "dateCreated": created,
        "dateStarted": began,
        "dateCompleted": ended,
    }


def _status_of(data: Mapping[str, JsonValue]) -> JsonValue:
    if "status" in data:
        return data["status"]
    batch = data.get("batch")
    return batch.get("status") if isinstance(batch, Mapping) else None
