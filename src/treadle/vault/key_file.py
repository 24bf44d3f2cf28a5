"""The file of the sealing keys, one a line, the first of which seals. It is replaced whole or not at all."""

import fcntl
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import structlog

from treadle.domain.errors import ConfigurationError
from treadle.vault.keys import KEY_BYTES, SealingKey, parse_keys

#: More than any number of keys that somebody could have a use for.
MAX_KEY_TEXT_BYTES = 64 * 1024

#: Identity, content and rights of a file, as far as a look at its directory tells.
Fingerprint = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class KeyFile:
    """One that may be read by many processes while one of them changes it."""

    path: Path

    def fingerprint(self) -> Fingerprint | None:
        """Another one when the file is; None while there is none."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def read(self) -> tuple[SealingKey, ...]:
        """Raises ConfigurationError."""
        return parse_keys(self._text(), source=str(self.path))

    def make(self, random: Callable[[int], bytes]) -> None:
        """With one key, where there is no file yet. Of several processes at once one wins, and all read the winner's.
        Raises ConfigurationError."""
        temporary = self.path.with_name(f".{self.path.name}.{uuid4().hex}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                _write(temporary, [SealingKey(random(KEY_BYTES))])
                # A link fails where the name is taken; a rename would replace the key of a faster process.
                self.path.hardlink_to(temporary)
            except FileExistsError:
                return
            finally:
                temporary.unlink(missing_ok=True)
            _sync(self.path.parent)
        except OSError as error:
            raise ConfigurationError(
                f"The key file {self.path} cannot be made: {error.strerror}.",
                hint="Make the directory writable, or set TREADLE_SECRET_KEY.",
            ) from None

    def change(
        self, change: Callable[[tuple[SealingKey, ...]], Sequence[SealingKey]]
    ) -> tuple[tuple[SealingKey, ...], tuple[SealingKey, ...]]:
        """The keys before and after. Changes of several processes follow one another, and a process that dies at it
        leaves either. Raises ConfigurationError."""
        try:
            path = self.path.resolve(strict=True)  # what a link leads to is replaced, not the link
            with _alone(path) as there:
                before = self.read()
                after = tuple(change(before))
                if after != before:
                    _replace(path, after, there)
        except OSError as error:
            raise ConfigurationError(
                f"The key file {self.path} cannot be changed: {error.strerror}.",
                hint="Put a new key before the old ones by the means that it is kept with; then "
                "`treadle admin keys rotate --no-new-key`.",
            ) from None
        return before, after

    def _text(self) -> str:
        try:
            with self.path.open(encoding="ascii") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                text = file.read(MAX_KEY_TEXT_BYTES)
        except UnicodeDecodeError:
            raise ConfigurationError(f"{self.path} does not hold base64 of {KEY_BYTES} bytes.") from None
        except OSError as error:
            raise ConfigurationError(f"The key file {self.path} cannot be read: {error.strerror}.") from None
        if mode & 0o077:
            # Only a warning: secrets mounted into containers are often group readable by design.
            structlog.get_logger(__name__).warning(
                "the key file can be read by other users",
                path=str(self.path),
                mode=f"{mode:04o}",
                hint=f"chmod 600 {self.path}",
            )
        return text


@contextmanager
def _alone(path: Path) -> Iterator[os.stat_result]:
    """While the lock of the file is held that has the name then."""
    while True:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            there, named = os.fstat(descriptor), path.stat()
            if (there.st_dev, there.st_ino) == (named.st_dev, named.st_ino):
                yield there
                return
        finally:
            os.close(descriptor)


def _replace(path: Path, keys: Sequence[SealingKey], there: os.stat_result) -> None:
    """Owner and rights stay what they are: the service may be another user than who calls this."""
    temporary = path.with_name(f".{path.name}.changed")
    temporary.unlink(missing_ok=True)  # of a process that died at it: we hold the lock
    try:
        _write(temporary, keys)
        if (there.st_uid, there.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(temporary, there.st_uid, there.st_gid)
        temporary.chmod(stat.S_IMODE(there.st_mode))
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # not once it has the name: the next process may be at work with its own
        raise
    _sync(path.parent)


def _write(path: Path, keys: Sequence[SealingKey]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.writelines(f"{key.text}\n" for key in keys)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
