"""Organizations, users, keys and repositories: on the database itself, no service needed."""

import typer

from treadle.cli import options
from treadle.cli.commands import admin_mcp, admin_org, admin_repo, admin_user

app = typer.Typer(
    name="admin",
    help="Administer organizations, users, keys and repositories, on the database itself.",
    no_args_is_help=True,
)


def register(parent: typer.Typer) -> None:
    """Adds the commands to `parent`."""
    app.add_typer(admin_org.app)
    app.add_typer(admin_user.app)
    app.add_typer(admin_user.key)
    app.add_typer(admin_user.key, name="token", help="The same as key.")
    app.add_typer(admin_repo.app)
    admin_mcp.register(app)
    parent.add_typer(app)


@app.command()
def roles(json: options.Json = False) -> None:
    """Say what each role may do."""
    from treadle.cli.administration_users import show_roles

    show_roles(is_json=json)
