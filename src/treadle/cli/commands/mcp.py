"""The Model Context Protocol on standard input and output, for clients that start a command."""

import typer

from treadle.cli import options
from treadle.cli.options import DEFAULT_URL


def register(app: typer.Typer) -> None:
    """Adds the command to `app`."""
    app.command("mcp")(mcp)


def mcp(
    url: options.Url = DEFAULT_URL,
    api_key: options.Key = None,
) -> None:
    """Speak MCP on standard input and output, for a client that starts this command; the service's /mcp answers."""
    from treadle.cli.bridge import Bridge
    from treadle.cli.interrupts import run

    run(Bridge.run(url, api_key))
