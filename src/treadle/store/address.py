"""Database URLs."""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from treadle.domain.errors import ConfigurationError

_HINT = "Use sqlite:////absolute/path or postgresql://user:password@host/database."


@dataclass(frozen=True, slots=True)
class SqliteAddress:
    """`?timeout=` is how many seconds a write waits, each time it tries, while another process writes."""

    path: Path
    timeout: float = 10

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    url: URL

    def __str__(self) -> str:
        return shown(self.url)


def shown(url: URL) -> str:
    """For people and logs: without a password, wherever it stands."""
    return url.difference_update_query(["password", "sslpassword"]).render_as_string(hide_password=True)


def sqlite_url(path: Path) -> str:
    """The URL of a file, whatever characters its path has."""
    return URL.create("sqlite", database=str(path)).render_as_string()


def parse(database_url: str) -> SqliteAddress | PostgresAddress:
    """Raises ConfigurationError, which does not repeat the URL: it may hold a password."""
    try:
        url = make_url(database_url)
    except ArgumentError:
        raise ConfigurationError("The database URL cannot be read.", hint=_HINT) from None
    kind = url.drivername.partition("+")[0]
    if kind in {"postgresql", "postgres"}:
        return PostgresAddress(url.set(drivername="postgresql+psycopg"))
    if kind != "sqlite":
        raise ConfigurationError(f"A database of the kind {kind} cannot be used.", hint=_HINT)
    if not url.database or url.database == ":memory:":
        raise ConfigurationError("A database in memory cannot be used: it has to outlive the process.", hint=_HINT)
    try:
        timeout = float(str(url.query.get("timeout", 10)))
    except ValueError:
        raise ConfigurationError("The database URL's timeout is not a number of seconds.") from None
    return SqliteAddress(Path(url.database).expanduser().absolute(), timeout)
