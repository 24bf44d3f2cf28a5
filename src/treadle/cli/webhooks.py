"""What `treadle webhook` does."""

import os
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict
from datetime import datetime

import typer

from treadle import AsyncClient, Webhook, WebhookFilter
from treadle.cli import output
from treadle.cli.lines import when
from treadle.cli.remote import work_with


class WebhookDesk:
    """One command's dealings with a service."""

    def __init__(self, url: str, key: str | None, *, is_json: bool = False) -> None:
        self._url = url
        self._key = key
        self._is_json = is_json

    def add(self, name: str, target: str, kind: str, wanted: WebhookFilter | None) -> None:
        async def work(client: AsyncClient) -> None:
            self._made(await client.webhooks.add(name, target, kind=kind, filter=wanted))

        self._do(work)

    def list(self) -> None:
        async def work(client: AsyncClient) -> None:
            found = await client.webhooks.list()
            if self._is_json:
                output.as_json([_json(each) for each in found])
                return
            rows = [(str(each.id), each.name, each.kind, each.target, _state(each), _wanted(each)) for each in found]
            output.table(("ID", "NAME", "KIND", "ADDRESS", "STATE", "WANTS"), rows)

        self._do(work)

    def show(self, webhook: int) -> None:
        async def work(client: AsyncClient) -> None:
            self._show(await client.webhooks.get(webhook))

        self._do(work)

    def update(
        self,
        webhook: int,
        *,
        name: str | None,
        target: str | None,
        wanted: WebhookFilter | None,
        is_enabled: bool | None,
    ) -> None:
        async def work(client: AsyncClient) -> None:
            changed = await client.webhooks.update(
                webhook, name=name, target=target, filter=wanted, is_enabled=is_enabled
            )
            self._show(changed)

        self._do(work)

    def remove(self, webhook: int) -> None:
        async def work(client: AsyncClient) -> None:
            await client.webhooks.remove(webhook)

        self._do(work)

    def rotate(self, webhook: int) -> None:
        async def work(client: AsyncClient) -> None:
            self._made(await client.webhooks.rotate(webhook))

        self._do(work)

    def test(self, webhook: int) -> None:
        async def work(client: AsyncClient) -> None:
            reply = await client.webhooks.test(webhook)
            if self._is_json:
                output.as_json(asdict(reply))
            elif reply.is_delivered:
                output.line(f"It was taken ({reply.status}).")
            else:
                output.error(reply.error or "It was not taken.")
            if not reply.is_delivered:
                raise typer.Exit(1)

        self._do(work)

    def messages(self, webhook: int, status: str | None, limit: int) -> None:
        async def work(client: AsyncClient) -> None:
            found = await client.webhooks.messages(webhook, status=status, limit=limit)
            if self._is_json:
                output.as_json([_dates(asdict(each)) for each in found])
                return
            rows = [
                (
                    str(each.id),
                    each.type,
                    each.lane,
                    each.status,
                    str(each.tries),
                    when(each.date_done or each.date_next or each.date_created),
                    each.last_error or "",
                )
                for each in found
            ]
            output.table(("ID", "TYPE", "OF", "STATUS", "TRIES", "WHEN", "LAST ERROR"), rows)

        self._do(work)

    def resend(self, webhook: int, message: int | None) -> None:
        async def work(client: AsyncClient) -> None:
            if message is not None:
                await client.webhooks.resend(webhook, message)
                output.note("1 message goes out again.")
                return
            count = await client.webhooks.resend_dead(webhook)
            output.note(f"{count:,} {'message goes' if count == 1 else 'messages go'} out again.")

        self._do(work)

    def _made(self, webhook: Webhook) -> None:
        self._show(webhook)
        if webhook.secret is not None and not self._is_json:
            output.note("The secret is not shown again.")

    def _show(self, webhook: Webhook) -> None:
        if self._is_json:
            output.as_json(_json(webhook))
            return
        rows = [
            ("id", str(webhook.id)),
            ("name", webhook.name),
            ("kind", webhook.kind),
            ("address", webhook.target),
            ("state", _state(webhook)),
            ("wants", _wanted(webhook)),
        ]
        output.table(("FIELD", "VALUE"), [*rows, *([("secret", webhook.secret)] if webhook.secret else [])])

    def _do(self, work: Callable[[AsyncClient], Coroutine[object, object, None]]) -> None:
        work_with(self._url, self._key, work)


def filter_of(
    types: Sequence[str] | None,
    repositories: Sequence[int] | None,
    statuses: Sequence[str] | None,
    sources: Sequence[str] | None,
    *,
    is_everything: bool = False,
) -> WebhookFilter | None:
    """None: nothing was said."""
    if not (types or repositories or statuses or sources):
        return WebhookFilter() if is_everything else None
    return WebhookFilter(types or (), repositories or (), statuses or (), sources or ())


def target_of(target: str | None, variable: str | None) -> str | None:
    """What was given, or what the variable holds: other users of the machine can read a command line."""
    if variable is None:
        return target
    if target is not None:
        raise typer.BadParameter("give one of the address and --target-env")
    if variable not in os.environ:
        raise typer.BadParameter(f"there is no variable {variable}")
    return os.environ[variable]


def _state(webhook: Webhook) -> str:
    return "enabled" if webhook.is_enabled else "disabled"


def _wanted(webhook: Webhook) -> str:
    wanted = webhook.filter
    parts = (
        " ".join(wanted.types),
        f"repositories {' '.join(map(str, wanted.repositories))}" if wanted.repositories else "",
        " ".join(wanted.statuses),
        f"sources {' '.join(wanted.sources)}" if wanted.sources else "",
    )
    return ", ".join(part for part in parts if part) or "everything"


def _json(webhook: Webhook) -> dict[str, object]:
    return _dates(asdict(webhook))


def _dates(fields: dict[str, object]) -> dict[str, object]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in fields.items()}
