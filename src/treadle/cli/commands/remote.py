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
    var: options.Variables = None,
    repository_plan: options.RepositoryPlan = None,
    engine: options.Engine = None,
    guidelines: options.Guidelines = None,
    file: options.Files = None,
    structured: options.Structured = False,
    ssh_key: options.SshKey = None,
    http_credentials_env: options.HttpEnv = None,
    http_credentials_file: options.HttpFile = None,
    engine_key_env: options.EngineKeyEnv = None,
    engine_key_file: options.EngineKeyFile = None,
    max_cost: options.MaxCost = None,
    network: options.Network = None,
    validate: options.Validate = None,
    validate_tries: options.ValidateTries = None,
    diff: Annotated[bool, typer.Option("--diff", help="Let the finished run carry its diff.")] = False,
    follow: Annotated[bool, typer.Option("--watch", "-w", help="Watch it to its end.")] = False,
    json: options.Json = False,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Start a run on the service; takes what `run` takes, and plans that repositories hold themselves."""
    from treadle.cli.remote_runs import Remote

    remote = Remote(url, api_key, is_json=json)
    over = {
        "--step": step,
        "--analysis": analysis,
        "--structured": structured,
        "--engine": engine,
        "--guidelines": guidelines,
        "--network": network,
        "--validate": validate,
        "--validate-tries": validate_tries,
        "--ssh-key": ssh_key,
        "--http-credentials-env": http_credentials_env,
        "--http-credentials-file": http_credentials_file,
        "--engine-key-env": engine_key_env,
        "--engine-key-file": engine_key_file,
    }
    given = [name for name, value in over.items() if value]
    if repository_plan is not None or (plan is not None and not given):
        from treadle.cli.plans import plan_wish

        planned = plan_wish(
            plan,
            repository_plan,
            [*given, *(["--plan"] if plan is not None else [])],
            repo=repo,
            source=source,
            branch=branch,
            variables=var,
            files=file,
            max_cost=max_cost,
            wants_diff=diff,
        )
        remote.start(planned, wants_diff=diff, follows=follow)
        return
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
        max_cost=max_cost,
        network=network,
        validate=validate,
        validate_tries=validate_tries,
        variables=var,
    )
    remote.start(wanted, wants_diff=diff, follows=follow)


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
