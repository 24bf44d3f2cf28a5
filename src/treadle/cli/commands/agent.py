"""Agent runs of a service: prompts for registered repositories."""

from pathlib import Path
from typing import Annotated

import typer

from treadle.cli import options
from treadle.cli.options import DEFAULT_URL

app = typer.Typer(
    name="agent", help="Agent runs of a service: prompts for registered repositories.", no_args_is_help=True
)

RunNumber = Annotated[str, typer.Argument(metavar="ID", help="The agent run's number.")]
Prompt = Annotated[str, typer.Argument(metavar="PROMPT", help="What is to be done; - reads it from standard input.")]
Images = Annotated[list[Path] | None, typer.Option("--image", metavar="FILE", help="An image to look at. Repeatable.")]
Wait = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Follow it to its end, or only say its number. Ctrl-C leaves it going.")
]
NewMaxCost = Annotated[
    float | None,
    typer.Option(
        "--max-cost",
        metavar="USD",
        help="Another budget, for all that it has cost and will.",
        show_default="the one that it has",
    ),
]
Organization = Annotated[
    int | None, typer.Option("--org", metavar="N", help="The organization.", show_default="the key's own")
]


def register(parent: typer.Typer) -> None:
    """Adds the commands to `parent`."""
    parent.command()(resume)
    app.command("resume")(resume_run)
    for command in (list_runs, show, logs, ban, unban, repos):
        app.command("list" if command is list_runs else command.__name__)(command)
    parent.add_typer(app)


@app.command()
def run(
    prompt: Prompt,
    repo: Annotated[
        int | None,
        typer.Option("--repo", metavar="N", help="The repository.", show_default="the default, or the only one"),
    ] = None,
    image: Images = None,
    model: options.Model = None,
    agent_type: Annotated[
        str | None, typer.Option("--agent-type", metavar="NAME", help="codegen or claude_code.")
    ] = None,
    metadata: Annotated[
        list[str] | None, typer.Option("--metadata", metavar="KEY=VALUE", help="Kept with the run. Repeatable.")
    ] = None,
    max_cost: options.MaxCost = None,
    network: options.Network = None,
    validate: options.Validate = None,
    validate_tries: options.ValidateTries = None,
    wait: Wait = True,
    json: options.Json = False,
    org: Organization = None,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Have a prompt done on a registered repository; the exit code is 0 only if it succeeds."""
    from treadle.cli.agents import Agents

    Agents(url, api_key, org, is_json=json).run(
        prompt,
        repository=repo,
        images=image or (),
        model=model,
        agent_type=agent_type,
        metadata=metadata or (),
        max_cost_usd=options.budget(max_cost) if max_cost is not None else None,
        network=str(options.policy(network)) if network is not None else None,
        validation=options.validation(validate, validate_tries),
        waits=wait,
    )


def resume_run(
    run_id: RunNumber,
    prompt: Prompt,
    image: Images = None,
    max_cost: NewMaxCost = None,
    wait: Wait = True,
    json: options.Json = False,
    org: Organization = None,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Give an agent run another prompt: same branch, same conversation. One that goes on takes it up afterwards."""
    from treadle.cli.agents import Agents

    Agents(url, api_key, org, is_json=json).resume(
        run_id,
        prompt,
        images=image or (),
        max_cost_usd=options.budget(max_cost) if max_cost is not None else None,
        waits=wait,
    )


def resume(
    run_id: RunNumber,
    prompt: Prompt,
    image: Images = None,
    max_cost: NewMaxCost = None,
    wait: Wait = True,
    json: options.Json = False,
    org: Organization = None,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Give an agent run another prompt; short for `agent resume`."""
    resume_run(run_id, prompt, image, max_cost, wait, json, org, url, api_key)


def list_runs(
    user: Annotated[int | None, typer.Option("--user", metavar="N", help="Only those of that user.")] = None,
    source: Annotated[str | None, typer.Option("--source", metavar="NAME", help="Only those, such as API.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most that many, the newest.")] = 20,
    json: options.Json = False,
    org: Organization = None,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """List agent runs, newest first."""
    from treadle.cli.agents import Agents

    Agents(url, api_key, org, is_json=json).list(user, source, limit)


def show(
    run_id: RunNumber,
    json: options.Json = False,
    org: Organization = None,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Show an agent run as it is: its status, pull requests and answer."""
    from treadle.cli.agents import Agents

    Agents(url, api_key, org, is_json=json).show(run_id)


def logs(
    run_id: RunNumber,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
    reverse: Annotated[bool, typer.Option("--reverse", help="The newest first.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most that many.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Show long texts whole, below their line.")] = False,
    json: options.Json = False,
    org: Organization = None,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Print what an agent run did, one line an entry."""
    if follow and reverse:
        raise typer.BadParameter("give one of --follow and --reverse")
    from treadle.cli.agents import Agents

    Agents(url, api_key, org, is_json=json).logs(run_id, follows=follow, is_reverse=reverse, limit=limit, is_full=full)


def ban(
    run_id: RunNumber,
    json: options.Json = False,
    org: Organization = None,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Stop an agent run and all others on its branch; nothing reacts to that branch's checks any more."""
    from treadle.cli.agents import Agents

    Agents(url, api_key, org, is_json=json).ban(run_id)


def unban(
    run_id: RunNumber,
    json: options.Json = False,
    org: Organization = None,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Take a ban back. What was stopped stays so."""
    from treadle.cli.agents import Agents

    Agents(url, api_key, org, is_json=json).unban(run_id)


def repos(
    json: options.Json = False,
    org: Organization = None,
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """List the registered repositories, with the numbers that --repo takes."""
    from treadle.cli.agents import Agents

    Agents(url, api_key, org, is_json=json).repositories()
