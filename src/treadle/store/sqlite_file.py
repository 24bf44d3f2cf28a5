"""A SQLite file: how it is opened, and what its troubles are in sentences."""

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from treadle.domain.errors import ConfigurationError, Unavailable

#: What is deleted is overwritten, as some builds of SQLite do by themselves: the end of a run erases its secrets.
PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "secure_delete=ON",
    "journal_size_limit=67108864",
)

#: What SQLite's primary result codes mean to an operator, and what to do.
_SENTENCES = {
    sqlite3.SQLITE_FULL: ("The disk is full.", "Free some space; nothing that was answered is lost."),
    sqlite3.SQLITE_BUSY: ("Another process has kept it locked for too long.", "Find what else has the file open."),
    sqlite3.SQLITE_LOCKED: ("Another process has kept it locked for too long.", "Find what else has the file open."),
    sqlite3.SQLITE_READONLY: ("It is read-only.", "Let this user write to the file and its directory."),
    sqlite3.SQLITE_PERM: ("This user may not use it.", "Let this user write to the file and its directory."),
    sqlite3.SQLITE_CANTOPEN: ("It cannot be opened.", "Let this user write to the file and its directory."),
    sqlite3.SQLITE_IOERR: ("The disk reports an error.", "See the kernel's log."),
    sqlite3.SQLITE_CORRUPT: ("The file is damaged.", "Restore a backup."),
    sqlite3.SQLITE_NOTADB: ("The file is no SQLite database.", "Name another file."),
}

_PASSING = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def make(path: Path, *, busy_seconds: float) -> None:
    """An empty database in WAL mode, readable by its owner alone, where there is no file yet. Called `alone`.
    ConfigurationError.

    Nothing in a process that uses the database may open its file in any other way: closing such a descriptor drops the
    locks that SQLite holds on the file (POSIX says so), and two processes would write past each other.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigurationError(f"The database {path} cannot be made: {error}.") from error
    connect(path, busy_seconds=busy_seconds).close()


def connect(path: Path, *, busy_seconds: float) -> sqlite3.Connection:
    """A connection to a file that is there. It begins no transaction by itself. ConfigurationError."""
    try:
        connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode=rw",
            uri=True,
            timeout=busy_seconds,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
    except sqlite3.Error as error:
        raise trouble(error, path) from error
    try:
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").fetchall()
    except sqlite3.Error as error:
        connection.close()
        raise trouble(error, path) from error
    return connection


@contextmanager
def alone(path: Path, *, seconds: float = 60) -> Iterator[None]:
    """Keeps other processes out while a new file is made: its change to WAL waits for nobody. ConfigurationError after
    `seconds`."""
    deadline = time.monotonic() + seconds
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(f"The database {path} cannot be opened: {error}.") from error
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ConfigurationError(
                        f"Another process has been opening the database {path} for {seconds:.0f} seconds."
                    ) from None
                time.sleep(0.02)
        yield
    finally:
        os.close(lock)


def is_code(error: sqlite3.Error, *codes: int) -> bool:
    """Whether the error has one of these result codes, primary or extended."""
    found = getattr(error, "sqlite_errorcode", 0)  # the module's own errors have none
    return found in codes or (found & 0xFF) in codes


def trouble(error: sqlite3.Error, path: Path) -> ConfigurationError:
    """In a sentence; Unavailable for what may pass."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    sentence, hint = _SENTENCES.get(code, (f"{error}.", "`treadle db upgrade` brings an older database up to date."))
    kind = Unavailable if is_code(error, *_PASSING) else ConfigurationError
    return kind(f"The database {path} cannot be used. {sentence}", hint=hint)
