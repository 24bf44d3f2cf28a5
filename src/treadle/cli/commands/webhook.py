"""Webhooks: who is told of what happens."""

from enum import StrEnum
from typing import Annotated

import typer

from treadle.cli import options
from treadle.cli.options import DEFAULT_URL

app = typer.Typer(name="webhook", help="Who is told of what happens in runs and batches.", no_args_is_help=True)


class Kind(StrEnum):
    """`domain.messages.WebhookKind`, whose import takes longer than `--help` may."""

    WEBHOOK = "webhook"
    SLACK = "slack"
    EMAIL = "email"


class Standing(StrEnum):
    """`domain.messages.MessageStatus`, as above."""

    WAITING = "Waiting"
    DELIVERED = "Delivered"
    DEAD = "Dead"


Id = Annotated[int, typer.Argument(metavar="ID", help="The webhook's id.")]
Types = Annotated[
    list[str] | None, typer.Option("--type", metavar="TYPE", help="Such as run.finished, or run.*; repeatable.")
]
Repositories = Annotated[
    list[int] | None, typer.Option("--repository", metavar="ID", help="Of runs on it alone; repeatable.")
]
Statuses = Annotated[
    list[str] | None, typer.Option("--status", help="Success, Failed or Killed, of what ended; repeatable.")
]
Sources = Annotated[list[str] | None, typer.Option("--source", help="Of runs asked for so alone; repeatable.")]
TargetEnv = Annotated[
    str | None,
    typer.Option("--target-env", metavar="NAME", help="The variable of yours that holds the address, if a secret."),
]


def register(parent: typer.Typer) -> None:
    """Adds the commands to `parent`."""
    for command in (add, show, update, remove, rotate, messages, resend):
        app.command()(command)
    app.command("list")(list_webhooks)
    app.command("test")(send_test)
    parent.add_typer(app)


def add(
    name: Annotated[str, typer.Argument(help="For people.")],
    target: Annotated[
        str | None, typer.Argument(metavar="ADDRESS", help="https://…; for e-mail, addresses with commas between.")
    ] = None,
    target_env: TargetEnv = None,
    kind: Annotated[Kind, typer.Option("--kind", help="By what it is told.")] = Kind.WEBHOOK,
    types: Types = None,
    repositories: Repositories = None,
    statuses: Statuses = None,
    sources: Sources = None,
    json: options.Json = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Tell somebody of what happens from now on. The secret that signs is printed once."""
    from treadle.cli.webhooks import WebhookDesk, filter_of, target_of

    address = target_of(target, target_env)
    if address is None:
        raise typer.BadParameter("give an ADDRESS or --target-env")
    wanted = filter_of(types, repositories, statuses, sources)
    WebhookDesk(url, api_key, is_json=json).add(name, address, kind, wanted)


def list_webhooks(json: options.Json = False, url: options.Url = DEFAULT_URL, api_key: options.Key = None) -> None:
    """List who is told."""
    from treadle.cli.webhooks import WebhookDesk

    WebhookDesk(url, api_key, is_json=json).list()


def show(webhook: Id, json: options.Json = False, url: options.Url = DEFAULT_URL, api_key: options.Key = None) -> None:
    """Show one."""
    from treadle.cli.webhooks import WebhookDesk

    WebhookDesk(url, api_key, is_json=json).show(webhook)


def update(
    webhook: Id,
    name: Annotated[str | None, typer.Option("--name", help="Another name.")] = None,
    target: Annotated[str | None, typer.Option("--target", metavar="ADDRESS", help="Another address.")] = None,
    target_env: TargetEnv = None,
    is_enabled: Annotated[bool | None, typer.Option("--enable/--disable", help="Tell, or tell nothing.")] = None,
    everything: Annotated[bool, typer.Option("--everything", help="Filter nothing any more.")] = False,
    types: Types = None,
    repositories: Repositories = None,
    statuses: Statuses = None,
    sources: Sources = None,
    json: options.Json = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Change one. A filter takes the place of the one before, whole."""
    from treadle.cli.webhooks import WebhookDesk, filter_of, target_of

    wanted = filter_of(types, repositories, statuses, sources, is_everything=everything)
    WebhookDesk(url, api_key, is_json=json).update(
        webhook, name=name, target=target_of(target, target_env), wanted=wanted, is_enabled=is_enabled
    )


def remove(webhook: Id, url: options.Url = DEFAULT_URL, api_key: options.Key = None) -> None:
    """Remove one, with its messages."""
    from treadle.cli.webhooks import WebhookDesk

    WebhookDesk(url, api_key).remove(webhook)


def rotate(
    webhook: Id, json: options.Json = False, url: options.Url = DEFAULT_URL, api_key: options.Key = None
) -> None:
    """Give one another secret, printed once. For a day that of before signs too."""
    from treadle.cli.webhooks import WebhookDesk

    WebhookDesk(url, api_key, is_json=json).rotate(webhook)


def send_test(
    webhook: Id, json: options.Json = False, url: options.Url = DEFAULT_URL, api_key: options.Key = None
) -> None:
    """Send a test, and say what came back. Exits with 1 when it was not taken."""
    from treadle.cli.webhooks import WebhookDesk

    WebhookDesk(url, api_key, is_json=json).test(webhook)


def messages(
    webhook: Id,
    status: Annotated[Standing | None, typer.Option("--status", case_sensitive=False, help="Only those.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="How many at most.")] = 50,
    json: options.Json = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """List what it was told, is to be told, and was told in vain; the newest first."""
    from treadle.cli.webhooks import WebhookDesk

    WebhookDesk(url, api_key, is_json=json).messages(webhook, status, limit)


def resend(
    webhook: Id,
    message: Annotated[int | None, typer.Argument(metavar="[MESSAGE]", help="One message's id.")] = None,
    dead: Annotated[bool, typer.Option("--dead", help="All that are dead, in their order.")] = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Send a message again, or all that are dead."""
    if (message is None) is not dead:
        raise typer.BadParameter("give one of MESSAGE and --dead")
    from treadle.cli.webhooks import WebhookDesk

    WebhookDesk(url, api_key).resend(webhook, message)
