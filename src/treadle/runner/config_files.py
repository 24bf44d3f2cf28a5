"""Reading and writing in a directory that an agent may have filled with links: no link is ever followed."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO

#: Larger files are not read: no credential and no conversation is this large.
MAX_BYTES = 64 << 20


def write_private(root: Path, path: str, content: bytes) -> None:
    """Writes `content` to `root`/`path`, mode 0600, replacing whatever is there. Raises OSError when a link is in the
    way."""
    *parents, name = PurePosixPath(path).parts
    with _directory(root, tuple(parents), make=True) as directory:
        _remove(name, directory)
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=directory)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)


def read_plain(root: Path, path: str) -> bytes | None:
    """The content of the plain file `root`/`path`; None where there is none, a link, or more than MAX_BYTES."""
    with _plain(root, path) as file:
        if file is None or os.fstat(file.fileno()).st_size > MAX_BYTES:
            return None
        return file.read(MAX_BYTES)


def matching(root: Path, pattern: str) -> Iterator[str]:
    """Paths of plain files below `root` that match the glob `pattern`, relative to it, in order."""
    for path in sorted(root.glob(pattern)):
        if path.is_file() and not path.is_symlink():
            yield path.relative_to(root).as_posix()


@contextmanager
def _plain(root: Path, path: str) -> Iterator[BinaryIO | None]:
    """The plain file `root`/`path`, open; None for anything else."""
    *parents, name = PurePosixPath(path).parts
    try:
        with _directory(root, tuple(parents), make=False) as directory:
            descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except OSError:
        yield None
        return
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # of a directory no file can be made, not even to look at it
        os.close(descriptor)
        yield None
        return
    with os.fdopen(descriptor, "rb") as file:
        yield file


@contextmanager
def _directory(root: Path, parents: tuple[str, ...], *, make: bool) -> Iterator[int]:
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for name in parents:
            if name in {"..", "/"}:
                raise OSError(f"not below its directory: {name}")
            if make:
                with suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=descriptor)
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def _remove(name: str, directory: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)
