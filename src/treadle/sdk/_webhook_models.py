"""Webhooks and their messages as the SDK has them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from treadle.sdk._wire import Fields, JsonValue


@dataclass(frozen=True, slots=True)
class WebhookFilter:
    """Which messages are wanted; what is empty leaves nothing out. `types` are such as `run.finished` or `run.*`,
    `repositories` ids, `statuses` Success, Failed or Killed, `sources` such as API."""

    types: Sequence[str] = ()
    repositories: Sequence[int] = ()
    statuses: Sequence[str] = ()
    sources: Sequence[str] = ()

    def json(self) -> Mapping[str, JsonValue]:
        """As it is sent."""
        return {
            "types": list(self.types),
            "repositories": list(self.repositories),
            "statuses": list(self.statuses),
            "sources": list(self.sources),
        }

    @classmethod
    def read(cls, fields: Fields) -> "WebhookFilter":
        def texts(name: str) -> tuple[str, ...]:
            return tuple(map(str, fields.array(name)))

        ids = tuple(each for each in fields.array("repositories") if isinstance(each, int))
        return cls(texts("types"), ids, texts("statuses"), texts("sources"))


@dataclass(frozen=True, slots=True)
class Webhook:
    """Somebody who is told of what happens. `kind`: webhook, slack or email. `target`: what may be shown of the
    address. `secret` is there once: in the answer that made it."""

    id: int
    name: str
    kind: str
    target: str
    filter: WebhookFilter
    is_enabled: bool
    date_old_secret_ends: datetime | None
    date_created: datetime | None
    date_updated: datetime | None
    secret: str | None = field(default=None, repr=False)

    @classmethod
    def read(cls, fields: Fields) -> "Webhook":
        return cls(
            id=fields.integer("id"),
            name=fields.text("name"),
            kind=fields.text("kind"),
            target=fields.text("target"),
            filter=WebhookFilter.read(fields.optional_object("filter") or Fields({}, "filter")),
            is_enabled=fields.flag("isEnabled"),
            date_old_secret_ends=fields.date("dateOldSecretEnds"),
            date_created=fields.date("dateCreated"),
            date_updated=fields.date("dateUpdated"),
            secret=fields.optional_text("secret"),
        )


@dataclass(frozen=True, slots=True)
class WebhookReply:
    """What came back of a test. `status`: of HTTP or SMTP; None: nobody answered."""

    is_delivered: bool
    status: int | None
    error: str | None

    @classmethod
    def read(cls, fields: Fields) -> "WebhookReply":
        return cls(fields.flag("isDelivered"), fields.optional_integer("status"), fields.optional_text("error"))


@dataclass(frozen=True, slots=True)
class WebhookMessage:
    """One for one webhook. `status`: Waiting, Delivered or Dead. Those of one `lane` go out in order."""

    id: int
    lane: str
    type: str
    run_id: int | None
    number: int | None
    data: Mapping[str, JsonValue]
    status: str
    tries: int
    last_error: str | None
    date_created: datetime | None
    date_next: datetime | None
    date_done: datetime | None

    @classmethod
    def read(cls, fields: Fields) -> "WebhookMessage":
        data = fields.optional_object("data")
        return cls(
            id=fields.integer("id"),
            lane=fields.text("lane"),
            type=fields.text("type"),
            run_id=fields.optional_integer("runId"),
            number=fields.optional_integer("number"),
            data={} if data is None else data.raw,
            status=fields.text("status"),
            tries=fields.integer("tries"),
            last_error=fields.optional_text("lastError"),
            date_created=fields.date("dateCreated"),
            date_next=fields.date("dateNext"),
            date_done=fields.date("dateDone"),
        )
