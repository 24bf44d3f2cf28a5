"""The audit log."""

from typing import Annotated

import typer

from treadle.cli import options


def register(parent: typer.Typer) -> None:
    """Adds the command to `parent`."""
    parent.command("audit")(audit)


def audit(
    organization: Annotated[
        int | None, typer.Option("--org", metavar="N", help="The organization; unset: all, and the service itself.")
    ] = None,
    action: Annotated[
        str | None, typer.Option("--action", metavar="NAME", help="One, or all that begin so: `key.`.")
    ] = None,
    user: Annotated[int | None, typer.Option("--user", metavar="ID", help="What this user did.")] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="DATE", help="A date, or a date and time.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Entries.")] = 100,
    before: Annotated[
        int | None, typer.Option("--before", metavar="ID", help="Entries with a smaller id: the next page.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Say who did what, newest first."""
    from treadle.cli.administration_audit import AuditAdministration, since_of
    from treadle.services.audit import Wanted

    wanted = Wanted(limit, before, action, user, since_of(since))
    AuditAdministration(is_json=json).list(organization, wanted)
