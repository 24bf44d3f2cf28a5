"""Locks between tasks, threads and processes. The kernel lets go of one when the last process that holds it is gone,
however it went: a killed worker leaves none behind."""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

#: How often a lock that another process holds is tried again, in seconds.
POLL_SECONDS = 0.05


class FileLock:
    """A lock on a file, taken. `fd` may be handed to children, which then hold it too."""

    def __init__(self, path: Path, fd: int) -> None:
        self.fd = fd
        self._path = path

    @classmethod
    def take(cls, path: Path) -> "FileLock | None":
        """None when somebody else has it."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it may have removed the file: then this is a lock on nothing.
            if os.fstat(fd).st_nlink > 0:
                return cls(path, fd)
        except BlockingIOError:
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return None

    @classmethod
    async def wait(cls, path: Path, seconds: float) -> "FileLock":
        """Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while (lock := cls.take(path)) is None:  # noqa: ASYNC110 - other processes set no event of ours
                await asyncio.sleep(POLL_SECONDS)
        return lock

    def release(self) -> None:
        """Harmless when repeated."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def remove(self) -> None:
        """Takes the file away, too. Whoever waits for it makes a new one."""
        if self.fd >= 0:
            self._path.unlink(missing_ok=True)
        self.release()


class DirectoryLock:
    """A lock on a directory itself, whatever is in it, for as long as it has its name. Any number may share it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def take(cls, path: Path, *, shared: bool) -> "DirectoryLock | None":
        """None when somebody else's is in the way, or there is no such directory."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except (FileNotFoundError, NotADirectoryError):
            return None
        lock = cls(fd)
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            # Whoever had it may have renamed the directory: then this is a lock on something else.
            if os.path.samestat(os.fstat(fd), path.lstat()):
                return lock
        except (BlockingIOError, FileNotFoundError):
            pass
        except BaseException:
            lock.release()
            raise
        lock.release()
        return None

    def touch(self) -> None:
        """Now is when the directory was last of use."""
        os.utime(self._fd)

    def release(self) -> None:
        """Harmless when repeated."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class LockTable:
    """Locks by path. Within this process waiters queue up; other processes are asked again and again."""

    def __init__(self) -> None:
        self._queues: dict[Path, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def holding(self, path: Path, seconds: float) -> AsyncIterator[FileLock]:
        """Raises TimeoutError when it was not to be had within `seconds`."""
        queue, waiting = self._queues.get(path, (asyncio.Lock(), 0))
        self._queues[path] = (queue, waiting + 1)
        try:
            async with asyncio.timeout(seconds):
                await queue.acquire()
            try:
                lock = await FileLock.wait(path, seconds)
                try:
                    yield lock
                finally:
                    lock.release()
            finally:
                queue.release()
        finally:
            queue, waiting = self._queues.pop(path)
            if waiting > 1:
                self._queues[path] = (queue, waiting - 1)
