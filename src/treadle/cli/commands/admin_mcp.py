"""Providers of OAuth tokens, those tokens, and accounts elsewhere."""

import typer


def register(parent: typer.Typer) -> None:
    """Adds the commands to `parent`."""
