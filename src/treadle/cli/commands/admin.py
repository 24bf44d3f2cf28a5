"""Organizations, users, keys and repositories: on the database itself, no service needed."""

from pathlib import Path
from typing import Annotated

import typer

from treadle.cli import options
from treadle.domain.identity import Role

_NO_ARGS = True

app = typer.Typer(
    name="admin",
    help="Administer organizations, users, keys and repositories, on the database itself.",
    no_args_is_help=_NO_ARGS,
)
org = typer.Typer(name="org", help="Organizations.", no_args_is_help=_NO_ARGS)
user = typer.Typer(name="user", help="Users and their roles.", no_args_is_help=_NO_ARGS)
key = typer.Typer(name="key", help="API keys.", no_args_is_help=_NO_ARGS)
repo = typer.Typer(name="repo", help="Registered repositories and their credentials.", no_args_is_help=_NO_ARGS)

Org = Annotated[int, typer.Option("--org", metavar="N", help="The organization.")]
Email = Annotated[str, typer.Argument(metavar="EMAIL")]


def register(parent: typer.Typer) -> None:
    """Adds the commands to `parent`."""
    for group in (org, user, key, repo):
        app.add_typer(group)
    parent.add_typer(app)


@org.command("add")
def add_organization(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    json: options.Json = False,
) -> None:
    """Make an organization."""
    from treadle.cli.administration import Administration

    Administration(is_json=json).add_organization(name)


@org.command("list")
def list_organizations(json: options.Json = False) -> None:
    """List the organizations."""
    from treadle.cli.administration import Administration

    Administration(is_json=json).list_organizations()


@org.command("limit")
def limit_organization(
    organization: Annotated[int, typer.Argument(metavar="N", help="The organization.")],
    runs: Annotated[int | None, typer.Option("--runs", min=1, metavar="M", help="Runs at once.")] = None,
    no_limit: Annotated[bool, typer.Option("--no-limit", help="As many as TREADLE_ORGANIZATION_SLOTS says.")] = False,
    json: options.Json = False,
) -> None:
    """Say how many runs of an organization may be running at once; the others wait."""
    from treadle.cli.administration import Administration

    if (runs is None) is not no_limit:
        raise typer.BadParameter("give one: --runs M or --no-limit.")
    Administration(is_json=json).limit_organization(organization, runs)


@user.command("add")
def add_user(
    email: Email,
    role: Annotated[Role, typer.Option("--role", case_sensitive=False, help="ADMIN sees the whole organization.")],
    organization: Org = 1,
    name: Annotated[str | None, typer.Option("--name", help="Unset: the beginning of the address.")] = None,
    json: options.Json = False,
) -> None:
    """Make a user, or give one that there is a role in another organization."""
    from treadle.cli.administration import Administration

    Administration(is_json=json).add_user(email, organization, role, name)


@user.command("list")
def list_users(organization: Org = 1, json: options.Json = False) -> None:
    """List an organization's users."""
    from treadle.cli.administration import Administration

    Administration(is_json=json).list_users(organization)


@user.command("remove")
def remove_user(email: Email, organization: Org = 1) -> None:
    """Take a user's role in an organization away, and with it the use of the keys for it."""
    from treadle.cli.administration import Administration

    Administration(is_json=False).remove_user(email, organization)


@key.command("create")
def create_key(
    email: Annotated[str, typer.Option("--user", metavar="EMAIL", help="Whose key it is.")],
    organization: Org = 1,
    name: Annotated[str, typer.Option("--name", help="To know it by.")] = "",
    expires_days: Annotated[int | None, typer.Option("--expires-days", min=1, max=36_500, show_default="never")] = None,
    json: options.Json = False,
) -> None:
    """Make an API key. It is shown this once."""
    from treadle.cli.administration import Administration

    Administration(is_json=json).create_key(email, organization, name, expires_days)


@key.command("list")
def list_keys(organization: Org = 1, json: options.Json = False) -> None:
    """List an organization's keys, without the keys themselves."""
    from treadle.cli.administration import Administration

    Administration(is_json=json).list_keys(organization)


@key.command("revoke")
def revoke_key(key_id: Annotated[int, typer.Argument(metavar="ID")]) -> None:
    """Make a key useless. Running services notice within seconds."""
    from treadle.cli.administration import Administration

    Administration(is_json=False).revoke_key(key_id)


@repo.command("add")
def add_repository(
    name: Annotated[str, typer.Option("--name", metavar="OWNER/NAME")],
    url: Annotated[str, typer.Option("--url", metavar="URL", help="Its address, without credentials.")],
    organization: Org = 1,
    default_branch: Annotated[str, typer.Option("--default-branch", metavar="NAME")] = "main",
    http_credentials_env: options.HttpEnv = None,
    http_credentials_file: options.HttpFile = None,
    ssh_key: Annotated[Path | None, typer.Option("--ssh-key", metavar="FILE", help="The private key for it.")] = None,
    json: options.Json = False,
) -> None:
    """Register a repository. Runs on it that bring no credentials use these."""
    from treadle.cli.administration import Administration

    http = options.secret(http_credentials_env, http_credentials_file, "--http-credentials")
    Administration(is_json=json).add_repository(organization, name, url, default_branch, http, ssh_key)


@repo.command("update")
def update_repository(
    name: Annotated[str, typer.Argument(metavar="OWNER/NAME")],
    url: Annotated[str | None, typer.Option("--url", metavar="URL", help="Its new address.")] = None,
    organization: Org = 1,
    default_branch: Annotated[str | None, typer.Option("--default-branch", metavar="NAME")] = None,
    http_credentials_env: options.HttpEnv = None,
    http_credentials_file: options.HttpFile = None,
    ssh_key: Annotated[Path | None, typer.Option("--ssh-key", metavar="FILE", help="The private key for it.")] = None,
    no_credentials: Annotated[bool, typer.Option("--no-credentials", help="Forget those that it has.")] = False,
    json: options.Json = False,
) -> None:
    """Give a registered repository another address, or other credentials in the place of all it has. For later runs."""
    from treadle.cli.administration import Administration, RepositoryChange

    http = options.secret(http_credentials_env, http_credentials_file, "--http-credentials")
    change = RepositoryChange.of(url, default_branch, http, ssh_key, is_bare=no_credentials)
    Administration(is_json=json).update_repository(organization, name, change)


@repo.command("remove")
def remove_repository(name: Annotated[str, typer.Argument(metavar="OWNER/NAME")], organization: Org = 1) -> None:
    """Forget a registered repository and its credentials. Runs that there are go on with their own copy."""
    from treadle.cli.administration import Administration

    Administration(is_json=False).remove_repository(organization, name)


@repo.command("list")
def list_repositories(organization: Org = 1, json: options.Json = False) -> None:
    """List an organization's repositories."""
    from treadle.cli.administration import Administration

    Administration(is_json=json).list_repositories(organization)
