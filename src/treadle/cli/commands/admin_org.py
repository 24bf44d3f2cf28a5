"""Organizations, and what is set for them."""

from typing import Annotated

import typer

from treadle.cli import options
from treadle.cli.commands.admin_options import Clear, OrgNumber, Text, TextFile

app = typer.Typer(name="org", help="Organizations.", no_args_is_help=True)


@app.command()
def add(name: Annotated[str, typer.Argument(metavar="NAME")], json: options.Json = False) -> None:
    """Make an organization."""
    from treadle.cli.administration_organizations import OrganizationAdministration

    OrganizationAdministration(is_json=json).add(name)


@app.command("list")
def list_all(json: options.Json = False) -> None:
    """List the organizations."""
    from treadle.cli.administration_organizations import OrganizationAdministration

    OrganizationAdministration(is_json=json).list()


@app.command()
def show(organization: OrgNumber, json: options.Json = False) -> None:
    """Show an organization and what is set for it."""
    from treadle.cli.administration_organizations import OrganizationAdministration

    OrganizationAdministration(is_json=json).show(organization)


@app.command("set")
def change(
    organization: OrgNumber,
    name: Annotated[str | None, typer.Option("--name", help="Its name.")] = None,
    pr_creation: Annotated[
        bool | None,
        typer.Option(
            "--pr-creation/--no-pr-creation", help="Open pull requests for its runs.", show_default="unchanged"
        ),
    ] = None,
    rules_detection: Annotated[
        bool | None,
        typer.Option(
            "--rules-detection/--no-rules-detection",
            help="Heed the rule files that repositories carry, such as AGENTS.md.",
            show_default="unchanged",
        ),
    ] = None,
    engine: Annotated[
        str | None, typer.Option("--engine", metavar="NAME", help="For agent runs that name none; '' for none.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="For agent runs that name none; '' for none.")
    ] = None,
    repository: Annotated[
        str | None, typer.Option("--repo", metavar="OWNER/NAME", help="For agent runs that name none; '' for none.")
    ] = None,
    max_cost: Annotated[
        str | None, typer.Option("--max-cost", metavar="USD", help="Of a run that names no budget; '' for none.")
    ] = None,
    monthly_cost: Annotated[
        str | None,
        typer.Option("--monthly-cost", metavar="USD", help="Of all runs in a calendar month, in UTC; '' for no cap."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Change what is set for an organization."""
    from treadle.cli.administration_organizations import OrganizationAdministration, OrganizationChange

    given = OrganizationChange(name, pr_creation, rules_detection, engine, model, repository, max_cost, monthly_cost)
    if given == OrganizationChange():
        raise typer.BadParameter("nothing is to change: give one of the options.")
    OrganizationAdministration(is_json=json).change(organization, given)


@app.command()
def limit(
    organization: OrgNumber,
    runs: Annotated[int | None, typer.Option("--runs", min=1, metavar="M", help="Runs at once.")] = None,
    no_limit: Annotated[bool, typer.Option("--no-limit", help="As many as TREADLE_ORGANIZATION_SLOTS says.")] = False,
    monthly: Annotated[
        int | None, typer.Option("--monthly", min=0, metavar="M", help="Agent runs in a calendar month, in UTC.")
    ] = None,
    no_monthly: Annotated[bool, typer.Option("--no-monthly", help="As many as one likes.")] = False,
    json: options.Json = False,
) -> None:
    """Say how many runs of an organization may be running at once (the others wait), and how many agent runs it may
    make in a month (more are refused)."""
    from treadle.cli.administration_organizations import KEPT, OrganizationAdministration

    if runs is not None and no_limit:
        raise typer.BadParameter("give one: --runs M or --no-limit.")
    if monthly is not None and no_monthly:
        raise typer.BadParameter("give one: --monthly M or --no-monthly.")
    if runs is None and not no_limit and monthly is None and not no_monthly:
        raise typer.BadParameter("give --runs M, --no-limit, --monthly M or --no-monthly.")
    slots = runs if runs is not None or no_limit else KEPT
    in_a_month = monthly if monthly is not None or no_monthly else KEPT
    OrganizationAdministration(is_json=json).limit(organization, slots, in_a_month)


@app.command()
def rules(
    organization: OrgNumber,
    file: TextFile = None,
    text: Text = None,
    clear: Clear = False,
    json: options.Json = False,
) -> None:
    """Show an organization's rules, or give it others. They are in every prompt of its agent runs."""
    from treadle.cli.administration import given_text
    from treadle.cli.administration_organizations import OrganizationAdministration

    OrganizationAdministration(is_json=json).rules(organization, given_text(text, file, is_cleared=clear))
