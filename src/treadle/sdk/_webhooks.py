"""`client.webhooks`: who is told of what happens."""

from collections.abc import Mapping, Sequence

import httpx2

from treadle.sdk._async_driver import AsyncDriver
from treadle.sdk._calls import Call, Request
from treadle.sdk._documented import documented_as
from treadle.sdk._driver import Driver
from treadle.sdk._webhook_models import Webhook, WebhookFilter, WebhookMessage, WebhookReply
from treadle.sdk._wire import Fields, JsonValue

_PATH = "/webhooks"


def listed() -> Call[Sequence[Webhook]]:
    return Call(Request("GET", _PATH), lambda answer: [*map(Webhook.read, _fields(answer).objects("webhooks"))])


def added(name: str, target: str, kind: str, wanted: WebhookFilter | None) -> Call[Webhook]:
    sent: dict[str, JsonValue] = {"name": name, "target": target, "kind": kind}
    if wanted is not None:
        sent["filter"] = wanted.json()
    return Call(Request("POST", _PATH, json=sent), _webhook, is_repeatable=False)


def got(webhook_id: int) -> Call[Webhook]:
    return Call(Request("GET", f"{_PATH}/{webhook_id}"), _webhook)


def updated(
    webhook_id: int, name: str | None, target: str | None, wanted: WebhookFilter | None, *, is_enabled: bool | None
) -> Call[Webhook]:
    given: Mapping[str, JsonValue] = {
        "name": name,
        "target": target,
        "filter": None if wanted is None else wanted.json(),
        "isEnabled": is_enabled,
    }
    sent = {field: value for field, value in given.items() if value is not None}
    return Call(Request("PATCH", f"{_PATH}/{webhook_id}", json=sent), _webhook)


def removed(webhook_id: int) -> Call[None]:
    return Call(Request("DELETE", f"{_PATH}/{webhook_id}"), lambda _: None, is_repeatable=False)


def rotated(webhook_id: int) -> Call[Webhook]:
    return Call(Request("POST", f"{_PATH}/{webhook_id}/rotate"), _webhook, is_repeatable=False)


def tested(webhook_id: int) -> Call[WebhookReply]:
    request = Request("POST", f"{_PATH}/{webhook_id}/test")
    return Call(request, lambda answer: WebhookReply.read(_fields(answer)), is_repeatable=False)


def messages(
    webhook_id: int, status: str | None, before: int | None, limit: int | None
) -> Call[Sequence[WebhookMessage]]:
    given = {"status": status, "before": before, "limit": limit}
    params = tuple((name, str(value)) for name, value in given.items() if value is not None)
    return Call(
        Request("GET", f"{_PATH}/{webhook_id}/messages", params=params),
        lambda answer: [*map(WebhookMessage.read, _fields(answer).objects("messages"))],
    )


def resent(webhook_id: int, message_id: int) -> Call[WebhookMessage]:
    request = Request("POST", f"{_PATH}/{webhook_id}/messages/{message_id}/resend")
    return Call(request, lambda answer: WebhookMessage.read(_fields(answer)), is_repeatable=False)


def resent_dead(webhook_id: int) -> Call[int]:
    request = Request("POST", f"{_PATH}/{webhook_id}/resend-dead")
    return Call(request, lambda answer: _fields(answer).integer("count"), is_repeatable=False)


def _fields(answer: httpx2.Response) -> Fields:
    return Fields(answer.json(), "answer")


def _webhook(answer: httpx2.Response) -> Webhook:
    return Webhook.read(_fields(answer))


