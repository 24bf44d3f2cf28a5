"""The checks of `treadle doctor` on what may be on other machines: the database, the broker, the files; and whether
they go together."""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import uuid4

from treadle.blobs.places import DirectoryPlace, open_blobs, place_of
from treadle.cli.file_use import network_file_system, users_of
from treadle.cli.findings import Check, Level, Remark, summed_up
from treadle.cli.schema import found_schema
from treadle.domain.errors import ConfigurationError, Unavailable
from treadle.factory import database_url
from treadle.settings import Settings
from treadle.store import schema
from treadle.store.address import PostgresAddress, SqliteAddress, parse

#: For the broker's answers, altogether.
_BROKER_SECONDS: Final = 15.0

#: Connections of a process besides TREADLE_DATABASE_CONNECTIONS, where there is no broker: they listen and notify.
_LISTENERS: Final = 2

#: A difference of clocks beyond this is worth a look, in seconds; beyond a third of the lease it costs runs.
_CLOCK_SECONDS: Final = 1.0

_MIGRATIONS_HINT: Final = (
    "`treadle db upgrade`, or the next start, brings an older one up to date; a newer one needs a newer Treadle."
)
_SQLITE_HINT: Final = "TREADLE_DATABASE_URL names a PostgreSQL, which any number of machines may share."

#: Version; connections allowed and used, of the server and of this role (-1: no limit of its own).
_COUNTS: Final = """
    SELECT current_setting('server_version'),
           current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
           (SELECT sum(numbackends)::int FROM pg_stat_database),
           (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user),
           (SELECT count(*)::int FROM pg_stat_activity WHERE usename = current_user)
"""


# ---- the database


async def database(settings: Settings) -> Check:
    try:
        address = parse(database_url(settings))
        remarks = [await asyncio.to_thread(_schema, settings)]
        if isinstance(address, PostgresAddress):
            remarks += await asyncio.to_thread(_server, address, settings)
        else:
            remarks += await asyncio.to_thread(_file, address)
    except ConfigurationError as error:
        return Check("database", Level.PROBLEM, error.message, error.hint)
    first = Remark(f"{address}{remarks[0].found}", remarks[0].level, remarks[0].hint)
    return summed_up("database", [first, *remarks[1:]])


def _schema(settings: Settings) -> Remark:
    found = found_schema(settings)
    if found is None:
        return Remark(" (made at the first start)")
    if found == schema.head():
        return Remark(f", schema {found}")
    try:
        schema.require(database_url(settings))
    except ConfigurationError:
        level = Level.WARNING if found < schema.head() else Level.PROBLEM
        return Remark(f", schema {found}, where this version needs {schema.head()}", level, _MIGRATIONS_HINT)
    return Remark(f", schema {found}, newer than this version and made for both")


def _file(address: SqliteAddress) -> list[Remark]:
    """What only one machine, and best one process, should have."""
    remarks = []
    if kind := network_file_system(address.path):
        remarks.append(
            Remark(f"on a network's file system ({kind}), where SQLite loses data", Level.PROBLEM, _SQLITE_HINT)
        )
    if len(users := users_of(address.path)) > 1:
        said = f"open in {len(users)} processes, of which one at a time may write"
        remarks.append(Remark(said, Level.WARNING, _SQLITE_HINT))
    return remarks


@dataclass(frozen=True, slots=True)
class _Server:
    """`ahead`: its clock less ours, give or take `doubt`; seconds."""

    version: str
    used: int
    allowed: int
    ahead: float
    doubt: float


def _server(address: PostgresAddress, settings: Settings) -> list[Remark]:
    found = _ask(address)
    remarks = [Remark(f"PostgreSQL {found.version}")]
    needed = settings.database_connections + (_LISTENERS if settings.broker_url is None else 0)
    left = max(found.allowed - found.used, 0)
    said = f"{left} of {found.allowed} connections free, enough for {left // needed} processes with {needed} each"
    hint = "Raise the server's max_connections, or lower TREADLE_DATABASE_CONNECTIONS."
    remarks.append(Remark(said, Level.OK if left >= needed else Level.WARNING, hint))
    return [*remarks, _clocks(found, settings.lease_seconds)]


def _clocks(found: _Server, lease_seconds: float) -> Remark:
    difference = max(abs(found.ahead) - found.doubt, 0.0)
    hint = "Let NTP keep every machine's clock: a worker of another time takes living runs for lost."
    if difference <= _CLOCK_SECONDS:
        return Remark("its clock agrees")
    level = Level.PROBLEM if difference > lease_seconds / 3 else Level.WARNING
    return Remark(f"its clock is {difference:.1f} s {'ahead' if found.ahead > 0 else 'behind'}", level, hint)


