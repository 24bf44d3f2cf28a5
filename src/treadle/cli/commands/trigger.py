"""Triggers: what forges, CI and trackers wake runs by."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from treadle.cli import options
from treadle.cli.options import DEFAULT_URL

app = typer.Typer(name="trigger", help="What forges, CI and trackers wake runs by.", no_args_is_help=True)


class Kind(StrEnum):
    """`domain.triggers.TriggerKind`, whose import takes longer than `--help` may."""

    CHECK = "check"
    ISSUE = "issue"
    COMMENT = "comment"
    REVIEW = "review"
    URL = "url"


Id = Annotated[str, typer.Argument(metavar="ID", help="The trigger's id.")]
Many = list[str] | None


def register(parent: typer.Typer) -> None:
    """Adds the commands to `parent`."""
    for command in (add, show, remove, deliveries, redeliver, rotate):
        app.command()(command)
    app.command("list")(list_triggers)
    parent.add_typer(app)


def add(
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="check, issue, comment, review or url.")],
    name: Annotated[str | None, typer.Option("--name", help="What it is called.", show_default="its kind")] = None,
    repo: Annotated[str | None, typer.Option("--repo", metavar="OWNER/NAME", help="A registered repository.")] = None,
    plan: Annotated[
        Path | None, typer.Option("--plan", metavar="FILE", help="What is done, as YAML; a url needs one.")
    ] = None,
    label: Annotated[Many, typer.Option("--label", help="Of issues that start a run; repeatable.")] = None,
    assignee: Annotated[Many, typer.Option("--assignee", metavar="LOGIN", help="The same; repeatable.")] = None,
    reviewer: Annotated[Many, typer.Option("--reviewer", metavar="LOGIN", help="Who is asked; repeatable.")] = None,
    mention: Annotated[str | None, typer.Option("--mention", help="What calls it.", show_default="@treadle")] = None,
    allow: Annotated[
        Many,
        typer.Option("--from", metavar="LOGIN", help="Who may wake it: logins, members or anyone; repeatable."),
    ] = None,
    heed_token_owner: Annotated[
        bool, typer.Option("--heed-token-owner", help="Heed what the account of the repository's token does too.")
    ] = False,
    hook: Annotated[str | None, typer.Option("--hook", metavar="ID", help="One that is there already.")] = None,
    json: options.Json = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Add a trigger, and print where its sender delivers to, and once the secret."""
    from treadle.cli.triggers import Bench

    settings = {"labels": label, "assignees": assignee, "reviewers": reviewer, "mention": mention, "from": allow}
    if heed_token_owner:
        settings["heedsTokenOwner"] = True  # type: ignore[assignment]  # the others are texts
    Bench(url, api_key, is_json=json).add(kind.value, name or kind.value, repo, plan, hook, settings)


def list_triggers(json: options.Json = False, url: options.Url = DEFAULT_URL, api_key: options.Key = None) -> None:
    """List triggers."""
    from treadle.cli.triggers import Bench

    Bench(url, api_key, is_json=json).list()


def show(trigger: Id, json: options.Json = False, url: options.Url = DEFAULT_URL, api_key: options.Key = None) -> None:
    """Show a trigger."""
    from treadle.cli.triggers import Bench

    Bench(url, api_key, is_json=json).show(trigger)


def remove(trigger: Id, url: options.Url = DEFAULT_URL, api_key: options.Key = None) -> None:
    """Remove a trigger; the last one of a hook takes the hook along."""
    from treadle.cli.triggers import Bench

    Bench(url, api_key, is_json=False).remove(trigger)


def deliveries(
    trigger: Id,
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, help="How many at most.")] = 20,
    json: options.Json = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """List what its hook took in, and what followed."""
    from treadle.cli.triggers import Bench

    Bench(url, api_key, is_json=json).deliveries(trigger, limit)


def redeliver(
    trigger: Id,
    delivery: Annotated[int, typer.Argument(metavar="DELIVERY", help="The delivery's id.")],
    json: options.Json = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Have a delivery worked off again."""
    from treadle.cli.triggers import Bench

    Bench(url, api_key, is_json=json).redeliver(trigger, delivery)


def rotate(
    trigger: Id, json: options.Json = False, url: options.Url = DEFAULT_URL, api_key: options.Key = None
) -> None:
    """Give its hook another secret, and print it; the one before counts too for a day."""
    from treadle.cli.triggers import Bench

    Bench(url, api_key, is_json=json).rotate(trigger)
