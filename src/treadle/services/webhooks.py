"""Webhooks as they are looked after: who is told, of what, and what became of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import UUID

from treadle.domain.errors import Conflict, InvalidInput
from treadle.domain.events import JsonObject, JsonValue
from treadle.domain.identity import Principal
from treadle.domain.messages import Filter, Message, MessageStatus, MessageType, Webhook, WebhookKind
from treadle.domain.permissions import Permission, require
from treadle.ports import Clock, Vault
from treadle.ports.webhooks import Letter, NewWebhook, Reply, WebhookStore
from treadle.services.audit import Audit, change_of, changed_fields
from treadle.services.audit_actions import Action
from treadle.services.messages import SECRETS, TARGETS, Deliveries
from treadle.services.webhook_rules import new_secret, shown, webhook_faults

#: Of one organization.
MAX_WEBHOOKS = 20

#: After a rotation the secret of before signs too, for so many hours.
OVERLAP_HOURS = 24

#: Messages that one call lists at most, and unless it says so.
MAX_MESSAGES = 500
DEFAULT_MESSAGES = 100


@dataclass(frozen=True, slots=True)
class WebhookWish:
    """What a webhook shall be; None: as it was."""

    name: str | None = None
    target: str | None = field(default=None, repr=False)
    filter: Filter | None = None
    is_enabled: bool | None = None


class Webhooks:
    """The use cases. Another organization's webhook is NotFound."""

    def __init__(
        self,
        store: WebhookStore,
        vault: Vault,
        clock: Clock,
        deliveries: Deliveries,
        *,
        audit: Audit,
        new_uuid: Callable[[], UUID],
        kinds: Sequence[WebhookKind],
        allow_private_hosts: bool,
        told: Callable[[], None],
    ) -> None:
        """`kinds`: those that can be told. `told()`: messages of this process were put in line."""
        self._store = store
        self._vault = vault
        self._clock = clock
        self._deliveries = deliveries
        self._audit = audit
        self._new_uuid = new_uuid
        self._kinds = kinds
        self._allow_private_hosts = allow_private_hosts
        self._told = told

    async def close(self) -> None:
        """What it tells by."""
        await self._deliveries.close()

    async def list(self, principal: Principal) -> Sequence[Webhook]:
        """By their ids. Raises Forbidden."""
        require(principal, Permission.RUNS_OF_OTHERS)
        return await self._store.webhooks(principal.organization_id)

    async def get(self, principal: Principal, webhook_id: int) -> Webhook:
        """Raises NotFound, Forbidden."""
        require(principal, Permission.RUNS_OF_OTHERS)
        return await self._store.webhook(webhook_id, organization_id=principal.organization_id)

    async def add(self, principal: Principal, kind: WebhookKind, wish: WebhookWish) -> tuple[Webhook, str | None]:
        """And the secret that it signs with, which is told once; None for what signs nothing. Raises InvalidInput,
        Conflict, Forbidden."""
        require(principal, Permission.ADMINISTER)
        name, target = (wish.name or "").strip(), (wish.target or "").strip()
        faults = webhook_faults(kind, name, target, wish.filter, allow_private_hosts=self._allow_private_hosts)
        if kind not in self._kinds:
            faults["kind"] = ["This service has no server for e-mail: its operator sets TREADLE_SMTP_URL."]
        if faults:
            raise InvalidInput(faults)
        uuid = self._new_uuid()
        secret = new_secret() if kind is WebhookKind.WEBHOOK else None
        new = NewWebhook(
            uuid,
            principal.organization_id,
            principal.user_id,
            name,
            kind,
            shown(kind, target),
            wish.filter or Filter(),
            self._seal(principal.organization_uuid, TARGETS, uuid, target),
            None if secret is None else self._seal(principal.organization_uuid, SECRETS, uuid, secret),
        )
        added = await self._store.add_webhook(new, self._clock.now(), most=MAX_WEBHOOKS)
        detail = {"id": added.id, "kind": kind.value, "target": added.shown_target}
        await self._audit.note(Action.WEBHOOK_ADDED, principal=principal, target=name, detail=detail)
        return added, secret

    async def update(self, principal: Principal, webhook_id: int, wish: WebhookWish) -> Webhook:
        """Raises InvalidInput, NotFound, Conflict, Forbidden."""
        require(principal, Permission.ADMINISTER)
        was = await self.get(principal, webhook_id)
        target = None if wish.target is None else wish.target.strip()
        changed = replace(
            was,
            name=was.name if wish.name is None else wish.name.strip(),
            filter=was.filter if wish.filter is None else wish.filter,
            is_enabled=was.is_enabled if wish.is_enabled is None else wish.is_enabled,
        )
        if faults := webhook_faults(
            was.kind, changed.name, target, wish.filter, allow_private_hosts=self._allow_private_hosts
        ):
            raise InvalidInput(faults)
        if target is not None:
            sealed = self._seal(principal.organization_uuid, TARGETS, was.uuid, target)
            changed = replace(changed, shown_target=shown(was.kind, target), sealed_target=sealed)
        done = await self._store.put_webhook(changed, self._clock.now(), seen=was.date_updated)
        self._told()
        fields: list[JsonValue] = [each for each in changed_fields(was, changed) if each != "sealed_target"]
        values = change_of(was, changed, told={"name", "is_enabled"})["values"]
        detail: JsonObject = {"id": was.id, "fields": fields, "values": values}
        await self._audit.note(Action.WEBHOOK_CHANGED, principal=principal, target=done.name, detail=detail)
        return done

    async def remove(self, principal: Principal, webhook_id: int) -> None:
        """With its messages, those that wait too. Raises NotFound, Forbidden."""
        require(principal, Permission.ADMINISTER)
        was = await self.get(principal, webhook_id)
        await self._store.remove_webhook(principal.organization_id, webhook_id)
        await self._audit.note(Action.WEBHOOK_REMOVED, principal=principal, target=was.name, detail={"id": webhook_id})

    async def rotate(self, principal: Principal, webhook_id: int) -> tuple[Webhook, str]:
        """Another secret, which is told once; that of before signs too for `OVERLAP_HOURS`. Raises Conflict for what
        signs nothing, NotFound, Forbidden."""
        require(principal, Permission.ADMINISTER)
        was, now = await self.get(principal, webhook_id), self._clock.now()
        if was.sealed is None:
            raise Conflict(f"A webhook of kind {was.kind} signs nothing.", hint="Give it another address instead.")
        secret = new_secret()
        changed = replace(
            was,
            sealed=self._seal(principal.organization_uuid, SECRETS, was.uuid, secret),
            sealed_before=was.sealed,
            date_before_ends=now + timedelta(hours=OVERLAP_HOURS),
        )
        done = await self._store.put_webhook(changed, now, seen=was.date_updated)
        await self._audit.note(Action.WEBHOOK_ROTATED, principal=principal, target=was.name, detail={"id": was.id})
        return done, secret

    async def test(self, principal: Principal, webhook_id: int) -> Reply:
        """What came back of a message that says nothing. Raises NotFound, Forbidden."""
        require(principal, Permission.RUNS_OF_OTHERS)
        webhook, now, uuid = await self.get(principal, webhook_id), self._clock.now(), self._new_uuid()
        body: JsonObject = {
            "type": MessageType.WEBHOOK_TEST.value,
            "timestamp": now.isoformat(),
            "data": {"webhook": {"id": webhook.id, "name": webhook.name}},
        }

        def letter_of(target: str, signing: tuple[str, ...]) -> Letter:
            return Letter(f"msg_{uuid.hex}", MessageType.WEBHOOK_TEST, now, now, body, target, signing)

        reply = await self._deliveries.send(webhook, letter_of)
        detail = {"id": webhook.id, "status": reply.status}
        await self._audit.note(Action.WEBHOOK_TESTED, principal=principal, target=webhook.name, detail=detail)
        return reply

    async def messages(
        self,
        principal: Principal,
        webhook_id: int,
        status: MessageStatus | None = None,
        *,
        before: int | None = None,
        limit: int = DEFAULT_MESSAGES,
    ) -> Sequence[Message]:
        """Newest first, those with ids under `before`. Raises InvalidInput, NotFound, Forbidden."""
        if not 1 <= limit <= MAX_MESSAGES:
            raise InvalidInput({"limit": [f"Must be from 1 to {MAX_MESSAGES:,}."]})
        await self.get(principal, webhook_id)
        return await self._store.messages(webhook_id, status, before=before, limit=limit)

    async def resend(self, principal: Principal, webhook_id: int, message_id: int) -> Message:
        """Puts one in line again, dead or delivered. Raises NotFound, Conflict while it waits, Forbidden."""
        webhook = await self.get(principal, webhook_id)
        found = await self._store.resend_message(webhook_id, message_id, self._clock.now())
        self._told()
        detail = {"id": webhook_id, "message": message_id}
        await self._audit.note(Action.WEBHOOK_RESENT, principal=principal, target=webhook.name, detail=detail)
        return found

    async def resend_dead(self, principal: Principal, webhook_id: int) -> int:
        """All that are dead; how many. Raises NotFound, Forbidden."""
        webhook = await self.get(principal, webhook_id)
        count = await self._store.resend_dead(webhook_id, self._clock.now())
        self._told()
        detail = {"id": webhook_id, "count": count}
        await self._audit.note(Action.WEBHOOK_RESENT, principal=principal, target=webhook.name, detail=detail)
        return count

    def _seal(self, organization: UUID, table: str, uuid: UUID, clear: str) -> str:
        return self._vault.seal(clear, organization=organization, table=table, row=str(uuid))
