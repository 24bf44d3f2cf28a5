"""What runs of a service leave behind."""

from pathlib import Path
from typing import Annotated

import typer

from treadle.cli import options
from treadle.cli.commands.remote import RunId
from treadle.cli.options import DEFAULT_URL


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command()(artifacts)


def artifacts(
    run_id: RunId,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Download this one.")] = None,
    to: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="PATH", help="Write it there; - is standard output.")
    ] = None,
    json: options.Json = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """List what a run has left, such as the uncommitted work of a step that failed; with NAME, download it."""
    if name is None and to is not None:
        raise typer.BadParameter("--output needs the NAME of what to download")
    if name is not None and json:
        raise typer.BadParameter("--json is for the list")
    from treadle.cli.remote_artifacts import RemoteArtifacts

    remote = RemoteArtifacts(url, api_key, is_json=json)
    if name is None:
        remote.list(run_id)
    else:
        remote.get(run_id, name, to)
