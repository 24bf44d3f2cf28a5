"""What runs cost, and may: of a service, through its API."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import typer

from treadle.cli import options
from treadle.cli.options import DEFAULT_URL


class Row(StrEnum):
    """`ports.page.UsageBy`, whose import takes longer than `--help` may."""

    DAY = "day"
    MONTH = "month"
    USER = "user"
    REPOSITORY = "repository"
    RUN = "run"
    STEP = "step"


By = Annotated[Row, typer.Option("--by", case_sensitive=False, help="What has a row.")]
First = Annotated[
    datetime | None,
    typer.Option("--first", metavar="DAY", formats=["%Y-%m-%d"], help="The first day.", show_default="30 days ago"),
]
Last = Annotated[
    datetime | None,
    typer.Option("--last", metavar="DAY", formats=["%Y-%m-%d"], help="The last day.", show_default="today, in UTC"),
]
Csv = Annotated[bool, typer.Option("--csv", help="Print a table for a spreadsheet.")]


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    app.command()(usage)
    app.command()(budget)


def usage(
    by: By = Row.DAY,
    first: First = None,
    last: Last = None,
    own: Annotated[bool, typer.Option("--own", help="Your own alone, whatever you may see.")] = False,
    csv: Csv = False,
    json: options.Json = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Show what runs cost and used: the organization's, or your own where you may not see others' runs."""
    if csv and json:
        raise typer.BadParameter("give one of --csv and --json")
    from treadle.cli.bill import Bill, Period

    period = Period(by, first.date() if first else None, last.date() if last else None, own=own)
    Bill(url, api_key, is_json=json).usage(period, is_csv=csv)


def budget(
    max_cost: Annotated[
        str | None, typer.Option("--max-cost", metavar="USD", help="Of a run that names no budget; '' for none.")
    ] = None,
    monthly_cost: Annotated[
        str | None,
        typer.Option("--monthly-cost", metavar="USD", help="Of all runs in a calendar month, in UTC; '' for no cap."),
    ] = None,
    json: options.Json = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Show what the organization's runs may cost and have cost this month; or, for an ADMIN, set it."""
    from treadle.cli.bill import Bill

    Bill(url, api_key, is_json=json).budget(max_cost, monthly_cost)
