"""Runs of a service, through its API."""

from typing import Annotated

import typer

from treadle.cli import options
from treadle.cli.options import DEFAULT_URL, StepCommand, wish
from treadle.domain.states import RunStatus

RunId = Annotated[str, typer.Argument(metavar="ID", help="The run's id, or the beginning of it.")]


def register(app: typer.Typer) -> None:
    """Adds the commands to `app`."""
    app.command(cls=StepCommand)(start)
    for command in (list_runs, show, watch, logs, diff, kill):
        app.command("list" if command is list_runs else command.__name__)(command)


def start(
    ctx: typer.Context,
    *,
    repo: options.Repo = None,
    branch: options.Branch = None,
    source: options.Source = None,
    step: options.Steps = None,
    analysis: options.Analyses = None,
    plan: options.PlanFile = None,
    engine: options.Engine = None,
    guidelines: options.Guidelines = None,
    file: options.Files = None,
    structured: options.Structured = False,
    ssh_key: options.SshKey = None,
    http_credentials_env: options.HttpEnv = None,
    http_credentials_file: options.HttpFile = None,
    engine_key_env: options.EngineKeyEnv = None,
    engine_key_file: options.EngineKeyFile = None,
    diff: Annotated[bool, typer.Option("--diff", help="Let the finished run carry its diff.")] = False,
    follow: Annotated[bool, typer.Option("--watch", "-w", help="Watch it to its end.")] = False,
    json: options.Json = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Start a run on the service; takes what `run` takes."""
    wanted = wish(
        ctx,
        repo=repo,
        branch=branch,
        source=source,
        steps=step,
        analyses=analysis,
        structured=structured,
        plan=plan,
        engine=engine,
        guidelines=guidelines,
        files=file,
        ssh_key=ssh_key,
        http_env=http_credentials_env,
        http_file=http_credentials_file,
        key_env=engine_key_env,
        key_file=engine_key_file,
    )
    from treadle.cli.remote_runs import Remote

    Remote(url, api_key, is_json=json).start(wanted, wants_diff=diff, follows=follow)


def list_runs(
    status: Annotated[RunStatus | None, typer.Option(case_sensitive=False, help="Only those.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most that many, the newest.")] = 20,
    json: options.Json = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """List runs, newest first."""
    from treadle.cli.remote_runs import Remote

    Remote(url, api_key, is_json=json).list(status, limit)


def show(
    run_id: RunId, json: options.Json = False, url: options.Url = DEFAULT_URL, api_key: options.Key = None
) -> None:
    """Show a run as it is: its steps, answers and commits."""
    from treadle.cli.remote_runs import Remote

    Remote(url, api_key, is_json=json).show(run_id)


def watch(
    run_id: RunId, json: options.Json = False, url: options.Url = DEFAULT_URL, api_key: options.Key = None
) -> None:
    """Follow a run to its end; the exit code is 0 only if it succeeds. Ctrl-C leaves it running."""
    from treadle.cli.remote_runs import Remote

    Remote(url, api_key, is_json=json).watch(run_id)


def logs(
    run_id: RunId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Show long texts whole, below their line.")] = False,
    json: options.Json = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Print what happened in a run, one line an event."""
    from treadle.cli.remote_runs import Remote

    Remote(url, api_key, is_json=json).logs(run_id, follows=follow, is_full=full)


def diff(
    run_id: RunId,
    stat: Annotated[bool, typer.Option("--stat", help="Only the changed files.")] = False,
    patch: Annotated[bool, typer.Option("--patch", help="The patch byte for byte, as `git apply` takes it.")] = False,
    json: Annotated[bool, typer.Option("--json", help="The structured diff.")] = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Show what a run has changed so far."""
    if stat + patch + json > 1:
        raise typer.BadParameter("give one of --stat, --patch and --json")
    from treadle.cli.remote_runs import Remote

    Remote(url, api_key, is_json=json).diff(run_id, is_stat=stat, is_raw=patch)


def kill(
    run_id: RunId, json: options.Json = False, url: options.Url = DEFAULT_URL, api_key: options.Key = None
) -> None:
    """End a run. What it has pushed stays."""
    from treadle.cli.remote_runs import Remote

    Remote(url, api_key, is_json=json).kill(run_id)
