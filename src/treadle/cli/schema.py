"""What `treadle db` does."""

import os

from treadle.cli import output
from treadle.cli.failures import Stopped
from treadle.cli.output import FAILED
from treadle.factory import database_url
from treadle.settings import Settings
from treadle.store import schema
from treadle.store.address import SqliteAddress, parse


def found_schema(settings: Settings) -> str | None:
    """The revision that the database has; None when there is none yet. Changes nothing, makes no file."""
    url = database_url(settings)
    address = parse(url)
    if isinstance(address, SqliteAddress) and not address.path.exists():
        return None
    return schema.current(url)


def upgrade(*, is_json: bool) -> None:
    """Raises ConfigurationError."""
    settings = Settings.load(os.environ)
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    before, after = schema.upgrade(database_url(settings)), schema.head()
    if is_json:
        output.as_json({"before": before, "after": after})
    elif before == after:
        output.line(f"The database has the schema {after} already.")
    else:
        output.line(f"The database went from {before or 'nothing'} to the schema {after}.")


def current(*, is_json: bool) -> None:
    """Raises Stopped unless the schema is this version's."""
    found, needed = found_schema(Settings.load(os.environ)), schema.head()
    if is_json:
        output.as_json({"current": found, "needed": needed})
    else:
        output.line(f"{found or 'none'} ({'up to date' if found == needed else f'this version needs {needed}'})")
    if found != needed:
        raise Stopped(FAILED)
