"""Secrets of repositories: variables of the environment of their setup commands and steps."""

import os
from pathlib import Path
from typing import Annotated

import typer

from treadle.cli import options
from treadle.cli.commands.admin_options import Name, Org

app = typer.Typer(name="secret", help="Secrets for a repository's setup commands and steps.", no_args_is_help=True)

Variable = Annotated[str, typer.Argument(metavar="VARIABLE", help="Its name in their environment.")]


@app.command("list")
def list_all(name: Name, organization: Org = 1, json: options.Json = False) -> None:
    """List a repository's secrets by their names. Their values come back by no door."""
    from treadle.cli.administration_secrets import SecretAdministration

    SecretAdministration(organization, name, is_json=json).list()


@app.command("set")
def set_one(
    name: Name,
    variable: Variable,
    organization: Org = 1,
    value_env: Annotated[
        str | None,
        typer.Option(
            "--value-env",
            metavar="NAME",
            help="The variable of yours that holds the value.",
            show_default="the one of the same name",
        ),
    ] = None,
    value_file: Annotated[
        Path | None, typer.Option("--value-file", metavar="FILE", help="The file that holds it.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Give a repository a secret, or another value for one. The next command of each run has it. A file's only line
    loses its line end; one of several lines stays as it is."""
    from treadle.cli.administration_secrets import SecretAdministration

    SecretAdministration(organization, name, is_json=json).set(variable, _value(variable, value_env, value_file))


@app.command()
def remove(name: Name, variable: Variable, organization: Org = 1) -> None:
    """Take a secret of a repository away."""
    from treadle.cli.administration_secrets import SecretAdministration

    SecretAdministration(organization, name).remove(variable)


def _value(name: str, variable: str | None, file: Path | None) -> str:
    """Never from the command line, which other users of the machine can read."""
    if variable is not None and file is not None:
        raise typer.BadParameter("give --value-env or --value-file, not both.")
    if file is not None:
        from treadle.cli.steps import read_text

        text = read_text(file.expanduser())
        return text.rstrip("\r\n") if text.count("\n") == 1 else text
    found = os.environ.get(variable or name)
    if found is None:
        raise typer.BadParameter(
            f"the variable {variable or name} is not set; --value-env or --value-file names a place."
        )
    return found
