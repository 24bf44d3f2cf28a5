"""What triggers, hooks and deliveries are, as the server tells them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from treadle.sdk._wire import Fields, JsonValue, WireError


@dataclass(frozen=True, slots=True)
class TriggerHook:
    """Where a forge, CI or a tracker delivers to. `secret` and `url_token` are told once: when it is made, and when it
    gets another. `hint`: what is missing for a whole `url`."""

    id: str
    kind: str
    url: str
    repository_id: int | None
    hint: str | None
    date_created: datetime
    date_delivered: datetime | None
    date_before_ends: datetime | None
    secret: str | None = field(default=None, repr=False)
    url_token: str | None = field(default=None, repr=False)
    raw: Mapping[str, JsonValue] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, fields: Fields) -> "TriggerHook":
        return cls(
            fields.text("id"),
            fields.text("kind"),
            fields.text("url"),
            fields.optional_integer("repositoryId"),
            fields.optional_text("hint"),
            _date(fields, "dateCreated"),
            fields.date("dateDelivered"),
            fields.date("dateBeforeEnds"),
            fields.optional_text("secret"),
            fields.optional_text("urlToken"),
            fields.raw,
        )


@dataclass(frozen=True, slots=True)
class Trigger:
    """What becomes of a hook's deliveries. `kind`: check, issue, comment, review or url."""

    id: str
    name: str
    kind: str
    hook: TriggerHook
    settings: Mapping[str, JsonValue]
    plan: Mapping[str, JsonValue] | None
    is_enabled: bool
    user_id: int
    date_created: datetime
    date_updated: datetime
    raw: Mapping[str, JsonValue] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, fields: Fields) -> "Trigger":
        return cls(
            fields.text("id"),
            fields.text("name"),
            fields.text("kind"),
            TriggerHook.read(Fields(fields.raw.get("hook"), "trigger.hook")),
            Fields(fields.raw.get("settings"), "trigger.settings").raw,
            None if (plan := fields.optional_object("plan")) is None else plan.raw,
            fields.flag("isEnabled"),
            fields.integer("userId"),
            _date(fields, "dateCreated"),
            _date(fields, "dateUpdated"),
            fields.raw,
        )


@dataclass(frozen=True, slots=True)
class TriggerDelivery:
    """What a hook took in. `status`: Waiting, Done, Ignored or Failed; `detail` says what followed, or why nothing."""

    id: int
    delivery: str
    event: str
    status: str
    detail: str | None
    run_id: int | None
    date_received: datetime
    date_done: datetime | None
    raw: Mapping[str, JsonValue] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, fields: Fields) -> "TriggerDelivery":
        return cls(
            fields.integer("id"),
            fields.text("delivery"),
            fields.text("event"),
            fields.text("status"),
            fields.optional_text("detail"),
            fields.optional_integer("runId"),
            _date(fields, "dateReceived"),
            fields.date("dateDone"),
            fields.raw,
        )


def _date(fields: Fields, name: str) -> datetime:
    found = fields.date(name)
    if found is None:
        raise WireError(f"{name} is missing.")
    return found
