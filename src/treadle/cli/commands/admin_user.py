"""Users, their roles and their keys."""

from pathlib import Path
from typing import Annotated

import typer

from treadle.cli import options
from treadle.cli.commands.admin_options import Clear, Email, Org, Text, TextFile
from treadle.domain.identity import Role

app = typer.Typer(name="user", help="Users and their roles.", no_args_is_help=True)
key = typer.Typer(name="key", help="API keys.", no_args_is_help=True)
token = typer.Typer(
    name="token", help="The same as key; and the tokens that keys are exchanged for.", no_args_is_help=True
)
sessions = typer.Typer(name="sessions", help="Where users are signed in.", no_args_is_help=True)
app.add_typer(sessions)

RoleOption = Annotated[
    Role, typer.Option("--role", case_sensitive=False, help="What it may do there: `treadle admin roles` says.")
]


@app.command()
def add(
    email: Email,
    role: RoleOption,
    organization: Org = 1,
    name: Annotated[str | None, typer.Option("--name", help="Unset: the beginning of the address.")] = None,
    json: options.Json = False,
) -> None:
    """Make a user, or give one that there is a role in another organization."""
    from treadle.cli.administration_users import UserAdministration

    UserAdministration(is_json=json).add(email, organization, role, name)


@app.command("list")
def list_users(organization: Org = 1, json: options.Json = False) -> None:
    """List an organization's users."""
    from treadle.cli.administration_users import UserAdministration

    UserAdministration(is_json=json).list(organization)


@app.command("role")
def set_role(email: Email, role: RoleOption, organization: Org = 1, json: options.Json = False) -> None:
    """Give a user of an organization another role there. Running services notice within seconds."""
    from treadle.cli.administration_users import UserAdministration

    UserAdministration(is_json=json).set_role(email, organization, role)


@app.command()
def remove(email: Email, organization: Org = 1) -> None:
    """Take a user's role in an organization away, and with it the use of the keys for it."""
    from treadle.cli.administration_users import UserAdministration

    UserAdministration(is_json=False).remove(email, organization)


@app.command("set")
def change(
    email: Email,
    name: Annotated[str | None, typer.Option("--name", help="Its name.")] = None,
    github_id: Annotated[
        str | None, typer.Option("--github-id", metavar="ID", help="Its number at GitHub; '' for none.")
    ] = None,
    github_username: Annotated[
        str | None, typer.Option("--github-username", metavar="NAME", help="Its name at GitHub; '' for none.")
    ] = None,
    avatar_url: Annotated[
        str | None, typer.Option("--avatar-url", metavar="URL", help="Its picture; '' for none.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Change what is known of a user, in all of its organizations."""
    from treadle.cli.administration_users import UserAdministration, UserChange

    given = UserChange(name, github_id, github_username, avatar_url)
    if given == UserChange():
        raise typer.BadParameter("nothing is to change: give one of the options.")
    UserAdministration(is_json=json).change(email, given)


@app.command()
def rules(
    email: Email, file: TextFile = None, text: Text = None, clear: Clear = False, json: options.Json = False
) -> None:
    """Show a user's own rules, or give it others. They are in every prompt of its agent runs."""
    from treadle.cli.administration import given_text
    from treadle.cli.administration_users import UserAdministration

    UserAdministration(is_json=json).rules(email, given_text(text, file, is_cleared=clear))


@app.command()
def password(
    email: Email,
    password_env: Annotated[
        str | None, typer.Option("--password-env", metavar="NAME", help="The variable that holds it.")
    ] = None,
    password_file: Annotated[
        Path | None, typer.Option("--password-file", metavar="FILE", help="The file that holds it.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take away the one that there is.")] = False,
) -> None:
    """Give a user a password for the page, and end all of its sessions. Without an option it is asked for, or read from
    standard input."""
    from treadle.cli.administration_users import UserAdministration, asked_password

    given = options.secret(password_env, password_file, "--password")
    if remove and given is not None:
        raise typer.BadParameter("give a password or --remove, not both.")
    UserAdministration(is_json=False).password(email, None if remove else given or asked_password())


@sessions.command("revoke")
def revoke_sessions(email: Email) -> None:
    """Sign a user out of the page, everywhere. Running services notice within seconds."""
    from treadle.cli.administration_users import UserAdministration

    UserAdministration(is_json=False).end_sessions(email)


@key.command("create")
@token.command("create")
def create_key(
    email: Annotated[str, typer.Option("--user", metavar="EMAIL", help="Whose key it is.")],
    organization: Org = 1,
    name: Annotated[str, typer.Option("--name", help="To know it by.")] = "",
    expires_days: Annotated[int | None, typer.Option("--expires-days", min=1, max=36_500, show_default="never")] = None,
    all_organizations: Annotated[
        bool,
        typer.Option("--all-organizations", help="It counts in every organization of its user, not in this one alone."),
    ] = False,
    json: options.Json = False,
) -> None:
    """Make an API key. It is shown this once."""
    from treadle.cli.administration_users import KeyAdministration

    KeyAdministration(is_json=json).create(email, organization, name, expires_days, reaches_all=all_organizations)


@key.command("list")
@token.command("list")
def list_keys(organization: Org = 1, json: options.Json = False) -> None:
    """List an organization's keys, without the keys themselves."""
    from treadle.cli.administration_users import KeyAdministration

    KeyAdministration(is_json=json).list(organization)


@key.command("revoke")
def revoke_key(key_id: Annotated[int, typer.Argument(metavar="ID")]) -> None:
    """Make a key useless. Running services notice within seconds."""
    from treadle.cli.administration_users import KeyAdministration

    KeyAdministration(is_json=False).revoke(key_id)


@token.command("revoke")
def revoke_token(
    key_id: Annotated[int | None, typer.Argument(metavar="ID", help="A key, as `key revoke` takes it.")] = None,
    user: Annotated[
        str | None, typer.Option("--user", metavar="EMAIL", help="All JWTs that this user has; its keys stay.")
    ] = None,
) -> None:
    """Make a key useless, or all JWTs of a user. Running services notice within seconds."""
    from treadle.cli.administration_users import KeyAdministration

    if (key_id is None) == (user is None):
        raise typer.BadParameter("give the ID of a key, or --user.")
    administration = KeyAdministration(is_json=False)
    if key_id is not None:
        administration.revoke(key_id)
    if user is not None:
        administration.revoke_tokens(user)
