"""What `treadle trigger …` does."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Final

from treadle import AsyncClient, Trigger, TriggerDelivery, TriggerHook
from treadle.cli import interrupts, output
from treadle.cli.lines import when
from treadle.cli.plans import repository_id
from treadle.cli.remote import connected
from treadle.cli.steps import load_plan
from treadle.domain.events import JsonValue

_HEAD: Final = ("ID", "NAME", "KIND", "ON", "HOOK")
_DELIVERIES_HEAD: Final = ("ID", "RECEIVED", "EVENT", "STATUS", "RUN", "DETAIL")

#: Where each sender wants address and secret.
_WHERE: Final[Mapping[str, str]] = {
    "github": "At GitHub: Settings, Webhooks, Add webhook; content type application/json, the secret as the secret.",
    "gitlab": "At GitLab: Settings, Webhooks, Add new webhook; the secret as the secret token.",
    "gitea": "At Gitea or Forgejo: Settings, Webhooks, Add webhook; POST, application/json, the secret as the secret.",
    "url": "Send POST with JSON: `Authorization: Bearer SECRET`, `X-Hub-Signature-256`, Standard Webhooks, or "
    "`?token=URL-TOKEN` in the address.",
}


class Bench:
    """One command's dealings with a service."""

    def __init__(self, url: str, key: str | None, *, is_json: bool) -> None:
        self._url = url
        self._key = key
        self._is_json = is_json

    def add(
        self,
        kind: str,
        name: str,
        repo: str | None,
        plan: Path | None,
        hook: str | None,
        settings: Mapping[str, JsonValue],
    ) -> None:
        read = None if plan is None else load_plan(plan).to_json()
        given = {key: value for key, value in settings.items() if value is not None}

        async def work(client: AsyncClient) -> None:
            where = None if repo is None else await repository_id(client, repo)
            made = await client.triggers.add(name, kind, repository=where, hook=hook, settings=given or None, plan=read)
            self._show(made)

        self._do(work)

    def list(self) -> None:
        async def work(client: AsyncClient) -> None:
            found = await client.triggers.list()
            if self._is_json:
                output.as_json([dict(each.raw) for each in found])
                return
            output.table(
                _HEAD, [(each.id, each.name, each.kind, _yes(each.is_enabled), each.hook.url) for each in found]
            )

        self._do(work)

    def show(self, trigger: str) -> None:
        async def work(client: AsyncClient) -> None:
            self._show(await client.triggers.get(trigger))

        self._do(work)

    def remove(self, trigger: str) -> None:
        async def work(client: AsyncClient) -> None:
            await client.triggers.remove(trigger)
            output.note(f"Trigger {trigger} is removed.")

        self._do(work)

    def deliveries(self, trigger: str, limit: int) -> None:
        async def work(client: AsyncClient) -> None:
            found = await client.triggers.deliveries(trigger, limit=limit)
            if self._is_json:
                output.as_json([dict(each.raw) for each in found])
                return
            output.table(_DELIVERIES_HEAD, [_delivery_row(each) for each in found])

        self._do(work)

    def redeliver(self, trigger: str, delivery: int) -> None:
        async def work(client: AsyncClient) -> None:
            found = await client.triggers.redeliver(trigger, delivery)
            if self._is_json:
                output.as_json(dict(found.raw))
                return
            output.note(f"It is worked off again; `treadle trigger deliveries {trigger}` tells what comes of it.")

        self._do(work)

    def rotate(self, trigger: str) -> None:
        async def work(client: AsyncClient) -> None:
            hook = await client.triggers.rotate((await client.triggers.get(trigger)).hook.id)
            if self._is_json:
                output.as_json(dict(hook.raw))
                return
            output.table(("FIELD", "VALUE"), _hook_rows(hook))
            output.note(f"The secret before counts too until {when(hook.date_before_ends)}.")

        self._do(work)

    def _show(self, trigger: Trigger) -> None:
        if self._is_json:
            output.as_json(dict(trigger.raw))
            return
        rows = [
            ("id", trigger.id),
            ("name", trigger.name),
            ("kind", trigger.kind),
            ("on", _yes(trigger.is_enabled)),
            *_hook_rows(trigger.hook),
        ]
        output.table(("FIELD", "VALUE"), rows)
        if trigger.hook.secret is not None:
            output.note(f"The secret is shown once. {_WHERE.get(trigger.hook.kind, '')}")

    def _do(self, work: Callable[[AsyncClient], Coroutine[None, None, None]]) -> None:
        async def connect() -> None:
            async with connected(self._url, self._key) as client:
                await work(client)

        interrupts.run(connect())


def _yes(is_on: bool) -> str:
    return "yes" if is_on else "no"


def _hook_rows(hook: TriggerHook) -> Sequence[tuple[str, str]]:
    rows = [("hook", hook.id), ("url", hook.url)]
    if hook.hint is not None:
        rows.append(("hint", hook.hint))
    if hook.secret is not None:
        rows.append(("secret", hook.secret))
    if hook.url_token is not None:
        rows.append(("url token", hook.url_token))
    return rows


def _delivery_row(each: TriggerDelivery) -> Sequence[str]:
    run = "" if each.run_id is None else str(each.run_id)
    return (str(each.id), when(each.date_received), each.event, each.status, run, each.detail or "")
