"""The schema's version, and bringing a database up to it. Needs nothing but the installed package."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, NullPool, create_engine, event, inspect, text
from sqlalchemy.exc import DBAPIError

from treadle.domain.errors import ConfigurationError
from treadle.store.address import PostgresAddress, SqliteAddress, parse
from treadle.store.sqlite_file import alone, connect, make, trouble

#: The newest revision in `migrations/versions`; a test holds it to them. Knowing it here spares a start reading them.
HEAD = "0006"

#: The advisory lock under which PostgreSQL is upgraded: any number, the same in every process.
_LOCK = 0x7472_6561_646C_6501

_CONNECT = {
    "connect_timeout": 5, "tcp_user_timeout": 10_000, "keepalives_idle": 10, "keepalives_interval": 3,
    "keepalives_count": 3,
}  # fmt: skip

#: How long an upgrade of PostgreSQL waits for a table that is in use.
_LOCK_SECONDS = 15


def head() -> str:
    """The revision that this version of Treadle needs."""
    return HEAD


def current(database_url: str) -> str | None:
    """The revision that the database has; None for an empty one. ConfigurationError."""
    return _state(database_url)[0]


def upgrade(database_url: str) -> str | None:
    """Brings the database up to `head()`, all of it or nothing; the revision that it had. Safe in many processes at
    once, and next to processes of an older version. A newer schema that allows this version is left as it is.
    Unavailable when the server does not answer; ConfigurationError, also for a schema that is too new."""
    found, oldest = _state(database_url)
    if suits(found, oldest):
        return found
    address = parse(database_url)
    with _alone(address), _connection(address, begin="BEGIN IMMEDIATE") as connection:
        if isinstance(address, PostgresAddress):
            # Whoever works holds its locks shorter; waiting for longer would make everybody else wait for us. An
            # upgrade of another process may take longer, and is said to be waited for.
            connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        before = _revision(connection)  # again: another process may have been faster
        if not suits(before, _oldest(connection)):
            _migrate(connection, before)
        return before


def require(database_url: str) -> None:
    """Raises ConfigurationError unless the database has the schema of this version, or a newer one that allows it."""
    found, oldest = _state(database_url)
    if not suits(found, oldest):
        raise outdated(found)


def suits(found: str | None, oldest: str | None) -> bool:
    """Whether this version works on the revision `found`, whose `schema_compatibility` says `oldest`. Revisions are
    numbers of four digits, ordered as texts."""
    return found == HEAD or (found is not None and oldest is not None and found > HEAD >= oldest)


def outdated(found: str | None) -> ConfigurationError:
    said = "is empty" if found is None else f"has the schema {found}"
    return ConfigurationError(
        f"The database {said}; this version of Treadle needs {HEAD}.",
        hint="`treadle db upgrade` brings an older database up to date; a newer one needs a newer Treadle.",
    )


def _state(database_url: str) -> tuple[str | None, str | None]:
    """The revision, and the oldest one whose code may work on it; None where there is none."""
    address = parse(database_url)
    if isinstance(address, SqliteAddress) and not address.path.exists():
        return None, None
    with _connection(address, begin="BEGIN") as connection:
        return _revision(connection), _oldest(connection)


def _oldest(connection: Connection) -> str | None:
    if not inspect(connection).has_table("schema_compatibility"):
        return None
    found: str | None = connection.execute(text("SELECT oldest FROM schema_compatibility")).scalar()
    return found


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def _migrate(connection: Connection, before: str | None) -> None:
    # Only here: reading migrations costs a start that needs none a tenth of a second.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    known = {revision.revision for revision in ScriptDirectory.from_config(config).walk_revisions()}
    if before is not None and before not in known:
        raise ConfigurationError(
            f"The database has the schema {before}, which is newer than this version of Treadle ({HEAD}).",
            hint="Use the version of Treadle that upgraded it, or a newer one.",
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
        if broken:
            raise ConfigurationError(f"The upgrade would leave {len(broken)} rows that refer to nothing.")


@contextmanager
def _alone(address: SqliteAddress | PostgresAddress) -> Iterator[None]:
    """Keeps other processes from the same SQLite file while it is made; PostgreSQL locks in the transaction."""
    if isinstance(address, PostgresAddress):
        yield
        return
    with alone(address.path):
        make(address.path, busy_seconds=address.timeout)
        yield


@contextmanager
def _connection(address: SqliteAddress | PostgresAddress, *, begin: str) -> Iterator[Connection]:
    """In one transaction, which SQLite begins with `begin`. The driver's errors become ConfigurationErrors."""
    engine = _engine(address, begin)
    try:
        with engine.begin() as connection:
            yield connection
    except DBAPIError as error:
        raise _trouble(error, address) from error


def _trouble(error: DBAPIError, address: SqliteAddress | PostgresAddress) -> Exception:
    if isinstance(address, SqliteAddress):
        return trouble(error.orig, address.path) if isinstance(error.orig, sqlite3.Error) else error
    # Only here: psycopg is an extra.
    import psycopg  # noqa: PLC0415

    from treadle.store.postgres_errors import reason, refusal  # noqa: PLC0415

    found = error.orig
    if not isinstance(found, psycopg.Error):
        return error
    # What has an SQLSTATE was said by a server that had let us in.
    return refusal(found, str(address)) if found.sqlstate is None else _mended(reason(found, str(address)), address)


def _mended(found: Exception, address: PostgresAddress) -> Exception:
    if isinstance(found, ConfigurationError):
        return found
    return ConfigurationError(f"The database {address} cannot be used: {found}")


def _engine(address: SqliteAddress | PostgresAddress, begin: str) -> Engine:
    if isinstance(address, PostgresAddress):
        try:
            # Here a statement may take its time; see `postgres.DEADLINES` for the others.
            return create_engine(address.url, poolclass=NullPool, connect_args=_CONNECT)
        except ImportError as error:
            raise ConfigurationError(
                "PostgreSQL needs a package that is not installed.", hint="pip install 'treadle[postgres]'"
            ) from error

    def creator() -> sqlite3.Connection:
        connection = connect(address.path, busy_seconds=address.timeout)
        # A migration that makes a table anew drops the old one; what refers to it stays.
        connection.execute("PRAGMA foreign_keys=OFF")
        return connection

    engine = create_engine("sqlite+pysqlite://", creator=creator, poolclass=NullPool)
    # The driver leaves transactions to us (`connect`), so that DDL is inside of one.
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine
