"""Whether this machine has what Treadle needs."""

import typer

from treadle.cli import options


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command()(doctor)


def doctor(json: options.Json = False) -> None:
    """Check this machine and its settings. Changes nothing; the exit code is 1 when something does not work."""
    from treadle.cli.health import check_up

    check_up(is_json=json)
