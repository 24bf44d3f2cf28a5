"""The ports of what others are told: the webhooks, their messages, and what takes a message to somebody."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from treadle.domain.events import JsonValue
from treadle.domain.messages import Filter, Message, MessageStatus, Webhook, WebhookKind


@dataclass(frozen=True, slots=True)
class NewWebhook:
    """One to be. The sealed texts are bound to `uuid`."""

    uuid: UUID
    organization_id: int
    user_id: int
    name: str
    kind: WebhookKind
    shown_target: str
    filter: Filter
    sealed_target: str = field(repr=False)
    sealed: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Trouble:
    """What came of a try that failed. `next` None: it is dead."""

    error: str
    next: datetime | None


class WebhookStore(Protocol):
    """Webhooks and their messages. What happens puts messages in line by itself, in its own transaction. Every method
    may raise Unavailable."""

    async def add_webhook(self, new: NewWebhook, now: datetime, *, most: int) -> Webhook:
        """Raises Conflict when the organization has `most`."""

    async def webhooks(self, organization_id: int) -> Sequence[Webhook]:
        """By their ids."""

    async def webhook(self, webhook_id: int, *, organization_id: int | None = None) -> Webhook:
        """Raises NotFound, also for another organization's."""

    async def put_webhook(self, changed: Webhook, now: datetime, *, seen: datetime) -> Webhook:
        """Everything but its id, UUID, organization, user and kind. Of one that is enabled, what waits is looked at.
        Raises NotFound, and Conflict when it is not as it was at `seen`, its `date_updated`."""

    async def disable_webhook(self, webhook_id: int, now: datetime) -> bool:
        """Whether it was enabled."""

    async def remove_webhook(self, organization_id: int, webhook_id: int) -> None:
        """With its messages. Raises NotFound."""

    async def messages_due(
        self, webhook_id: int, now: datetime, *, busy: Collection[str], limit: int
    ) -> Sequence[Message]:
        """The first that waits of each lane that is not `busy`, if it is due; those that happened first come first."""

    async def next_due(self, webhook_id: int) -> datetime | None:
        """When the first of a lane is due; None when nothing waits."""

    async def end_try(self, message: Message, now: datetime, trouble: Trouble | None) -> bool:
        """Delivered, without `trouble`. False when it is not as it was: nothing changes."""

    async def messages(
        self, webhook_id: int, status: MessageStatus | None, *, before: int | None, limit: int
    ) -> Sequence[Message]:
        """Newest first, of those with ids under `before`."""

    async def resend_message(self, webhook_id: int, message_id: int, now: datetime) -> Message:
        """Puts one that was delivered or is dead in line again. Raises NotFound, and Conflict while it waits."""

    async def resend_dead(self, webhook_id: int, now: datetime) -> int:
        """All that are dead, in line again; how many."""

    async def prune_messages(self, delivered: datetime, dead: datetime, *, limit: int) -> int:
        """Removes at most so many of those delivered before, or dead since before, then; how many."""


@dataclass(frozen=True, slots=True)
class Letter:
    """What is to be sent. `id`: the same each time it is sent. `date`: when it happened; `sent`: now. `secrets`: to
    sign with, the newest first."""

    id: str
    type: str
    date: datetime
    sent: datetime
    body: JsonValue
    target: str = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `error`: a sentence without secrets; None: it is delivered. `status`: of HTTP or SMTP, where
    somebody answered. `is_gone`: it is never to be told again. `wait_seconds`: as it asks for."""

    error: str | None = None
    status: int | None = None
    is_gone: bool = False
    wait_seconds: float | None = None


class Messenger(Protocol):
    """Takes letters to one kind of receivers."""

    async def send(self, letter: Letter) -> Reply:
        """Once, within a deadline. Whatever goes wrong is in the reply."""

    async def close(self) -> None: ...
