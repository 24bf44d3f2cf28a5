"""Files for runs to refer to."""

from pathlib import Path
from typing import Annotated

import typer

from treadle.cli import options
from treadle.cli.options import DEFAULT_URL

app = typer.Typer(name="files", help="Upload files that runs may refer to, and look after them.", no_args_is_help=True)

FileId = Annotated[str, typer.Argument(metavar="ID", help="The file's id.")]


def register(parent: typer.Typer) -> None:
    """Adds the commands to `parent`."""
    parent.add_typer(app)


@app.command()
def upload(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", exists=True, dir_okay=False, readable=True)],
    json: options.Json = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Upload files."""
    from treadle.cli.remote_files import RemoteFiles

    RemoteFiles(url, api_key, is_json=json).upload(paths)


@app.command("list")
def list_files(json: options.Json = False, url: options.Url = DEFAULT_URL, api_key: options.Key = None) -> None:
    """List your files, newest first."""
    from treadle.cli.remote_files import RemoteFiles

    RemoteFiles(url, api_key, is_json=json).list()


@app.command()
def get(
    file_id: FileId,
    to: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="PATH", help="Write it there; - is standard output.")
    ] = None,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Download a file, under its own name unless told otherwise."""
    from treadle.cli.remote_files import RemoteFiles

    RemoteFiles(url, api_key, is_json=False).get(file_id, to)


@app.command()
def rm(
    file_ids: Annotated[list[str], typer.Argument(metavar="ID...")],
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Delete files. One that a living run refers to is kept."""
    from treadle.cli.remote_files import RemoteFiles

    RemoteFiles(url, api_key, is_json=False).remove(file_ids)
