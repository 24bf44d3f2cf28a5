"""`treadle run`: here, now, without a server."""

import typer

from treadle.cli import options
from treadle.cli.options import StepCommand, wish

_HELP = """Run steps on a repository, here and now, without a server.

Each --step ends in a commit that is pushed to the work branch; an --analysis only reads and answers. They are done in
the order in which they are given. The engine's key is that of --engine-key-env, TREADLE_CLAUDE_API_KEY or
ANTHROPIC_API_KEY (for Kimi TREADLE_KIMI_API_KEY or MOONSHOT_API_KEY); --engine Dummy needs none. Ctrl-C kills the run:
what is pushed stays."""


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command(cls=StepCommand, help=_HELP)(run)


def run(
    ctx: typer.Context,
    *,
    repo: options.Repo = None,
    branch: options.Branch = None,
    source: options.LocalSource = None,
    step: options.Steps = None,
    analysis: options.Analyses = None,
    plan: options.PlanFile = None,
    var: options.Variables = None,
    engine: options.Engine = None,
    model: options.Model = None,
    guidelines: options.Guidelines = None,
    file: options.Files = None,
    structured: options.Structured = False,
    ssh_key: options.SshKey = None,
    http_credentials_env: options.HttpEnv = None,
    http_credentials_file: options.HttpFile = None,
    engine_key_env: options.LocalEngineKeyEnv = None,
    engine_key_file: options.EngineKeyFile = None,
    max_cost: options.MaxCost = None,
    network: options.Network = None,
    validate: options.Validate = None,
    validate_tries: options.ValidateTries = None,
    diff: options.Diff = None,
    json: options.Json = False,
) -> None:
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
    from treadle.cli.local_run import Manner, run_locally

    run_locally(wanted, Manner(model=model or wanted.model, diff=diff, is_json=json, is_debug=options.is_debug(ctx)))
