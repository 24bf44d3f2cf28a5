"""What is no longer to be kept goes: on the database, the files and this machine's mirrors themselves."""

from typing import Annotated

import typer

from treadle.cli import options
from treadle.domain.sizes import parse_size


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}.") from None


def register(parent: typer.Typer) -> None:
    """Adds the command to `parent`."""
    parent.command()(prune)


def prune(
    events_days: Annotated[
        float | None, typer.Option(min=0, metavar="N", help="Keep the events of runs that ended less long ago.")
    ] = None,
    events_bytes: Annotated[
        int | None, typer.Option(parser=_size, metavar="SIZE", help="Keep no more of them than this, such as 10G.")
    ] = None,
    artifacts_days: Annotated[
        float | None, typer.Option(min=0, metavar="N", help="The same for artifacts: diffs, and kept work.")
    ] = None,
    artifacts_bytes: Annotated[
        int | None, typer.Option(parser=_size, metavar="SIZE", help="Keep no more of them than this.")
    ] = None,
    mirrors_days: Annotated[
        float | None, typer.Option(min=0, metavar="N", help="The same for this machine's unused mirrors.")
    ] = None,
    mirrors_bytes: Annotated[
        int | None, typer.Option(parser=_size, metavar="SIZE", help="Keep no more of them than this.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    json: options.Json = False,
) -> None:
    """Remove what is not to be kept, of runs that have ended; what is not given is as the TREADLE_KEEP_… settings say.
    Services may go on meanwhile. Without any limit it says what takes how much space."""
    from treadle.cli.pruning import Pruning

    given = {
        "keep_events_days": events_days,
        "keep_events_bytes": events_bytes,
        "keep_artifacts_days": artifacts_days,
        "keep_artifacts_bytes": artifacts_bytes,
        "keep_mirrors_days": mirrors_days,
        "keep_mirrors_bytes": mirrors_bytes,
    }
    overrides = {name: value for name, value in given.items() if value is not None}
    Pruning(is_dry_run=dry_run, is_json=json).prune(overrides)
