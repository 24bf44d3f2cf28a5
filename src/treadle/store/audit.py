"""The audit log: rows that are only ever added."""

import json
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from sqlalchemy import Integer, bindparam, func, select

from treadle.ports.trust import AuditEntry
from treadle.store.prepared import Prepared, Row, insert_into
from treadle.store.session import Executor, Session
from treadle.store.tables import audit
from treadle.store.values import date_of, json_of, micros, plain

_GIVEN = ("organization_id", "user_id", "actor", "action", "target", "detail", "door", "address", "date")
_ADD = Prepared(insert_into(audit, *_GIVEN))


@lru_cache(maxsize=32)
def statement(*, in_one: bool, by_action: bool, by_prefix: bool, by_user: bool) -> Prepared:
    found = (
        select(*(audit.c[name] for name in _GIVEN), audit.c.id)
        .where(audit.c.id < bindparam("before"), audit.c.date >= bindparam("since"))
        .order_by(audit.c.id.desc())
        .limit(bindparam("limit", type_=Integer))
    )
    if in_one:
        found = found.where(audit.c.organization_id == bindparam("organization"))
    if by_action:
        found = found.where(audit.c.action == bindparam("called"))
    if by_prefix:
        # Not LIKE: what is asked for may hold its wildcards.
        found = found.where(func.substr(audit.c.action, 1, bindparam("length", type_=Integer)) == bindparam("called"))
    if by_user:
        found = found.where(audit.c.user_id == bindparam("user"))
    return Prepared(found)


def add_entry(session: Session, entry: AuditEntry) -> None:
    """Within whatever else the transaction does."""
    session.run(
        _ADD,
        organization_id=entry.organization_id,
        user_id=entry.user_id,
        actor=plain(entry.actor),
        action=str(entry.action),
        target=plain(entry.target),
        detail=json_of(entry.detail) if entry.detail else None,
        door=str(entry.door),
        address=plain(entry.address),
        date=micros(entry.date),
    )


class Audit:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def add_audit(self, entry: AuditEntry) -> None:
        await self._executor.write(lambda session: add_entry(session, entry))

    async def audit(
        self,
        organization_id: int | None,
        *,
        limit: int,
        before: int | None = None,
        action: str | None = None,
        user_id: int | None = None,
        since: datetime | None = None,
    ) -> Sequence[AuditEntry]:
        is_prefix = action is not None and action.endswith(".")
        asked = statement(
            in_one=organization_id is not None,
            by_action=action is not None and not is_prefix,
            by_prefix=is_prefix,
            by_user=user_id is not None,
        )
        rows = await self._executor.read(
            lambda session: session.all(
                asked,
                organization=organization_id,
                before=before if before is not None else 1 << 62,
                since=micros(since) if since is not None else 0,
                called=action,
                length=len(action or ""),
                user=user_id,
                limit=limit,
            )
        )
        return tuple(map(_entry_of, rows))


def _entry_of(row: Row) -> AuditEntry:
    organization_id, user_id, actor, action, target, detail, door, address, date, id_ = row
    return AuditEntry(
        actor,
        action,
        target,
        {} if detail is None else json.loads(detail),
        door,
        date_of(date),
        organization_id,
        user_id,
        address,
        id_,
    )
