"""Batches: one plan on many repositories of a service."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from treadle.cli import options
from treadle.cli.options import DEFAULT_URL

app = typer.Typer(name="batch", help="One plan on many repositories of a service.", no_args_is_help=True)


class Form(StrEnum):
    """`services.batch_report.ReportForm`, whose import takes longer than `--help` may."""

    CSV = "csv"
    JSON = "json"
    MD = "md"


Id = Annotated[str, typer.Argument(metavar="ID", help="The batch's id.")]
Wait = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Watch it to its end, or only say its id. Ctrl-C leaves it going.")
]


def register(parent: typer.Typer) -> None:
    """Adds the commands to `parent`."""
    for command in (start, show, watch, report, retry, kill):
        app.command()(command)
    app.command("list")(list_batches)
    parent.add_typer(app)


def start(
    plan: Annotated[Path, typer.Option("--plan", metavar="FILE", help="YAML: what is to be done on each.")],
    repository: Annotated[
        list[str] | None,
        typer.Option("--repository", metavar="ID|OWNER/NAME|URL", help="One of the repositories. Repeatable."),
    ] = None,
    targets: Annotated[
        Path | None,
        typer.Option(
            "--targets",
            metavar="FILE",
            help="A CSV file with a column repository or url and one a variable, or a YAML list.",
        ),
    ] = None,
    everywhere: Annotated[bool, typer.Option("--all", help="Every registered repository.")] = False,
    name_like: Annotated[
        str | None,
        typer.Option(
            "--filter", metavar="PATTERN", help="Registered ones whose OWNER/NAME matches, such as acme/web-*."
        ),
    ] = None,
    language: Annotated[str | None, typer.Option("--language", metavar="NAME", help="Registered ones of it.")] = None,
    variable: Annotated[
        list[str] | None, typer.Option("--var", metavar="NAME=VALUE", help="A variable of the plan. Repeatable.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="TEXT", help="What it is called.")] = None,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", metavar="N", min=1, help="Runs at once.", show_default="10")
    ] = None,
    stop_after: Annotated[
        int | None,
        typer.Option("--stop-after", metavar="N", min=1, help="Start no more after so many failures."),
    ] = None,
    max_cost: Annotated[
        float | None, typer.Option("--max-cost", metavar="USD", help="What all its runs together may cost.")
    ] = None,
    wait: Wait = False,
    json: options.Json = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Start a plan on many repositories; with --wait the exit code is 0 only if all of them succeed."""
    if not (repository or targets or everywhere or name_like or language):
        raise typer.BadParameter("name repositories: --repository, --targets, --filter, --language or --all")
    from treadle.cli.batch_targets import named, targets_in
    from treadle.cli.batches import Batches, Wanted
    from treadle.cli.steps import read_text, values_of

    wanted = Wanted(
        plan=read_text(plan.expanduser()),
        targets=[*map(named, repository or ()), *(targets_in(targets) if targets is not None else ())],
        name_like=name_like,
        language=language,
        everywhere=everywhere,
        variables=values_of(variable or ()),
        name=name,
        concurrency=concurrency,
        stop_after_failures=stop_after,
        max_cost_usd=options.budget(max_cost) if max_cost is not None else None,
    )
    Batches(url, api_key, is_json=json).start(wanted, waits=wait)


def list_batches(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most that many, the newest.")] = 20,
    json: options.Json = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """List batches, newest first."""
    from treadle.cli.batches import Batches

    Batches(url, api_key, is_json=json).list(limit)


def show(
    batch_id: Id,
    status: Annotated[
        list[str] | None, typer.Option("--status", metavar="NAME", help="Only repositories that stand so. Repeatable.")
    ] = None,
    json: options.Json = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Show a batch as it is, and each of its repositories."""
    from treadle.cli.batches import Batches

    Batches(url, api_key, is_json=json).show(batch_id, status or ())


def watch(
    batch_id: Id, json: options.Json = False, url: options.Url = DEFAULT_URL, api_key: options.Key = None
) -> None:
    """Watch a batch to its end; the exit code is 0 only if it succeeds."""
    from treadle.cli.batches import Batches

    Batches(url, api_key, is_json=json).watch(batch_id)


def report(
    batch_id: Id,
    form: Annotated[Form, typer.Option("--format", case_sensitive=False, help="Of the report.")] = Form.CSV,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Print a batch's report: a row for each repository."""
    from treadle.cli.batches import Batches

    Batches(url, api_key, is_json=False).report(batch_id, form)


def retry(
    batch_id: Id,
    wait: Wait = False,
    json: options.Json = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Try again what failed, was killed or skipped in a batch."""
    from treadle.cli.batches import Batches

    Batches(url, api_key, is_json=json).retry(batch_id, waits=wait)


def kill(batch_id: Id, json: options.Json = False, url: options.Url = DEFAULT_URL, api_key: options.Key = None) -> None:
    """Kill a batch and its runs, and wait until they have ended."""
    from treadle.cli.batches import Batches

    Batches(url, api_key, is_json=json).kill(batch_id)
