"""What the endpoints of webhooks take and give, as it is documented."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class _Shape(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class WebhookFilterShape(_Shape):
    """What is empty leaves nothing out."""

    types: list[str] = Field(default=[], examples=[["run.finished", "pull_request.*"]])
    repositories: list[int] = Field(default=[], description="Ids.")
    statuses: list[str] = Field(default=[], description="Of what has ended.", examples=[["Failed"]])
    sources: list[str] = Field(default=[], description="Of runs.", examples=[["API"]])


class WebhookShape(_Shape):
    """`target`: what may be shown of the address. `secret`: told once, by those that make it."""

    id: int
    uuid: str
    name: str
    kind: str = Field(examples=["webhook"])
    target: str = Field(examples=["https://hooks.example.com/…"])
    filter: WebhookFilterShape
    is_enabled: bool
    secret: str | None = Field(None, examples=["whsec_…"])
    date_old_secret_ends: datetime | None
    date_created: datetime
    date_updated: datetime


class WebhooksShape(_Shape):
    webhooks: list[WebhookShape]


class NewWebhookBody(_Shape):
    """`target`: an https address; for `email`, addresses with commas between."""

    name: str
    kind: str = Field("webhook", description="webhook, slack or email.")
    target: str
    filter: WebhookFilterShape | None = None


class WebhookBody(_Shape):
    """What is left out stays."""

    name: str | None = None
    target: str | None = None
    filter: WebhookFilterShape | None = None
    is_enabled: bool | None = None


class WebhookReplyShape(_Shape):
    """`error` null: it was taken. `status`: of HTTP or SMTP; null: nobody answered."""

    is_delivered: bool
    status: int | None
    error: str | None


class MessageShape(_Shape):
    """One for this webhook. `lane`: those of one lane go out in order. `dateNext`: when one that waits is tried."""

    id: int
    uuid: str
    lane: str = Field(examples=["run 12"])
    type: str = Field(examples=["run.finished"])
    run_id: int | None
    number: int | None = Field(description="Of the event.")
    data: dict[str, Any]
    status: str = Field(examples=["Waiting", "Delivered", "Dead"])
    tries: int
    last_error: str | None
    date_created: datetime
    date_next: datetime | None
    date_done: datetime | None


class MessagesShape(_Shape):
    """`next`: the `before` of the next page; null at the end."""

    messages: list[MessageShape]
    next: int | None


class ResentShape(_Shape):
    count: int


SHAPES: Sequence[type[BaseModel]] = (
    WebhookFilterShape,
    WebhookShape,
    WebhooksShape,
    NewWebhookBody,
    WebhookBody,
    WebhookReplyShape,
    MessageShape,
    MessagesShape,
    ResentShape,
)
