"""Registered repositories, their credentials, and what is set for them."""

import os
from pathlib import Path
from typing import Annotated

import typer

from treadle.cli import options
from treadle.cli.commands import admin_repo_secret
from treadle.cli.commands.admin_options import Clear, Name, Org, Text, TextFile
from treadle.domain.repository import ForgeKind

app = typer.Typer(name="repo", help="Registered repositories and their credentials.", no_args_is_help=True)
setup = typer.Typer(name="setup", help="Setup commands of repositories.", no_args_is_help=True)
app.add_typer(setup)
app.add_typer(admin_repo_secret.app)

SshKey = Annotated[Path | None, typer.Option("--ssh-key", metavar="FILE", help="The private key for it.")]
ForgeOption = Annotated[
    ForgeKind | None,
    typer.Option(
        "--forge", case_sensitive=False, help="Where pull requests are.", show_default="known for well-known hosts"
    ),
]
ForgeApi = Annotated[
    str | None,
    typer.Option("--forge-api-url", metavar="URL", help="The forge's API.", show_default="the usual path on the host"),
]
TokenEnv = Annotated[
    str | None, typer.Option("--forge-token-env", metavar="NAME", help="The variable that holds the forge's token.")
]
TokenFile = Annotated[Path | None, typer.Option("--forge-token-file", metavar="FILE", help="The file that holds it.")]
Description = Annotated[str | None, typer.Option("--description", metavar="TEXT", help="What it is for.")]
NoCheck = Annotated[bool, typer.Option("--no-check", help="Keep it without asking whether it can be reached.")]

#: The forge's token of a repository that is added, where no option names another place.
TOKEN_VARIABLE = "TREADLE_FORGE_TOKEN"  # noqa: S105 - a variable's name


@app.command()
def add(
    name: Annotated[str, typer.Option("--name", metavar="OWNER/NAME")],
    url: Annotated[str, typer.Option("--url", metavar="URL", help="Its address, without credentials.")],
    organization: Org = 1,
    default_branch: Annotated[
        str | None, typer.Option("--default-branch", metavar="NAME", show_default="the remote's HEAD")
    ] = None,
    http_credentials_env: options.HttpEnv = None,
    http_credentials_file: options.HttpFile = None,
    ssh_key: SshKey = None,
    forge: ForgeOption = None,
    forge_api_url: ForgeApi = None,
    forge_token_env: TokenEnv = None,
    forge_token_file: TokenFile = None,
    no_check: NoCheck = False,
    json: options.Json = False,
) -> None:
    """Register a repository. Runs on it that bring no credentials use these.

    It is looked at first, and nothing is kept when it cannot be reached. Without --forge-token-env and
    --forge-token-file the forge's token is TREADLE_FORGE_TOKEN's, else the password of the HTTP credentials.
    """
    from treadle.cli.administration_repositories import Registration, RepositoryAdministration

    token = options.secret(forge_token_env, forge_token_file, "--forge-token")
    given = Registration(
        url=url,
        default_branch=default_branch,
        http=options.secret(http_credentials_env, http_credentials_file, "--http-credentials"),
        ssh_key=ssh_key,
        forge=forge,
        forge_api_url=forge_api_url,
        forge_token=token or os.environ.get(TOKEN_VARIABLE, "").strip() or None,
    )
    RepositoryAdministration(organization, is_json=json).add(name, url, given, is_checked=not no_check)


@app.command()
def update(
    name: Name,
    url: Annotated[str | None, typer.Option("--url", metavar="URL", help="Its new address.")] = None,
    organization: Org = 1,
    default_branch: Annotated[str | None, typer.Option("--default-branch", metavar="NAME")] = None,
    http_credentials_env: options.HttpEnv = None,
    http_credentials_file: options.HttpFile = None,
    ssh_key: SshKey = None,
    no_credentials: Annotated[bool, typer.Option("--no-credentials", help="Forget those that it has.")] = False,
    forge: ForgeOption = None,
    forge_api_url: ForgeApi = None,
    forge_token_env: TokenEnv = None,
    forge_token_file: TokenFile = None,
    no_forge: Annotated[bool, typer.Option("--no-forge", help="Forget the forge and its token.")] = False,
    description: Description = None,
    visibility: Annotated[
        str | None, typer.Option("--visibility", metavar="public|private|internal", help="Who may see it.")
    ] = None,
    language: Annotated[str | None, typer.Option("--language", metavar="NAME", help="What most of it is in.")] = None,
    archived: Annotated[
        bool | None,
        typer.Option("--archived/--not-archived", help="Whether nobody works on it now.", show_default="unchanged"),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            "--network",
            metavar="POLICY",
            help="Of runs that bring none: none, model, allow:HOST,… or full; '' for the service's.",
            show_default="unchanged",
        ),
    ] = None,
    scan_secrets: Annotated[
        bool | None,
        typer.Option(
            "--scan-secrets/--no-scan-secrets",
            help="Fail a step that would commit what looks like a key.",
            show_default="unchanged",
        ),
    ] = None,
    validate: Annotated[
        list[str] | None,
        typer.Option(
            "--validate",
            metavar="COMMAND",
            help="Of runs that bring none: a command that must pass before a commit. Repeatable; '' for none.",
            show_default="unchanged",
        ),
    ] = None,
    validate_tries: options.ValidateTries = None,
    no_check: NoCheck = False,
    json: options.Json = False,
) -> None:
    """Give a registered repository another address, or other credentials in the place of all it has. For later runs."""
    from treadle.cli.administration_repositories import Registration, RepositoryAdministration

    rules = options.validation(validate, validate_tries)
    given = Registration(
        url=url,
        default_branch=default_branch,
        http=options.secret(http_credentials_env, http_credentials_file, "--http-credentials"),
        ssh_key=ssh_key,
        forge=forge,
        forge_api_url=forge_api_url,
        forge_token=options.secret(forge_token_env, forge_token_file, "--forge-token"),
        description=description,
        visibility=visibility,
        language=language,
        is_archived=archived,
        is_bare=no_credentials,
        is_without_forge=no_forge,
        network=options.policy(network) if network else None,
        is_without_network=network == "",
        scans_secrets=scan_secrets,
        validation=rules if rules is not None and rules.commands else None,
        is_without_validation=rules is not None and not rules.commands,
    )
    RepositoryAdministration(organization, is_json=json).update(name, given, is_checked=not no_check)