class Webhooks:
    """`client.webhooks`."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def list(self) -> Sequence[Webhook]:
        """The organization's. Raises PermissionDeniedError: it takes a MANAGER."""
        return self._driver.call(listed())

    def add(self, name: str, target: str, *, kind: str = "webhook", filter: WebhookFilter | None = None) -> Webhook:  # noqa: A002 - as the API has it
        """Tells somebody of what happens from now on. Its `secret` verifies what arrives, and is told once.

        Args:
            name: For people.
            target: An https address; for `email`, addresses with commas between.
            kind: webhook, slack or email.
            filter: Which messages are wanted; None: all.

        Raises:
            BadRequestError: `errors` names every fault.
            PermissionDeniedError: It takes an ADMIN.
        """
        return self._driver.call(added(name, target, kind, filter))

    def get(self, webhook_id: int) -> Webhook:
        """Raises NotFoundError."""
        return self._driver.call(got(webhook_id))

    def update(
        self,
        webhook_id: int,
        *,
        name: str | None = None,
        target: str | None = None,
        filter: WebhookFilter | None = None,  # noqa: A002 - as the API has it
        is_enabled: bool | None = None,
    ) -> Webhook:
        """What is None stays. While it is not enabled nothing is put in line for it. Raises BadRequestError,
        NotFoundError, PermissionDeniedError."""
        return self._driver.call(updated(webhook_id, name, target, filter, is_enabled=is_enabled))

    def remove(self, webhook_id: int) -> None:
        """With its messages. Raises NotFoundError, PermissionDeniedError."""
        self._driver.call(removed(webhook_id))

    def rotate(self, webhook_id: int) -> Webhook:
        """Another `secret`; for a day that of before signs too. Raises NotFoundError, PermissionDeniedError."""
        return self._driver.call(rotated(webhook_id))

    def test(self, webhook_id: int) -> WebhookReply:
        """Sends `webhook.test`, and says what came back. Raises NotFoundError."""
        return self._driver.call(tested(webhook_id))

    def messages(
        self, webhook_id: int, *, status: str | None = None, before: int | None = None, limit: int | None = None
    ) -> Sequence[WebhookMessage]:
        """Newest first. `status`: Waiting, Delivered or Dead; `before`: those with smaller ids. Raises
        NotFoundError."""
        return self._driver.call(messages(webhook_id, status, before, limit))

    def resend(self, webhook_id: int, message_id: int) -> WebhookMessage:
        """Puts one that was delivered or is dead in line again. Raises NotFoundError, and ConflictError while it
        waits."""
        return self._driver.call(resent(webhook_id, message_id))

    def resend_dead(self, webhook_id: int) -> int:
        """All that are dead, in their order; how many. Raises NotFoundError."""
        return self._driver.call(resent_dead(webhook_id))


@documented_as(Webhooks)
class AsyncWebhooks:
    """`client.webhooks`."""

    def __init__(self, driver: AsyncDriver) -> None:
        self._driver = driver

    async def list(self) -> Sequence[Webhook]:
        return await self._driver.call(listed())

    async def add(
        self,
        name: str,
        target: str,
        *,
        kind: str = "webhook",
        filter: WebhookFilter | None = None,  # noqa: A002 - as the API has it
    ) -> Webhook:
        return await self._driver.call(added(name, target, kind, filter))

    async def get(self, webhook_id: int) -> Webhook:
        return await self._driver.call(got(webhook_id))

    async def update(
        self,
        webhook_id: int,
        *,
        name: str | None = None,
        target: str | None = None,
        filter: WebhookFilter | None = None,  # noqa: A002 - as the API has it
        is_enabled: bool | None = None,
    ) -> Webhook:
        return await self._driver.call(updated(webhook_id, name, target, filter, is_enabled=is_enabled))

    async def remove(self, webhook_id: int) -> None:
        await self._driver.call(removed(webhook_id))

    async def rotate(self, webhook_id: int) -> Webhook:
        return await self._driver.call(rotated(webhook_id))

    async def test(self, webhook_id: int) -> WebhookReply:
        return await self._driver.call(tested(webhook_id))

    async def messages(
        self, webhook_id: int, *, status: str | None = None, before: int | None = None, limit: int | None = None
    ) -> Sequence[WebhookMessage]:
        return await self._driver.call(messages(webhook_id, status, before, limit))

    async def resend(self, webhook_id: int, message_id: int) -> WebhookMessage:
        return await self._driver.call(resent(webhook_id, message_id))

    async def resend_dead(self, webhook_id: int) -> int:
        return await self._driver.call(resent_dead(webhook_id))
