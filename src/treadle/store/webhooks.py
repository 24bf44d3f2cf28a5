"""Webhooks and their messages, as they are looked after and sent. `outbox.py` puts messages in line."""

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, and_, bindparam, delete, func, literal_column, null, or_, select, update

from treadle.domain.errors import Conflict, NotFound
from treadle.domain.messages import MESSAGE_TYPES, Filter, Message, MessageStatus, Webhook, WebhookKind
from treadle.ports.webhooks import NewWebhook, Trouble
from treadle.store import outbox
from treadle.store.automation_tables import messages, webhooks
from treadle.store.prepared import Prepared, Row, in_portion, insert_into
from treadle.store.session import Dangling, Executor, Session
from treadle.store.tables import organizations
from treadle.store.values import date_of, json_of, micros, optional_date, plain

#: Messages that one transaction puts in line again, or removes with their webhook.
PORTION = 500

_ONE: ColumnElement[int] = literal_column("1")
_WAITING: ColumnElement[str] = literal_column(f"'{MessageStatus.WAITING}'")
_DEAD: ColumnElement[str] = literal_column(f"'{MessageStatus.DEAD}'")
_DELIVERED: ColumnElement[str] = literal_column(f"'{MessageStatus.DELIVERED}'")

_COLUMNS = (
    webhooks.c.id, webhooks.c.uuid, webhooks.c.organization_id, organizations.c.uuid, webhooks.c.user_id,
    webhooks.c.name, webhooks.c.kind, webhooks.c.shown_target, webhooks.c.filter, webhooks.c.is_enabled,
    webhooks.c.date_created, webhooks.c.date_updated, webhooks.c.sealed_target, webhooks.c.sealed,
    webhooks.c.sealed_before, webhooks.c.date_before_ends,
)  # fmt: skip
_ADD = Prepared(insert_into(webhooks).returning(webhooks.c.id))
_COUNT = Prepared(
    select(func.count()).select_from(webhooks).where(webhooks.c.organization_id == bindparam("organization"))
)
#: Additions to one organization follow one another.
_LOCK = Prepared(
    select(organizations.c.id).where(organizations.c.id == bindparam("organization")).with_for_update(key_share=True)
)
_of_organization = webhooks.c.organization_id == bindparam("organization")
_whole = select(*_COLUMNS).join_from(webhooks, organizations)
ALL = Prepared(_whole.where(_of_organization).order_by(webhooks.c.id))
_is_that = webhooks.c.id == bindparam("webhook")
GET = Prepared(_whole.where(_is_that))
_CHANGED = (
    "name", "shown_target", "filter", "is_enabled", "sealed_target", "sealed", "sealed_before", "date_before_ends",
)  # fmt: skip
_PUT = Prepared(
    update(webhooks)
    .where(_is_that, webhooks.c.date_updated == bindparam("seen", type_=webhooks.c.date_updated.type))
    .values(
        {name: bindparam(name, type_=webhooks.c[name].type) for name in _CHANGED}
        | {"date_updated": bindparam("now", type_=webhooks.c.date_updated.type)}
    )
)
_DISABLE = Prepared(
    update(webhooks)
    .where(_is_that, webhooks.c.is_enabled)
    .values(is_enabled=literal_column("false"), date_updated=bindparam("now", type_=webhooks.c.date_updated.type))
)
_REMOVE = Prepared(delete(webhooks).where(_is_that))
_REMOVE_MESSAGES = Prepared(delete(messages).where(messages.c.webhook_id == bindparam("webhook")))

