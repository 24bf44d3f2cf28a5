"""Plans: what is wrong with them, their schema, and those that repositories hold."""

from pathlib import Path
from typing import Annotated

import typer

from treadle.cli import options
from treadle.cli.options import DEFAULT_URL

app = typer.Typer(name="plan", help="Plans: runs as YAML files.", no_args_is_help=True)

PlanFiles = Annotated[list[Path], typer.Argument(metavar="FILE", help="A plan.")]
RepositoryName = Annotated[
    str, typer.Option("--repository", metavar="OWNER/NAME", help="A repository that is registered at the service.")
]
OnBranch = Annotated[
    str | None,
    typer.Option("--branch", metavar="NAME", help="The branch to look at.", show_default="the default one"),
]


def register(parent: typer.Typer) -> None:
    """Adds the commands to `parent`."""
    for command in (check, schema):
        app.command()(command)
    app.command("list")(list_plans)
    parent.add_typer(app)


def check(file: PlanFiles, json: options.Json = False) -> None:
    """Say every fault of plans with its line; nothing runs. The exit code is 0 only if there is none."""
    from treadle.cli import plans

    plans.check(file, is_json=json)


def schema() -> None:
    """Print the JSON Schema of plans, for an editor."""
    from treadle.cli import output
    from treadle.services.plan_schema import schema_json

    output.line(schema_json().removesuffix("\n"))


def list_plans(
    repository: RepositoryName,
    branch: OnBranch = None,
    json: options.Json = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """List the plans that a repository holds itself, in .treadle/plans."""
    from treadle.cli import interrupts, plans

    interrupts.run(plans.show_of(url, api_key, repository, branch, is_json=json))
