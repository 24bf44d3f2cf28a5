"""Organizations, users, keys and repositories: on the database itself, no service needed."""

import typer

from treadle.cli import options
from treadle.cli.commands import admin_audit, admin_keys, admin_mcp, admin_org, admin_repo, admin_user
from treadle.cli.commands.admin_options import Org
from treadle.cli.commands.bill import By, First, Last, Row

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
    app.add_typer(admin_user.token)
    app.add_typer(admin_repo.app)
    app.add_typer(admin_keys.app)
    admin_mcp.register(app)
    admin_audit.register(app)
    parent.add_typer(app)


@app.command()
def usage(
    organization: Org = 1,
    by: By = Row.DAY,
    first: First = None,
    last: Last = None,
    json: options.Json = False,
) -> None:
    """Show what an organization's runs cost and used."""
    from treadle.cli.administration import do
    from treadle.cli.bill import show_report
    from treadle.ports.page import UsageBy

    begin, end = first.date() if first else None, last.date() if last else None
    found = do(lambda parts: parts.services.usage.of_organization(organization, by=UsageBy(by), first=begin, last=end))
    show_report(found, is_json=json)


@app.command()
def roles(json: options.Json = False) -> None:
    """Say what each role may do."""
    from treadle.cli.administration_users import show_roles

    show_roles(is_json=json)