@app.command()
def remove(name: Name, organization: Org = 1) -> None:
    """Forget a registered repository and its credentials. Runs that there are go on with their own copy."""
    from treadle.cli.administration_repositories import RepositoryAdministration

    RepositoryAdministration(organization).remove(name)


@app.command("list")
def list_all(organization: Org = 1, json: options.Json = False) -> None:
    """List an organization's repositories."""
    from treadle.cli.administration_repositories import RepositoryAdministration

    RepositoryAdministration(organization, is_json=json).list()


@app.command()
def show(name: Name, organization: Org = 1, json: options.Json = False) -> None:
    """Show a repository and what is set for it."""
    from treadle.cli.administration_repositories import RepositoryAdministration

    RepositoryAdministration(organization, is_json=json).show(name)


@app.command()
def check(name: Name, organization: Org = 1, json: options.Json = False) -> None:
    """Look whether a repository and its forge can be reached now, and keep what the forge says of it. The exit code is
    1 when something is wrong."""
    from treadle.cli.administration_repositories import RepositoryAdministration

    RepositoryAdministration(organization, is_json=json).check(name)


@app.command()
def default(name: Name, organization: Org = 1, json: options.Json = False) -> None:
    """Make a repository the one that agent runs are on that name none."""
    from treadle.cli.administration_organizations import OrganizationAdministration

    OrganizationAdministration(is_json=json).make_default(organization, name)


@app.command()
def rules(
    name: Name,
    organization: Org = 1,
    file: TextFile = None,
    text: Text = None,
    clear: Clear = False,
    json: options.Json = False,
) -> None:
    """Show a repository's rules, or give it others. They are in every prompt of agent runs on it."""
    from treadle.cli.administration import given_text
    from treadle.cli.administration_repositories import RepositoryAdministration

    RepositoryAdministration(organization, is_json=json).rules(name, given_text(text, file, is_cleared=clear))


@setup.command("show")
def show_setup(name: Name, organization: Org = 1, json: options.Json = False) -> None:
    """Show a repository's setup commands."""
    from treadle.cli.administration_repositories import RepositoryAdministration

    RepositoryAdministration(organization, is_json=json).setup(name, None)


@setup.command("set")
def set_setup(
    name: Name,
    file: Annotated[Path, typer.Option("--file", metavar="FILE", help="A shell script.")],
    organization: Org = 1,
    json: options.Json = False,
) -> None:
    """Give a repository setup commands: run in each new workspace before the first step."""
    from treadle.cli.administration import given_text
    from treadle.cli.administration_repositories import RepositoryAdministration

    RepositoryAdministration(organization, is_json=json).setup(name, given_text(None, file, is_cleared=False))


@setup.command("clear")
def clear_setup(name: Name, organization: Org = 1) -> None:
    """Take a repository's setup commands away."""
    from treadle.cli.administration_repositories import RepositoryAdministration

    RepositoryAdministration(organization).setup(name, "")


@setup.command("list")
def list_sandboxes(name: Name, organization: Org = 1, json: options.Json = False) -> None:
    """List the latest executions of a repository's setup commands, newest first."""
    from treadle.cli.administration_repositories import RepositoryAdministration

    RepositoryAdministration(organization, is_json=json).list_sandboxes(name)


@setup.command("log")
def show_setup_log(
    sandbox: Annotated[int, typer.Argument(metavar="ID", help="Of the execution, as `list` says it.")],
    organization: Org = 1,
    json: options.Json = False,
) -> None:
    """Show the log of an execution of setup commands."""
    from treadle.cli.administration_repositories import RepositoryAdministration

    RepositoryAdministration(organization, is_json=json).setup_log(sandbox)
