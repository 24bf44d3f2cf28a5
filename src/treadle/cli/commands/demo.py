"""The main job on a sample repository."""

from pathlib import Path
from typing import Annotated

import typer

from treadle.cli import options


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command()(demo)


def demo(
    ctx: typer.Context,
    keep: Annotated[
        Path | None, typer.Option("--keep", metavar="DIR", help="Leave the repository and the trace there.")
    ] = None,
    json: options.Json = False,
) -> None:
    """See the main job on a sample repository: three steps by the Dummy engine, no key, no network.

    The repository is made for it, and gone afterwards unless you keep it.
    """
    from treadle.cli.demo import demonstrate

    demonstrate(keep, is_json=json, is_debug=options.is_debug(ctx))