_MESSAGE = (
    messages.c.id, messages.c.uuid, messages.c.webhook_id, messages.c.lane, messages.c.type, messages.c.data,
    messages.c.status, messages.c.tries, messages.c.date_created, messages.c.date_queued, messages.c.date_next,
    messages.c.run_id, messages.c.number, messages.c.last_error, messages.c.date_done,
)  # fmt: skip
_of_webhook = messages.c.webhook_id == bindparam("webhook", type_=messages.c.webhook_id.type)
_before = messages.alias("before")
#: Nothing of its lane waits that came before it.
_is_first = ~(
    select(_ONE)
    .where(
        _before.c.webhook_id == messages.c.webhook_id,
        _before.c.status == _WAITING,
        _before.c.lane == messages.c.lane,
        _before.c.id < messages.c.id,
    )
    .exists()
)
#: Of a list of lanes whose length differs, so written as one text between bars: `|run 3|run 4|`.
_is_busy = bindparam("busy", type_=messages.c.lane.type).contains(literal_column("'|'") + messages.c.lane + "|")
DUE = Prepared(
    select(*_MESSAGE)
    .where(
        _of_webhook,
        messages.c.status == _WAITING,
        messages.c.date_next <= bindparam("now", type_=messages.c.date_next.type),
        ~_is_busy,
        _is_first,
    )
    .order_by(messages.c.id)
    .limit(bindparam("limit", type_=Integer))
)
_NEXT = Prepared(select(func.min(messages.c.date_next)).where(_of_webhook, messages.c.status == _WAITING, _is_first))
_that = messages.c.id == bindparam("message", type_=messages.c.id.type)
_END = Prepared(
    update(messages)
    .where(
        _that,
        messages.c.status == _WAITING,
        messages.c.tries == bindparam("tried", type_=messages.c.tries.type),
        messages.c.date_queued == bindparam("queued", type_=messages.c.date_queued.type),
    )
    .values(
        status=bindparam("became", type_=messages.c.status.type),
        tries=messages.c.tries + 1,
        last_error=bindparam("error", type_=messages.c.last_error.type),
        date_next=func.coalesce(bindparam("next", type_=messages.c.date_next.type), messages.c.date_next),
        date_done=bindparam("done", type_=messages.c.date_done.type),
    )
)
_list = (
    select(*_MESSAGE)
    .where(_of_webhook, messages.c.id < bindparam("under", type_=messages.c.id.type))
    .order_by(messages.c.id.desc())
    .limit(bindparam("limit", type_=Integer))
)
LIST = Prepared(_list)
LIST_STATUS = Prepared(_list.where(messages.c.status == bindparam("status", type_=messages.c.status.type)))
_STANDING = Prepared(select(messages.c.status).where(_that, _of_webhook).with_for_update())
_again = {
    "status": _WAITING,
    "tries": literal_column("0"),
    "date_queued": bindparam("now", type_=messages.c.date_queued.type),
    "date_next": bindparam("now", type_=messages.c.date_next.type),
    "date_done": null(),
}
_RESEND = Prepared(update(messages).where(_that).values(_again).returning(*_MESSAGE))
_dead = (
    select(messages.c.id)
    .where(_of_webhook, messages.c.status == _DEAD)
    .order_by(messages.c.id)
    .limit(PORTION)
    .with_for_update()
)
_RESEND_DEAD = Prepared(update(messages).where(in_portion(messages.c.id, _dead)).values(_again))
_past = (
    select(messages.c.id)
    .where(
        or_(
            and_(messages.c.status == _DELIVERED, messages.c.date_done < bindparam("delivered")),
            and_(messages.c.status == _DEAD, messages.c.date_done < bindparam("dead")),
        )
    )
    .order_by(messages.c.date_done)
    .limit(bindparam("limit", type_=Integer))
    .with_for_update(skip_locked=True)
)
_PRUNE = Prepared(delete(messages).where(in_portion(messages.c.id, _past)))
_ANY = (1 << 62) - 1


