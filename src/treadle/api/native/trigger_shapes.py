"""What the endpoints of triggers and hooks take and give, as it is documented."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class _Shape(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class HookShape(_Shape):
    """`secret` and `urlToken` are told once: when it is made, and when it gets another. `hint`: what is missing for a
    whole `url`."""

    id: str
    kind: str = Field(examples=["github"])
    url: str = Field(examples=["https://treadle.example.com/hooks/6f1f…"])
    repository_id: int | None
    hint: str | None
    secret: str | None = Field(None, examples=["whsec_…"])
    url_token: str | None = Field(None, description="Of a trigger URL: `?token=…` in the place of a signature.")
    date_created: datetime
    date_delivered: datetime | None
    date_before_ends: datetime | None = Field(description="Until then the secret before the last rotation counts too.")


class HooksShape(_Shape):
    hooks: list[HookShape]


class TriggerSettingsShape(_Shape):
    """`from`: logins, and `members` (whom the forge lets push) or `anyone`."""

    labels: list[str] = Field(default=["treadle"], description="Of issues that start a run.")
    assignees: list[str] = Field(default=[], description="Whose issues start a run, beside the token's account.")
    reviewers: list[str] = Field(default=[], description="Who is asked for a review, beside the token's account.")
    mention: str = "@treadle"
    from_: list[str] = Field(default=["members"], alias="from")
    heeds_token_owner: bool = Field(False, description="Heed what the account of the repository's token says itself.")
    pull_request: bool = Field(True, description="Open a pull request, where the plan does not say.")


class TriggerShape(_Shape):
    id: str
    name: str
    kind: str = Field(examples=["check"])
    hook: HookShape
    settings: TriggerSettingsShape
    plan: dict[str, Any] | None
    is_enabled: bool
    user_id: int
    date_created: datetime
    date_updated: datetime


class TriggersShape(_Shape):
    triggers: list[TriggerShape]


class NewTriggerBody(_Shape):
    """`hook`: one that is there, such as a trigger URL; else the repository's is taken, or made."""

    name: str
    kind: str = Field(description="check, issue, comment, review or url.")
    repository_id: int | None = None
    hook: str | None = None
    settings: TriggerSettingsShape | None = None
    plan: str | dict[str, Any] | None = Field(
        None, description="YAML, or an object of the same keys; `${{ trigger.… }}` is what the delivery tells."
    )
    is_enabled: bool = True


class TriggerBody(_Shape):
    """What is left out stays; of `settings` too."""

    name: str | None = None
    settings: TriggerSettingsShape | None = None
    plan: str | dict[str, Any] | None = Field(None, description="null: the one that goes with the kind.")
    is_enabled: bool | None = None


class NewHookBody(_Shape):
    kind: str = Field("url", description="github, gitlab, gitea or url.")
    repository_id: int | None = None


class DeliveryShape(_Shape):
    """`status`: Waiting, Done, Ignored or Failed; `detail` says what followed, or why nothing did."""

    id: int
    delivery: str
    event: str = Field(examples=["check_run"])
    status: str
    detail: str | None
    run_id: int | None
    date_received: datetime
    date_done: datetime | None


class DeliveriesShape(_Shape):
    """`next`: the `before` of the next page; null at the end."""

    deliveries: list[DeliveryShape]
    next: int | None


class ReceiptShape(_Shape):
    """`status`: accepted, or duplicate: it was there already, and nothing more follows."""

    status: str


SHAPES: Sequence[type[BaseModel]] = (
    HookShape,
    HooksShape,
    TriggerSettingsShape,
    TriggerShape,
    TriggersShape,
    NewTriggerBody,
    TriggerBody,
    NewHookBody,
    DeliveryShape,
    DeliveriesShape,
    ReceiptShape,
)
