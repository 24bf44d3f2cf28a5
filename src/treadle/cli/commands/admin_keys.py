"""The keys that seal secrets at rest."""

from typing import Annotated

import typer

from treadle.cli import options

app = typer.Typer(name="keys", help="The keys that seal secrets at rest.", no_args_is_help=True)


@app.command("list")
def list_all(json: options.Json = False) -> None:
    """List the sealing keys by their ids: which one seals, and how many texts each has sealed."""
    from treadle.cli.administration_keys import KeyAdministration

    KeyAdministration(is_json=json).list()


@app.command()
def rotate(
    retire: Annotated[
        bool, typer.Option("--retire", help="Then take the old keys out of the file, if nothing is sealed by them.")
    ] = False,
    no_new_key: Annotated[
        bool, typer.Option("--no-new-key", help="Make none: seal anew with the first key that there is.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Seal every secret anew with another key, while services go on. A key file gets a new key before its old ones, and
    every process that uses the file takes it up by itself. Broken off, it may simply be begun again."""
    from treadle.cli.administration_keys import KeyAdministration

    KeyAdministration(is_json=json).rotate(makes_key=not no_new_key, retires=retire)
