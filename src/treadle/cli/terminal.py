"""The one place that makes rich consoles: no markup, no guessing at highlights, so that text stays text."""

import sys

from rich.console import Console


def console() -> Console:
    """For standard output."""
    return Console(file=sys.stdout, markup=False, highlight=False, emoji=False)
