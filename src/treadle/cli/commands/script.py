"""Scripts in Starlark."""

from pathlib import Path
from typing import Annotated

import typer

from treadle.cli import options
from treadle.cli.options import DEFAULT_URL

app = typer.Typer(name="script", help="Run scripts that start runs and wait for them.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(metavar="FILE", help="The script, in Starlark.")]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="NAME=VALUE", help="An input of the script, a text. Repeatable."),
]
InputsFile = Annotated[Path | None, typer.Option("--inputs-file", metavar="FILE", help="Inputs as a JSON object.")]
Stored = Annotated[str, typer.Argument(metavar="SCRIPT", help="A stored script: its name or id.")]
Version = Annotated[int | None, typer.Option("--version", min=1, help="Of the script.", show_default="the newest")]
RunId = Annotated[int, typer.Argument(metavar="RUN", help="The id of a run of a script.")]


def register(parent: typer.Typer) -> None:
    """Adds the commands to `parent`."""
    parent.add_typer(app)


@app.command()
def run(
    file: File,
    inputs: Inputs = None,
    inputs_file: InputsFile = None,
    journal: Annotated[
        Path | None,
        typer.Option(
            "--journal",
            metavar="FILE",
            help="Keep there what the script's calls were answered. The same command goes on from it, and starts no "
            "run twice.",
        ),
    ] = None,
    json: options.Json = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Run a script here; its runs are the service's. The exit code is 0 only if it ends well."""
    from treadle.cli.scripts import Scripts, inputs_of

    Scripts(file, is_json=json).run(url, api_key, inputs=inputs_of(inputs or (), inputs_file), journal=journal)


@app.command()
def check(file: File, json: options.Json = False) -> None:
    """Say what is wrong with a script, without running it."""
    from treadle.cli.scripts import Scripts

    Scripts(file, is_json=json).check()


@app.command()
def save(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is called there.")],
    file: File,
    description: Annotated[str | None, typer.Option("--description", metavar="TEXT", help="What it is for.")] = None,
    if_version: Annotated[
        int | None,
        typer.Option(
            "--if-version", metavar="N", min=0, help="Only while that is its newest version; 0: only where it is new."
        ),
    ] = None,
    json: options.Json = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Store a script on the service; one of that name gets another version."""
    from treadle.cli.script_runs import StoredScripts

    StoredScripts(url, api_key, is_json=json).save(name, file, description, if_version)


@app.command("list")
def list_scripts(json: options.Json = False, url: options.Url = DEFAULT_URL, api_key: options.Key = None) -> None:
    """List the scripts that are stored on the service."""
    from treadle.cli.script_runs import StoredScripts

    StoredScripts(url, api_key, is_json=json).list()


@app.command()
def show(
    script: Stored,
    version: Version = None,
    json: options.Json = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Print the source of a stored script."""
    from treadle.cli.script_runs import StoredScripts

    StoredScripts(url, api_key, is_json=json).show(script, version)


@app.command()
def start(
    script: Stored,
    inputs: Inputs = None,
    inputs_file: InputsFile = None,
    version: Version = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Until it has ended; the exit code is 0 only if it ends well.")
    ] = False,
    json: options.Json = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Run a stored script on the service, in your name."""
    from treadle.cli.script_runs import StoredScripts
    from treadle.cli.scripts import inputs_of

    found = inputs_of(inputs or (), inputs_file)
    StoredScripts(url, api_key, is_json=json).start(script, found, version, is_waiting=wait)


@app.command()
def runs(
    script: Annotated[str | None, typer.Argument(metavar="[SCRIPT]", help="Of this script: its name or id.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="At most so many.")] = 20,
    json: options.Json = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """List runs of scripts on the service, newest first."""
    from treadle.cli.script_runs import StoredScripts

    StoredScripts(url, api_key, is_json=json).runs(script, limit)


@app.command()
def logs(
    run: RunId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    json: options.Json = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Print what a script on the service has said."""
    from treadle.cli.script_runs import StoredScripts

    StoredScripts(url, api_key, is_json=json).logs(run, is_followed=follow)


@app.command()
def kill(run: RunId, json: options.Json = False, url: options.Url = DEFAULT_URL, api_key: options.Key = None) -> None:
    """End a script on the service. The runs that it started go on."""
    from treadle.cli.script_runs import StoredScripts

    StoredScripts(url, api_key, is_json=json).kill(run)


@app.command()
def remove(script: Stored, url: options.Url = DEFAULT_URL, api_key: options.Key = None) -> None:
    """Remove a stored script. Its runs go on, and stay."""
    from treadle.cli.script_runs import StoredScripts

    StoredScripts(url, api_key, is_json=False).remove(script)
