"""Providers of OAuth tokens, those tokens, and accounts elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from treadle.cli import options
from treadle.cli.commands.admin_options import Org

mcp = typer.Typer(name="mcp", help="Providers of OAuth tokens, for MCP servers and others.", no_args_is_help=True)
oauth = typer.Typer(name="oauth", help="OAuth tokens of users.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Adds the commands to `parent`."""
    parent.add_typer(mcp)
    parent.add_typer(oauth)
    parent.command()(connect)


@mcp.command("add")
def add_provider(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    issuer: Annotated[str, typer.Option("--issuer", metavar="URL", help="Who issues the tokens.")],
    authorization_endpoint: Annotated[
        str, typer.Option("--authorization-endpoint", metavar="URL", help="Where users agree.")
    ],
    token_endpoint: Annotated[str, typer.Option("--token-endpoint", metavar="URL", help="Where tokens come from.")],
    scopes: Annotated[
        list[str] | None, typer.Option("--scope", metavar="NAME", help="Asked for by default. Repeatable.")
    ] = None,
    mcp_servers: Annotated[bool, typer.Option("--mcp/--no-mcp", help="Whether its tokens are for MCP servers.")] = True,
    meta: Annotated[
        Path | None, typer.Option("--meta", metavar="FILE", help="JSON with whatever clients are to know besides.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Tell clients of a provider of OAuth tokens."""
    from treadle.cli.administration_connections import ConnectionAdministration, read_meta
    from treadle.services.connections import NewProvider

    new = NewProvider(
        name=name,
        issuer=issuer,
        authorization_endpoint=authorization_endpoint,
        token_endpoint=token_endpoint,
        default_scopes=tuple(scopes) if scopes else None,
        is_mcp=mcp_servers,
        meta=read_meta(meta),
    )
    ConnectionAdministration(is_json=json).add_provider(new)


@mcp.command("list")
def list_providers(json: options.Json = False) -> None:
    """List the providers."""
    from treadle.cli.administration_connections import ConnectionAdministration

    ConnectionAdministration(is_json=json).list_providers()


@mcp.command("remove")
def remove_provider(name: Annotated[str, typer.Argument(metavar="NAME")]) -> None:
    """Forget a provider, and all tokens from it."""
    from treadle.cli.administration_connections import ConnectionAdministration

    ConnectionAdministration(is_json=False).remove_provider(name)


@oauth.command("put")
def put_token(
    provider: Annotated[str, typer.Option("--provider", metavar="NAME", help="Who issued it.")],
    email: Annotated[str, typer.Option("--user", metavar="EMAIL", help="Whose token it is.")],
    organization: Org = 1,
    token_env: Annotated[
        str | None, typer.Option("--token-env", metavar="NAME", help="The variable that holds the token.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", metavar="FILE", help="The file that holds it.")
    ] = None,
) -> None:
    """Keep a user's OAuth token, sealed, in the place of the one there may be."""
    from treadle.cli.administration_connections import ConnectionAdministration

    token = options.secret(token_env, token_file, "--token")
    if token is None:
        raise typer.BadParameter("give --token-env NAME or --token-file FILE.")
    ConnectionAdministration(is_json=False).put_token(email, organization, provider, token)


def connect(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="From the API; good for minutes, and once.")],
    provider: Annotated[str, typer.Option("--provider", metavar="NAME", help="Such as slack.")],
    account: Annotated[str, typer.Option("--account", metavar="ID", help="The account there.")],
    json: options.Json = False,
) -> None:
    """Connect an account elsewhere with the user who got the token."""
    from treadle.cli.administration_connections import ConnectionAdministration

    ConnectionAdministration(is_json=json).connect(token, provider, account)
