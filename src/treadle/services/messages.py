"""Takes the messages of a webhook to it: in order within a lane, several lanes at once, and for as long as it takes."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from datetime import datetime, timedelta

import structlog

from treadle.domain.errors import NotFound, SealBroken, SealKeyMissing
from treadle.domain.events import JsonObject, JsonValue
from treadle.domain.messages import Message, Webhook, WebhookKind, pause_after
from treadle.ports import Clock, Vault
from treadle.ports.chores import Chore
from treadle.ports.webhooks import Letter, Messenger, Reply, Trouble, WebhookStore
from treadle.services.audit import Audit
from treadle.services.audit_actions import Action

log = structlog.get_logger(__name__)

#: Messages of one webhook on their way at once, each of another run or batch.
MAX_SENDING = 8

#: After so many seconds a webhook whose messages go on and on lets others have its turn.
TURN_SECONDS = 20.0

#: While some are on their way, others that have become due are looked for so often, in seconds.
LOOK_SECONDS = 1.0

#: The seals of a webhook are bound to its organization, its UUID and these tables.
SECRETS, TARGETS = "webhooks", "webhooks.target"


class Deliveries:
    """`chance()`: of 0 to 1. `public_url`: for links; None: there are none."""

    def __init__(
        self,
        store: WebhookStore,
        vault: Vault,
        clock: Clock,
        messengers: Mapping[WebhookKind, Messenger],
        *,
        audit: Audit,
        public_url: str | None,
        chance: Callable[[], float],
    ) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._messengers = messengers
        self._audit = audit
        self._public_url = public_url.rstrip("/") if public_url else None
        self._chance = chance

    async def close(self) -> None:
        """All messengers."""
        async with AsyncExitStack() as stack:
            for each in self._messengers.values():
                stack.push_async_callback(each.close)

    async def work_off(self, chore: Chore) -> datetime | None:
        """What is due of the webhook. When more is; None when nothing waits, or it is not enabled."""
        with suppress(NotFound):
            webhook = await self._store.webhook(chore.subject)
            if webhook.is_enabled and await self._turn(webhook):
                return await self._store.next_due(webhook.id)
        return None

    async def send(self, webhook: Webhook, letter_of: Callable[[str, tuple[str, ...]], Letter]) -> Reply:
        """Once. `letter_of` gets the address and the secrets that sign. Raises SealKeyMissing: it is the operator's to
        mend."""
        messenger = self._messengers.get(webhook.kind)
        if messenger is None:
            return Reply("This service has no server for e-mail: its operator sets TREADLE_SMTP_URL.")
        try:
            letter = letter_of(*self._opened(webhook))
        except SealKeyMissing:
            raise
        except SealBroken as error:  # for good: its messages wait for nothing
            return Reply(error.sentence())
        return await messenger.send(letter)

    def _opened(self, webhook: Webhook) -> tuple[str, tuple[str, ...]]:
        """The address, and the secrets that sign. Raises SealBroken."""
        organization, row = webhook.organization_uuid, str(webhook.uuid)
        target = self._vault.open(webhook.sealed_target, organization=organization, table=TARGETS, row=row)
        sealed = [webhook.sealed] if webhook.sealed is not None else []
        is_overlap = webhook.date_before_ends is not None and self._clock.now() < webhook.date_before_ends
        if webhook.sealed_before is not None and is_overlap:
            sealed.append(webhook.sealed_before)
        secrets = tuple(self._vault.open(each, organization=organization, table=SECRETS, row=row) for each in sealed)
        return target, secrets

    async def _turn(self, webhook: Webhook) -> bool:
        """False: it is gone, and not enabled any more. A receiver that does not answer gets nothing else in this turn:
        it is asked again at the next."""
        loop, busy = asyncio.get_running_loop(), dict[asyncio.Task[Reply | None], str]()
        ends, is_silent, is_gone = loop.time() + TURN_SECONDS, False, False
        try:
            while True:
                room = MAX_SENDING - len(busy)
                if room and not is_silent and loop.time() < ends:
                    for message in await self._store.messages_due(
                        webhook.id, self._clock.now(), busy=busy.values(), limit=room
                    ):
                        busy[asyncio.create_task(self._deliver(webhook, message))] = message.lane
                if not busy:
                    return not is_gone
                done, _ = await asyncio.wait(busy, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    del busy[task]
                    reply = task.result()
                    if reply is not None and reply.error is not None:
                        is_silent |= reply.status is None or reply.is_gone
                        is_gone |= reply.is_gone
        finally:
            for task in busy:
                task.cancel()
            await asyncio.gather(*busy, return_exceptions=True)

    async def _deliver(self, webhook: Webhook, message: Message) -> Reply | None:
        """None: somebody else has dealt with it meanwhile."""

        def letter_of(target: str, secrets: tuple[str, ...]) -> Letter:
            return Letter(
                id=f"msg_{message.uuid.hex}",
                type=message.type,
                date=message.date_created,
                sent=self._clock.now(),
                body=body_of(message, self._public_url),
                target=target,
                secrets=secrets,
            )

        reply = await self.send(webhook, letter_of)
        now = self._clock.now()
        if reply.error is None:
            return reply if await self._store.end_try(message, now, None) else None
        pause = None if reply.is_gone else pause_after(message, now, self._chance(), reply.wait_seconds)
        next_ = None if pause is None else now + timedelta(seconds=pause)
        if not await self._store.end_try(message, now, Trouble(reply.error, next_)):
            return None
        log.info("a message was not delivered", webhook=webhook.id, message=message.id, error=reply.error, pause=pause)
        if reply.is_gone and await self._store.disable_webhook(webhook.id, now):
            await self._audit.note(
                Action.WEBHOOK_DISABLED,
                target=webhook.name,
                detail={"id": webhook.id},
                organization_id=webhook.organization_id,
            )
        return reply


def body_of(message: Message, public_url: str | None) -> JsonObject:
    """What is sent. `public_url`: for the link to the run or batch."""
    data: dict[str, JsonValue] = dict(message.data)
    for name, path in (("run", "runs"), ("batch", "automation/batches")):
        about = data.get(name)
        if isinstance(about, Mapping):
            data[name] = {**about, "url": f"{public_url}/{path}/{about.get('id')}" if public_url else None}
    return {"type": message.type.value, "timestamp": message.date_created.isoformat(), "data": data}
