"""Bytes in a directory: one file a key.

Plain files and not obstore's LocalStore: that one does not sync what it wrote, so that a power cut could leave an empty
file behind a row that says otherwise, and its synchronous API takes no async iterator.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar
from uuid import uuid4

from anyio import to_thread

from treadle.blobs.keys import is_key, segments
from treadle.domain.errors import ConfigurationError, NotFound, Unavailable
from treadle.ports import BlobEntry

T = TypeVar("T")

#: Where files are written before they get their name; no key can begin like this.
_UNFINISHED = ".unfinished"
#: Small pieces of an iterator are written together, since each trip to a thread costs more than a small write.
_WRITE_BYTES = 1 << 20
#: A directory may vanish between its making and the rename into it, when another key below it is deleted.
_RENAME_TRIES = 10

#: Entries that one trip to a thread brings.
_PAGE = 1000


class DirectoryBlobs:
    """The Blobs port in `root`. A key with a `/` lies in a directory, so that no key can be another's beginning up to a
    `/`. A full disk is Unavailable, any other OSError a ConfigurationError."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._unfinished = root / _UNFINISHED

    async def put(self, key: str, data: bytes | Path | AsyncIterator[bytes]) -> int:
        target = self._path(key)
        if isinstance(data, bytes):
            return await self._call(lambda: self._put(target, lambda file: file.write(data)))
        if isinstance(data, Path):
            return await self._call(lambda: self._put(target, lambda file: _copy(data, file)))
        return await self._put_pieces(target, data)

    async def get(self, key: str) -> bytes:
        path = self._path(key)
        try:
            return await self._call(path.read_bytes)
        except FileNotFoundError:
            raise _missing(key) from None

    async def stream(self, key: str, *, chunk_bytes: int = 1 << 20) -> AsyncIterator[bytes]:
        path = self._path(key)
        try:
            file = await self._call(lambda: path.open("rb"))
        except FileNotFoundError:
            raise _missing(key) from None
        with file:
            while chunk := await self._call(lambda: file.read(chunk_bytes)):
                yield chunk

    async def delete(self, key: str) -> None:
        path = self._path(key)

        def remove() -> None:
            path.unlink(missing_ok=True)
            self._prune(path.parent)

        await self._call(remove)

    async def delete_prefix(self, prefix: str) -> None:
        path = self._path(prefix.removesuffix("/"))

        def remove() -> None:
            with self._writing():
                gone = self._unfinished / uuid4().hex
                try:
                    path.rename(gone)  # all of it disappears at once
                except (FileNotFoundError, NotADirectoryError):
                    return
                if gone.is_dir():
                    shutil.rmtree(gone)
                else:
                    gone.unlink()
                self._prune(path.parent)

        await self._call(remove)

    async def entries(self, prefix: str = "") -> AsyncIterator[BlobEntry]:
        walk = self._walk(self._path(prefix.removesuffix("/")) if prefix else self._root)
        while page := await self._call(lambda: list(islice(walk, _PAGE))):
            for entry in page:
                yield entry

    async def check(self) -> None:
        """Also clears away what killed processes left half written."""

        def probe() -> None:
            self._put(self._root / "check", lambda file: file.write(b"\n"))
            (self._root / "check").unlink(missing_ok=True)
            self._sweep()

        await self._call(probe)

    def _path(self, key: str) -> Path:
        return self._root.joinpath(*segments(key))

    def _walk(self, directory: Path) -> Iterator[BlobEntry]:
        waiting = [directory]
        while waiting:
            try:
                with os.scandir(waiting.pop()) as found:
                    for each in found:
                        if each.is_dir(follow_symlinks=False):
                            if each.name != _UNFINISHED:
                                waiting.append(Path(each.path))
                        elif entry := self._entry(each):
                            yield entry
            except (FileNotFoundError, NotADirectoryError):  # nothing was put there yet, or it was just deleted
                continue

    def _entry(self, found: os.DirEntry[str]) -> BlobEntry | None:
        """None for what is no blob, or just went."""
        key = Path(found.path).relative_to(self._root).as_posix()
        if not is_key(key) or not found.is_file(follow_symlinks=False):
            return None
        try:
            status = found.stat(follow_symlinks=False)
        except FileNotFoundError:
            return None
        return BlobEntry(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    async def _call(self, work: Callable[[], T]) -> T:
        """Runs `work` in a thread. When cancelled the thread still comes to its end, so `work` cleans up by itself."""
        try:
            return await to_thread.run_sync(work)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> ConfigurationError:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return Unavailable(
                f"There is no space left for files in {self._root}.",
                hint="Free some, or point TREADLE_DATA_DIR or TREADLE_BLOB_URL at a larger place.",
            )
        return ConfigurationError(f"The files in {self._root} cannot be read or written: {error.strerror or error}.")

    def _put(self, target: Path, write: Callable[[BinaryIO], int]) -> int:
        with self._writing(), self._temporary() as (file, path):
            size = write(file)
            self._publish(file, path, target)
            return size

    async def _put_pieces(self, target: Path, pieces: AsyncIterator[bytes]) -> int:
        size = 0
        with ExitStack() as stack:
            try:
                stack.enter_context(self._writing())
                file, path = stack.enter_context(self._temporary())
            except OSError as error:
                raise self._failure(error) from error
            pending = bytearray()
            async for piece in pieces:
                pending += piece
                if len(pending) >= _WRITE_BYTES:
                    size += await self._call(partial(file.write, bytes(pending)))
                    pending.clear()
            size += await self._call(partial(file.write, bytes(pending)))
            await self._call(partial(self._publish, file, path, target))
        return size

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """While any process is inside, no sweep touches the unfinished files."""
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)  # which keeps others out of everything below
        self._unfinished.mkdir(exist_ok=True)
        descriptor = os.open(self._unfinished, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def _temporary(self) -> Iterator[tuple[BinaryIO, Path]]:
        path = self._unfinished / uuid4().hex
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        # Buffered, because its lock keeps a cancelled put from closing the file under a thread that still writes.
        file = os.fdopen(descriptor, "wb")
        try:
            yield file, path
        finally:
            with suppress(OSError):  # what could not be written cannot be flushed either, and was reported
                file.close()
            path.unlink(missing_ok=True)  # gone already when it was published

    def _publish(self, file: BinaryIO, path: Path, target: Path) -> None:
        file.flush()
        os.fsync(file.fileno())
        for attempt in range(_RENAME_TRIES):
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)
                break
            except FileNotFoundError:  # a deletion beside it removed one of the directories, which was empty
                if attempt == _RENAME_TRIES - 1:
                    raise
        with suppress(FileNotFoundError):  # deleted again already, with its directory
            _sync_directory(target.parent)

    def _prune(self, directory: Path) -> None:
        """Removes the directories that a deletion left empty."""
        while directory != self._root:
            try:
                directory.rmdir()
            except OSError:  # not empty, or another deletion was faster
                return
            directory = directory.parent

    def _sweep(self) -> None:
        descriptor = os.open(self._unfinished, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for path in self._unfinished.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        except BlockingIOError:  # somebody is writing; the next start will sweep
            return
        finally:
            os.close(descriptor)


def _copy(source: Path, file: BinaryIO) -> int:
    with source.open("rb") as opened:
        shutil.copyfileobj(opened, file, _WRITE_BYTES)
    return file.tell()


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _missing(key: str) -> NotFound:
    return NotFound(f"There are no bytes under {key}.", hint="They were deleted, or this is another data directory.")