def _ask(address: PostgresAddress) -> _Server:
    """Raises Unavailable, ConfigurationError."""
    # Only here: the package is an extra; without it the schema could not have been read.
    import psycopg
    from psycopg.conninfo import make_conninfo

    from treadle.store.postgres import arguments

    try:
        with psycopg.connect(make_conninfo(**arguments(address.url)), autocommit=True) as connection:
            started, before = time.monotonic(), datetime.now(UTC)  # in this order: what passes between is doubt
            row = connection.execute("SELECT clock_timestamp()").fetchone()
            doubt = (time.monotonic() - started) / 2
            counts = connection.execute(_COUNTS).fetchone()
    except psycopg.Error as error:
        raise Unavailable(f"The database {address} does not answer: {str(error).strip()}.") from error
    assert row is not None  # noqa: S101 - both ask for exactly one row
    assert counts is not None  # noqa: S101
    ahead = (row[0] - (before + timedelta(seconds=doubt))).total_seconds()
    version, allowed, used, role_allowed, role_used = counts
    if role_allowed >= 0 and role_allowed - role_used < allowed - used:
        allowed, used = role_allowed, role_used
    return _Server(str(version).split()[0], used - 1, allowed, ahead, doubt)


# ---- the broker


async def broker(settings: Settings) -> Check:
    try:
        if settings.broker_url is None:
            wakes = "the process itself" if isinstance(_address(settings), SqliteAddress) else "PostgreSQL"
            return Check("broker", Level.OK, f"none: {wakes} wakes workers")
        return Check("broker", Level.OK, await _try_broker(settings.broker_url.get_secret_value()))
    except ConfigurationError as error:
        return Check("broker", Level.PROBLEM, error.message, error.hint)


async def _try_broker(url: str) -> str:
    """Raises Unavailable, ConfigurationError. Leaves nothing there."""
    try:
        import aio_pika

        from treadle.queues.rabbitmq.address import Address
        from treadle.queues.rabbitmq.intake import QUEUE, declare
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("treadle"):
            raise
        raise ConfigurationError(
            "TREADLE_BROKER_URL is set, and the package for RabbitMQ is missing.",
            hint="pip install 'treadle[rabbitmq]'",
        ) from error
    address = Address(url, name="treadle doctor")
    try:
        async with asyncio.timeout(_BROKER_SECONDS), await aio_pika.connect(address.url) as connection:
            started = time.monotonic()
            try:
                async with connection.channel() as channel:
                    waiting = await channel.declare_queue(QUEUE, passive=True)
            except aio_pika.exceptions.ChannelNotFoundEntity:
                latency = time.monotonic() - started
                # Whether it may be made: of that name's kind, and gone with this connection.
                async with connection.channel() as channel:
                    await channel.declare_queue(f"treadle.doctor.{uuid4().hex}", exclusive=True, auto_delete=True)
                return f"{address}, answers in {latency * 1000:.0f} ms; its queue is made at the first start"
            latency = time.monotonic() - started
            async with connection.channel() as channel:
                await declare(channel)  # it is there: this only compares its properties
            count = waiting.declaration_result.message_count
            return f"{address}, answers in {latency * 1000:.0f} ms; {count} messages in {QUEUE}"
    except ConfigurationError:
        raise
    except Exception as error:
        raise address.explain(error) from error


# ---- the files


async def blobs(settings: Settings) -> Check:
    """Writes, reads, lists and deletes one, where they are there already."""
    try:
        place = place_of(settings.blob_url, settings)
        if isinstance(place, DirectoryPlace) and not place.path.exists():
            return Check("blobs", Level.OK, f"{place} (made at the first start)")
        started = time.monotonic()
        await open_blobs(settings.blob_url, settings).check()
    except ConfigurationError as error:
        return Check("blobs", Level.PROBLEM, error.message, error.hint)
    if isinstance(place, DirectoryPlace):
        return Check("blobs", Level.OK, str(place))
    return Check(
        "blobs", Level.OK, f"{place}, written, read and deleted in {(time.monotonic() - started) * 1000:.0f} ms"
    )


# ---- all of it


async def sharing(settings: Settings) -> Check:
    """Whether the parts are for as many machines as each other."""
    try:
        address = _address(settings)
        place = place_of(settings.blob_url, settings)
    except ConfigurationError:
        return Check("sharing", Level.OK, "not looked at: see database and blobs")
    is_local = isinstance(place, DirectoryPlace) and network_file_system(place.path) is None
    if isinstance(address, SqliteAddress):
        wide = [name for name, is_so in (("broker", settings.broker_url), ("S3", not is_local)) if is_so]
        if not wide:
            return Check("sharing", Level.OK, "one machine")
        said = f"SQLite is for this machine alone, {' and '.join(wide)} for many"
        return Check("sharing", Level.WARNING, said, _SQLITE_HINT)
    remarks = []
    if (settings.secret_key, settings.secret_key_file, settings.secret_key_command) == (None, None, None):
        hint = "Give every process the same TREADLE_SECRET_KEY; `openssl rand -base64 32` makes one."
        remarks.append(Remark("the sealing key is this data directory's own", Level.WARNING, hint))
    if is_local:
        hint = "TREADLE_BLOB_URL names a bucket, or a directory that every machine has."
        remarks.append(Remark("files are on this machine's disk", Level.WARNING, hint))
    return summed_up("sharing", remarks or [Remark("any number of machines")])


def _address(settings: Settings) -> SqliteAddress | PostgresAddress:
    return parse(database_url(settings))