class Webhooks:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def add_webhook(self, new: NewWebhook, now: datetime, *, most: int) -> Webhook:
        def work(session: Session) -> Webhook:
            session.one(_LOCK, organization=new.organization_id)
            if session.all(_COUNT, organization=new.organization_id)[0][0] >= most:
                raise Conflict(f"The organization has {most} webhooks already.", hint="Remove one that is not needed.")
            rows = session.all(
                _ADD,
                uuid=str(new.uuid),
                organization_id=new.organization_id,
                user_id=new.user_id,
                name=plain(new.name),
                kind=new.kind.value,
                sealed_target=new.sealed_target,
                shown_target=plain(new.shown_target),
                sealed=new.sealed,
                sealed_before=None,
                date_before_ends=None,
                filter=json_of(new.filter.json()),
                is_enabled=True,
                date_created=micros(now),
                date_updated=micros(now),
            )
            return _webhook_of(session.all(GET, webhook=rows[0][0])[0])

        try:
            return await self._executor.write(work)
        except Dangling as error:
            raise NotFound("The organization or the user does not exist any more.") from error

    async def webhooks(self, organization_id: int) -> Sequence[Webhook]:
        rows = await self._executor.read(lambda session: session.all(ALL, organization=organization_id))
        return tuple(map(_webhook_of, rows))

    async def webhook(self, webhook_id: int, *, organization_id: int | None = None) -> Webhook:
        row = await self._executor.glance(lambda session: session.one(GET, webhook=webhook_id))
        found = None if row is None else _webhook_of(row)
        if found is None or organization_id not in {None, found.organization_id}:
            raise _unknown(webhook_id)
        return found

    async def put_webhook(self, changed: Webhook, now: datetime, *, seen: datetime) -> Webhook:
        def work(session: Session) -> Webhook:
            count = session.run(
                _PUT,
                webhook=changed.id,
                seen=micros(seen),
                now=micros(now),
                name=plain(changed.name),
                shown_target=plain(changed.shown_target),
                filter=json_of(changed.filter.json()),
                is_enabled=changed.is_enabled,
                sealed_target=changed.sealed_target,
                sealed=changed.sealed,
                sealed_before=changed.sealed_before,
                date_before_ends=micros(changed.date_before_ends),
            )
            row = session.one(GET, webhook=changed.id)
            if row is None:
                raise _unknown(changed.id)
            if not count:
                raise Conflict("Somebody has just changed this webhook.", hint="Look at it and try again.")
            if changed.is_enabled:
                outbox.rouse(session, changed.id, now)
            return _webhook_of(row)

        return await self._executor.write(work)

    async def disable_webhook(self, webhook_id: int, now: datetime) -> bool:
        def work(session: Session) -> bool:
            return session.run(_DISABLE, webhook=webhook_id, now=micros(now)) == 1

        return await self._executor.write(work)

    async def remove_webhook(self, organization_id: int, webhook_id: int) -> None:
        await self.webhook(webhook_id, organization_id=organization_id)

        def work(session: Session) -> bool:
            # The webhook's own row last: it waits for those who are just telling it.
            session.run(_REMOVE_MESSAGES, webhook=webhook_id)
            return session.run(_REMOVE, webhook=webhook_id) == 1

        for _ in range(_REMOVALS):
            try:
                is_gone = await self._executor.write(work)
            except Dangling:  # it was told of something in between
                continue
            if not is_gone:
                raise _unknown(webhook_id)
            return
        raise Conflict("The webhook is told of too much to be removed now.", hint="Disable it first.")

    async def messages_due(
        self, webhook_id: int, now: datetime, *, busy: Collection[str], limit: int
    ) -> Sequence[Message]:
        lanes = f"|{'|'.join(sorted(busy))}|"
        rows = await self._executor.read(
            lambda session: session.all(DUE, webhook=webhook_id, now=micros(now), busy=lanes, limit=limit)
        )
        return tuple(map(_message_of, rows))

    async def next_due(self, webhook_id: int) -> datetime | None:
        row = await self._executor.read(lambda session: session.one(_NEXT, webhook=webhook_id))
        return None if row is None else optional_date(row[0])

    async def end_try(self, message: Message, now: datetime, trouble: Trouble | None) -> bool:
        if trouble is None:
            became, is_over = MessageStatus.DELIVERED, True
        else:
            is_over = trouble.next is None
            became = MessageStatus.DEAD if is_over else MessageStatus.WAITING

        def work(session: Session) -> bool:
            values = {
                "message": message.id,
                "tried": message.tries,
                "queued": micros(message.date_queued),
                "became": became.value,
                "error": None if trouble is None else plain(trouble.error),
                "next": None if trouble is None else micros(trouble.next),
                "done": micros(now) if is_over else None,
            }
            return session.run(_END, **values) == 1

        return await self._executor.write(work, again=work)

    async def messages(
        self, webhook_id: int, status: MessageStatus | None, *, before: int | None, limit: int
    ) -> Sequence[Message]:
        asked: dict[str, object] = {"webhook": webhook_id, "under": _ANY if before is None else before, "limit": limit}

        def look(session: Session) -> list[Row]:
            return (
                session.all(LIST, **asked) if status is None else session.all(LIST_STATUS, **asked, status=status.value)
            )

        return tuple(map(_message_of, await self._executor.read(look)))

    async def resend_message(self, webhook_id: int, message_id: int, now: datetime) -> Message:
        def work(session: Session) -> Message:
            standing = session.one(_STANDING, message=message_id, webhook=webhook_id)
            if standing is None:
                raise NotFound(f"The webhook has no message {message_id}.")
            if standing[0] == MessageStatus.WAITING:
                raise Conflict("The message waits to be sent already.")
            row = session.all(_RESEND, message=message_id, now=micros(now))[0]
            outbox.rouse(session, webhook_id, now)
            return _message_of(row)

        return await self._executor.write(work)

    async def resend_dead(self, webhook_id: int, now: datetime) -> int:
        def work(session: Session) -> int:
            count = session.run(_RESEND_DEAD, webhook=webhook_id, now=micros(now))
            if count:
                outbox.rouse(session, webhook_id, now)
            return count

        total = 0
        while count := await self._executor.write(work):
            total += count
        return total

    async def prune_messages(self, delivered: datetime, dead: datetime, *, limit: int) -> int:
        def work(session: Session) -> int:
            return session.run(_PRUNE, delivered=micros(delivered), dead=micros(dead), limit=limit)

        return await self._executor.write(work)


_REMOVALS = 5


def _unknown(webhook_id: int) -> NotFound:
    return NotFound(f"There is no webhook {webhook_id}.")


def _webhook_of(row: Row) -> Webhook:
    (
        id_,
        uuid,
        organization,
        organization_uuid,
        user,
        name,
        kind,
        shown,
        kept,
        is_enabled,
        created,
        updated,
        target,
        now,
        before,
        ends,
    ) = row
    return Webhook(
        id_,
        UUID(uuid),
        organization,
        UUID(organization_uuid),
        user,
        name,
        WebhookKind(kind),
        shown,
        Filter.read(json.loads(kept)),
        bool(is_enabled),
        date_of(created),
        date_of(updated),
        target,
        now,
        before,
        optional_date(ends),
    )


def _message_of(row: Row) -> Message:
    id_, uuid, webhook, lane, type_, data, status, tries, created, queued, next_, run, number, error, done = row
    return Message(
        id_,
        UUID(uuid),
        webhook,
        lane,
        MESSAGE_TYPES[type_],
        json.loads(data),
        MessageStatus(status),
        tries,
        date_of(created),
        date_of(queued),
        date_of(next_),
        run,
        number,
        error,
        optional_date(done),
    )
