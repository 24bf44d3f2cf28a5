"""Private directories that last no longer than their process: what a killed one leaves, a later one sweeps.

Each is locked by its process for as long as it is there. The kernel takes the lock away with the process, however that
ends: so whether an owner is alive needs no guess, in whatever container and on whatever data directory it works.
"""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

#: Names of these alone: older versions made directories without a lock.
_PREFIX: Final = "treadle-own-"


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A new one below TMPDIR, gone with all that is in it afterwards."""
    path, lock = _make()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def sweep() -> None:
    """Removes those of this user whose processes are gone."""
    with suppress(OSError):
        for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
            with suppress(OSError):
                _remove_if_left(path)


def _make() -> tuple[Path, int]:
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX))  # mode 0700
        with suppress(FileNotFoundError):  # a sweep came between
            fd = _open(path)
            try:
                if _is_locked(fd, path):
                    return path, fd
            except OSError:  # a file system without locks, where no sweep gets one either
                return path, fd
            os.close(fd)


def _remove_if_left(path: Path) -> None:
    fd = _open(path)
    try:
        status = os.fstat(fd)
        is_ours = status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) == stat.S_IRWXU
        if is_ours and _is_locked(fd, path):
            shutil.rmtree(path)
    finally:
        os.close(fd)


def _open(path: Path) -> int:
    """Raises OSError, also for a link."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _is_locked(fd: int, path: Path) -> bool:
    """Whether nobody else has it, and it is still there. Raises OSError where there are no locks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(fd), path.lstat())
    except (BlockingIOError, FileNotFoundError):
        return False
