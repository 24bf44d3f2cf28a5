"""Schedules: what a service starts by itself at times."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from treadle.cli import options
from treadle.cli.options import DEFAULT_URL

app = typer.Typer(name="schedule", help="What the service starts by itself at times.", no_args_is_help=True)


class OnMissed(StrEnum):
    """`domain.schedule.Missed`, whose import takes longer than `--help` may."""

    ONCE = "once"
    SKIP = "skip"
    ALL = "all"


class OnOverlap(StrEnum):
    """`domain.schedule.Overlap`, as above."""

    SKIP = "skip"
    WAIT = "wait"


Id = Annotated[int, typer.Argument(metavar="ID", help="The schedule's id.")]
CronText = Annotated[
    str | None,
    typer.Option("--cron", metavar="EXPRESSION", help="Minute, hour, day, month, weekday; or @daily and the like."),
]
TimeZone = Annotated[str | None, typer.Option("--time-zone", metavar="NAME", help="Such as Europe/Paris.")]
MissedOption = Annotated[
    OnMissed | None,
    typer.Option("--missed", help="Times at which the service was not there: made up for once, skipped, or all."),
]
OverlapOption = Annotated[
    OnOverlap | None,
    typer.Option("--overlap", help="Times at which what it started before is at work: skipped, or made to wait."),
]
Repo = Annotated[
    str | None, typer.Option("--repo", metavar="OWNER/NAME|URL", help="Where.", show_default="what the plan says")
]
BatchFile = Annotated[
    Path | None, typer.Option("--batch", metavar="FILE", help="A batch in place of a run: the JSON of POST /batches.")
]
Script = Annotated[
    str | None, typer.Option("--script", metavar="NAME[@VERSION]", help="A stored script in place of a plan.")
]
Inputs = Annotated[list[str] | None, typer.Option("--input", metavar="NAME=VALUE", help="Of the script; repeatable.")]


def register(parent: typer.Typer) -> None:
    """Adds the commands to `parent`."""
    for command in (add, show, update, remove, fire, firings):
        app.command()(command)
    app.command("list")(list_schedules)
    parent.add_typer(app)


def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called.")],
    cron: CronText = None,
    plan: options.PlanFile = None,
    repository_plan: options.RepositoryPlan = None,
    repo: Repo = None,
    var: options.Variables = None,
    batch: BatchFile = None,
    script: Script = None,
    script_input: Inputs = None,
    time_zone: TimeZone = None,
    missed: MissedOption = None,
    overlap: OverlapOption = None,
    off: Annotated[bool, typer.Option("--off", help="Not yet: `schedule update --on` switches it on.")] = False,
    json: options.Json = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Start a plan, a batch or a script at times, in your name."""
    if cron is None:
        raise typer.BadParameter("--cron is required")
    from treadle.cli.schedules import Desk, Target

    target = Target(plan, repository_plan, repo, tuple(var or ()), batch, script, tuple(script_input or ()))
    Desk(url, api_key, is_json=json).add(
        target, name=name, cron=cron, time_zone=time_zone, missed=missed, overlap=overlap, is_enabled=not off
    )


def list_schedules(json: options.Json = False, url: options.Url = DEFAULT_URL, api_key: options.Key = None) -> None:
    """List schedules and when each is due."""
    from treadle.cli.schedules import Desk

    Desk(url, api_key, is_json=json).list()


def show(schedule: Id, json: options.Json = False, url: options.Url = DEFAULT_URL, api_key: options.Key = None) -> None:
    """Show a schedule and its next times."""
    from treadle.cli.schedules import Desk

    Desk(url, api_key, is_json=json).show(schedule)


def update(
    schedule: Id,
    name: Annotated[str | None, typer.Option("--name", help="Another name.")] = None,
    cron: CronText = None,
    plan: options.PlanFile = None,
    repository_plan: options.RepositoryPlan = None,
    repo: Repo = None,
    var: options.Variables = None,
    batch: BatchFile = None,
    script: Script = None,
    script_input: Inputs = None,
    time_zone: TimeZone = None,
    missed: MissedOption = None,
    overlap: OverlapOption = None,
    on: Annotated[bool | None, typer.Option("--on/--off", help="Switch it on or off.")] = None,
    json: options.Json = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Change what is given of a schedule."""
    from treadle.cli.schedules import Desk, Target

    target = Target(plan, repository_plan, repo, tuple(var or ()), batch, script, tuple(script_input or ()))
    Desk(url, api_key, is_json=json).update(
        schedule, target, name=name, cron=cron, time_zone=time_zone, missed=missed, overlap=overlap, is_enabled=on
    )


def remove(schedule: Id, url: options.Url = DEFAULT_URL, api_key: options.Key = None) -> None:
    """Remove a schedule. What it has started goes on."""
    from treadle.cli.schedules import Desk

    Desk(url, api_key, is_json=False).remove(schedule)


def fire(schedule: Id, json: options.Json = False, url: options.Url = DEFAULT_URL, api_key: options.Key = None) -> None:
    """Have a schedule start what it starts now, once what it started before has ended."""
    from treadle.cli.schedules import Desk

    Desk(url, api_key, is_json=json).fire(schedule)


def firings(
    schedule: Id,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 20,
    json: options.Json = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """List a schedule's times and what became of each, the latest first."""
    from treadle.cli.schedules import Desk

    Desk(url, api_key, is_json=json).firings(schedule, limit)
