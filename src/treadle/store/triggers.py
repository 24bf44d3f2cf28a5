"""Hooks and triggers."""

import json
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, delete, select, update

from treadle.domain.errors import InvalidInput, NotFound
from treadle.domain.plan import Plan
from treadle.domain.trigger_settings import TriggerSettings
from treadle.domain.triggers import Hook, HookKind, Trigger, TriggerKind
from treadle.store.automation_tables import deliveries, hooks, threads, triggers
from treadle.store.prepared import Prepared, Row, insert_into
from treadle.store.session import Dangling, Executor, Session
from treadle.store.tables import organizations
from treadle.store.values import date_of, json_of, micros, optional_date, plain

_HOOK_NAMES = (
    "uuid", "organization_id", "repository_id", "kind", "sealed", "date_before_ends", "date_created", "date_delivered",
)  # fmt: skip
_hooks = (
    select(hooks.c.id, *(hooks.c[name] for name in _HOOK_NAMES), organizations.c.uuid)
    .join_from(hooks, organizations, organizations.c.id == hooks.c.organization_id)
    .order_by(hooks.c.id)
)
_ADD_HOOK = Prepared(insert_into(hooks, *_HOOK_NAMES).returning(hooks.c.id))
_HOOKS = Prepared(_hooks.where(hooks.c.organization_id == bindparam("organization")))
_HOOK = Prepared(_hooks.where(hooks.c.uuid == bindparam("called")))
_HOOK_BY_ID = Prepared(_hooks.where(hooks.c.id == bindparam("row")))
_SAME_HOOK = Prepared(
    _hooks.where(hooks.c.repository_id == bindparam("repository"), hooks.c.kind == bindparam("sender"))
)
_ROTATE = Prepared(
    update(hooks)
    .where(hooks.c.id == bindparam("row"), hooks.c.sealed == bindparam("was", type_=hooks.c.sealed.type))
    .values(
        sealed=bindparam("anew", type_=hooks.c.sealed.type),
        date_before_ends=bindparam("until", type_=hooks.c.date_before_ends.type),
    )
)
_LOCK_HOOK = Prepared(select(hooks.c.id).where(hooks.c.id == bindparam("row")).with_for_update())
_REMOVE_HOOK = [
    Prepared(statement)
    for statement in (
        delete(threads).where(
            threads.c.trigger_id.in_(select(triggers.c.id).where(triggers.c.hook_id == bindparam("row")))
        ),
        delete(triggers).where(triggers.c.hook_id == bindparam("row")),
        delete(deliveries).where(deliveries.c.hook_id == bindparam("row")),
        delete(hooks).where(hooks.c.id == bindparam("row")),
    )
]

_TRIGGER_NAMES = tuple(column.name for column in triggers.columns if column.name != "id")
_triggers = select(triggers.c.id, *(triggers.c[name] for name in _TRIGGER_NAMES)).order_by(triggers.c.id)
_ADD_TRIGGER = Prepared(insert_into(triggers).returning(triggers.c.id))
_TRIGGERS = Prepared(_triggers.where(triggers.c.organization_id == bindparam("organization")))
_OF_HOOK = Prepared(_triggers.where(triggers.c.hook_id == bindparam("row")))
_TRIGGER = Prepared(
    _triggers.where(triggers.c.organization_id == bindparam("organization"), triggers.c.uuid == bindparam("called"))
)
_SET = ("user_id", "name", "settings", "plan", "is_enabled", "date_updated")
_UPDATE = Prepared(
    update(triggers)
    .where(triggers.c.id == bindparam("row"))
    .values({name: bindparam(name, type_=triggers.c[name].type) for name in _SET})
)
_REMOVE_TRIGGER = [
    Prepared(delete(threads).where(threads.c.trigger_id == bindparam("row"))),
    Prepared(delete(triggers).where(triggers.c.id == bindparam("row"))),
]


