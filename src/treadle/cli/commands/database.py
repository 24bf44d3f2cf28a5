"""The database's schema."""

import typer

from treadle.cli import options

app = typer.Typer(name="db", help="Look after the database.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Adds the commands to `parent`."""
    parent.add_typer(app)


@app.command()
def upgrade(json: options.Json = False) -> None:
    """Bring the database up to this version's schema; harmless when it is."""
    from treadle.cli.schema import upgrade as work

    work(is_json=json)


@app.command()
def current(json: options.Json = False) -> None:
    """Say which schema the database has; the exit code is 1 unless it is this version's."""
    from treadle.cli.schema import current as work

    work(is_json=json)
