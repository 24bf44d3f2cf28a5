"""The options that the commands of `treadle admin` share."""

from pathlib import Path
from typing import Annotated

import typer

Org = Annotated[int, typer.Option("--org", metavar="N", help="The organization.")]
OrgNumber = Annotated[int, typer.Argument(metavar="N", help="The organization.")]
Email = Annotated[str, typer.Argument(metavar="EMAIL")]
Name = Annotated[str, typer.Argument(metavar="OWNER/NAME")]

TextFile = Annotated[Path | None, typer.Option("--file", metavar="FILE", help="A file that holds them.")]
Text = Annotated[str | None, typer.Option("--text", metavar="TEXT", help="Them.")]
Clear = Annotated[bool, typer.Option("--clear", help="Take away those that there are.")]