class Triggers:
    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def add_hook(self, hook: Hook) -> Hook:
        def work(session: Session) -> Hook:
            if row := session.one(_HOOK, called=str(hook.uuid)):
                return _hook_of(row)
            if hook.kind is not HookKind.URL:
                session.lock(f"hook {hook.repository_id} {hook.kind}", wait=True)
                if row := session.one(_SAME_HOOK, repository=hook.repository_id, sender=str(hook.kind)):
                    return _hook_of(row)
            (id_,) = session.one(_ADD_HOOK, **_hook_row(hook)) or (0,)
            row = session.one(_HOOK_BY_ID, row=id_)
            if row is None:
                raise NotFound("The organization does not exist.")
            return _hook_of(row)

        try:
            return await self._executor.write(work, again=work)
        except Dangling as error:
            raise NotFound("The repository or the organization does not exist.") from error

    async def hooks(self, organization_id: int) -> Sequence[Hook]:
        rows = await self._executor.read(lambda session: session.all(_HOOKS, organization=organization_id))
        return tuple(map(_hook_of, rows))

    async def hook(self, uuid: UUID) -> Hook | None:
        row = await self._executor.glance(lambda session: session.one(_HOOK, called=str(uuid)))
        return None if row is None else _hook_of(row)

    async def hook_by_id(self, hook_id: int) -> Hook | None:
        row = await self._executor.glance(lambda session: session.one(_HOOK_BY_ID, row=hook_id))
        return None if row is None else _hook_of(row)

    async def rotate_hook(self, hook_id: int, sealed: str, *, was: str, before_ends: datetime) -> bool:
        def work(session: Session) -> bool:
            return session.run(_ROTATE, row=hook_id, anew=sealed, was=was, until=micros(before_ends)) == 1

        return await self._executor.write(work)

    async def remove_hook(self, hook_id: int) -> None:
        def work(session: Session) -> None:
            session.one(_LOCK_HOOK, row=hook_id)  # no delivery comes in between
            for statement in _REMOVE_HOOK:
                session.run(statement, row=hook_id)

        await self._executor.write(work, again=work)

    async def add_trigger(self, trigger: Trigger) -> Trigger:
        def work(session: Session) -> Trigger:
            known = session.one(_TRIGGER, organization=trigger.organization_id, called=str(trigger.uuid))
            if known is None:
                session.all(_ADD_TRIGGER, **_trigger_row(trigger))
                known = session.one(_TRIGGER, organization=trigger.organization_id, called=str(trigger.uuid))
            if known is None:
                raise NotFound("The hook does not exist any more.")
            return _trigger_of(known)

        try:
            return await self._executor.write(work, again=work)
        except Dangling as error:
            raise NotFound("The hook does not exist any more.") from error

    async def triggers(self, organization_id: int) -> Sequence[Trigger]:
        rows = await self._executor.read(lambda session: session.all(_TRIGGERS, organization=organization_id))
        return tuple(map(_trigger_of, rows))

    async def triggers_of_hook(self, hook_id: int) -> Sequence[Trigger]:
        rows = await self._executor.read(lambda session: session.all(_OF_HOOK, row=hook_id))
        return tuple(map(_trigger_of, rows))

    async def trigger(self, organization_id: int, uuid: UUID) -> Trigger | None:
        row = await self._executor.glance(
            lambda session: session.one(_TRIGGER, organization=organization_id, called=str(uuid))
        )
        return None if row is None else _trigger_of(row)

    async def update_trigger(self, trigger: Trigger) -> None:
        def work(session: Session) -> None:
            row = _trigger_row(trigger)
            if not session.run(_UPDATE, row=trigger.id, **{name: row[name] for name in _SET}):
                raise NotFound("The trigger does not exist any more.")

        await self._executor.write(work, again=work)

    async def remove_trigger(self, trigger_id: int) -> None:
        def work(session: Session) -> None:
            for statement in _REMOVE_TRIGGER:
                session.run(statement, row=trigger_id)

        await self._executor.write(work, again=work)


def _hook_row(hook: Hook) -> dict[str, object]:
    return {
        "uuid": str(hook.uuid),
        "organization_id": hook.organization_id,
        "repository_id": hook.repository_id,
        "kind": str(hook.kind),
        "sealed": hook.sealed,
        "date_before_ends": micros(hook.date_before_ends),
        "date_created": micros(hook.date_created),
        "date_delivered": micros(hook.date_delivered),
    }


def _hook_of(row: Row) -> Hook:
    id_, uuid, organization_id, repository_id, kind, sealed, before_ends, created, delivered, organization = row
    return Hook(
        id_,
        UUID(uuid),
        organization_id,
        UUID(organization),
        repository_id,
        HookKind(kind),
        date_of(created),
        optional_date(delivered),
        optional_date(before_ends),
        sealed,
    )


def _trigger_row(trigger: Trigger) -> dict[str, object]:
    return {
        "uuid": str(trigger.uuid),
        "organization_id": trigger.organization_id,
        "user_id": trigger.user_id,
        "hook_id": trigger.hook_id,
        "name": plain(trigger.name),
        "kind": str(trigger.kind),
        "settings": json_of(trigger.settings.json()),
        "plan": None if trigger.plan is None else json_of(trigger.plan.to_json()),
        "is_enabled": trigger.is_enabled,
        "date_created": micros(trigger.date_created),
        "date_updated": micros(trigger.date_updated),
    }


def _trigger_of(row: Row) -> Trigger:
    """One that this version cannot read does nothing."""
    id_, uuid, organization_id, user_id, hook_id, name, kind, settings, plan, is_enabled, created, updated = row
    try:
        read = TriggerSettings.read(json.loads(settings))
        does = None if plan is None else Plan.from_json(json.loads(plan))
    except InvalidInput:
        read, does, is_enabled = TriggerSettings(), None, False
    return Trigger(
        id_,
        UUID(uuid),
        organization_id,
        user_id,
        hook_id,
        name,
        TriggerKind(kind),
        read,
        does,
        bool(is_enabled),
        date_of(created),
        date_of(updated),
    )
