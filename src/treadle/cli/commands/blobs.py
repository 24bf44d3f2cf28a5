"""The place where bytes are kept: files, artifacts, checkpoints."""

from typing import Annotated

import typer

from treadle.cli import options

app = typer.Typer(name="blobs", help="Look after the place of files, artifacts and checkpoints.", no_args_is_help=True)

_PLACE = "file:///PATH|s3://BUCKET/PREFIX"


def register(parent: typer.Typer) -> None:
    """Adds the commands to `parent`."""
    parent.add_typer(app)


@app.command()
def copy(
    to: Annotated[str, typer.Option("--to", metavar=_PLACE, help="Where to.")],
    source: Annotated[
        str | None,
        typer.Option(
            "--from", metavar=_PLACE, help="Where from.", show_default="TREADLE_BLOB_URL, or the data directory"
        ),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Also compare the contents, of what is there already, too.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Copy every blob to another place; what is there already is left out. Services may go on meanwhile: copy, have
    them use the new place, copy again. The exit code is 1 unless all are there."""
    from treadle.cli.blob_places import copy as work

    work(source, to, verify=verify, is_json=json)


@app.command()
def check(json: options.Json = False) -> None:
    """Write, read, list and delete in the place that TREADLE_BLOB_URL names; the exit code is 2 unless it works."""
    from treadle.cli.blob_places import check as work

    work(is_json=json)
