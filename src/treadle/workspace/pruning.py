"""Takes away from this machine what no run needs: mirrors that lie unused, and what killed processes left. For any
process, next to workers that go on: locks tell what is in use.

    <hash>.git    a mirror; whoever borrows from it shares a lock on the directory (`mirrors.Loans`)
    <hash>.lock   held while it is made, fetched, or taken away
    <hash>.part   a clone that is not complete; when the lock is free, nobody's
    <hash>.gone   a mirror that was taken away and is being removed

A mirror loses its name first, and at once: whatever ends the removal, there is a whole one or none.
"""

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import anyio

from treadle.workspace.locks import DirectoryLock, FileLock
from treadle.workspace.removal import remove_tree

#: Below a data directory: the workspaces, with a lock file beside each.
WORKSPACES = "runs"

_BLOCK_BYTES = 512  # what `st_blocks` counts, whatever the file system's own are


@dataclass(frozen=True, slots=True)
class Mirror:
    """One on this machine. `size`: bytes on the disk. `is_used`: some workspace borrows from it at this moment, or it
    is being fetched."""

    path: Path
    size: int
    date_used: datetime
    is_used: bool


@dataclass(frozen=True, slots=True)
class Leavings:
    """What killed processes left: workspaces, clones that are not complete, mirrors half removed."""

    paths: tuple[Path, ...] = ()
    size: int = 0  # bytes on the disk


@dataclass(frozen=True, slots=True)
class PrunedMirrors:
    """`used`: those that would have gone, were they not in use."""

    gone: tuple[Mirror, ...] = ()
    used: tuple[Mirror, ...] = ()
    left: int = 0  # bytes of all that are there still


class Shelf:
    """The mirrors and workspaces of data directories."""

    def __init__(self, *roots: Path) -> None:
        self._roots = roots

    async def mirrors(self) -> Sequence[Mirror]:
        """The longest unused first."""
        found = await anyio.to_thread.run_sync(self._mirrors)
        return sorted(found, key=lambda mirror: mirror.date_used)

    async def prune(
        self, *, unused_since: datetime | None, most_bytes: int | None, is_dry_run: bool = False
    ) -> PrunedMirrors:
        """Removes the mirrors last used before `unused_since`; then the longest unused ones until all take no more than
        `most_bytes`. None: no such limit. One that is in use is passed over."""
        mirrors = await self.mirrors()
        left, gone, used = sum(mirror.size for mirror in mirrors), list[Mirror](), list[Mirror]()
        for mirror in mirrors:
            is_old = unused_since is not None and mirror.date_used < unused_since
            if not is_old and (most_bytes is None or left <= most_bytes):
                continue
            if not mirror.is_used and (is_dry_run or await _remove(mirror)):
                gone.append(mirror)
                left -= mirror.size
            else:
                used.append(mirror)
        return PrunedMirrors(tuple(gone), tuple(used), left)

    async def leavings(self) -> Leavings:
        """What is there of them now."""
        return await anyio.to_thread.run_sync(self._leavings)

    async def clear(self) -> None:
        """Removes what is left of mirrors. Workspaces are `GitWorkspaces.sweep`'s: it knows where else they lie."""
        for path in await anyio.to_thread.run_sync(self._take_parts):
            await remove_tree(path)

    # ---- on a thread -------------------------------------------------------------------------------------------------

    def _mirrors(self) -> list[Mirror]:
        found = []
        for path in self._named(".git"):
            with suppress(FileNotFoundError), _unused(path) as lock:  # another prune may be faster
                found.append(Mirror(path, _size(path), _date_used(path), lock is None))
        return found

    def _leavings(self) -> Leavings:
        parts = [path for path in self._named(".part") if _is_free(path.with_suffix(".lock"))]
        runs = [path for root in self._roots for path in _listed(root / WORKSPACES) if path.is_dir()]
        left = [path for path in runs if _is_free(path.with_name(f"{path.name}.lock"))]
        paths = (*self._named(".gone"), *parts, *left)
        return Leavings(paths, sum(map(_size, paths)))

    def _take_parts(self) -> Sequence[Path]:
        """All of them named `.gone`, where nobody works."""
        for path in self._named(".part"):
            lock = FileLock.take(path.with_suffix(".lock"))
            if lock is not None:
                _rename(path, path.with_suffix(".gone"))
                lock.remove()
        return self._named(".gone")

    def _named(self, suffix: str) -> Sequence[Path]:
        folders = [folder for root in self._roots for folder in _listed(root / "mirrors")]
        return [path for folder in folders for path in _listed(folder) if path.suffix == suffix]


async def _remove(mirror: Mirror) -> bool:
    """False, and nothing is changed, when it is in use, or was used since it was looked at."""
    gone = mirror.path.with_suffix(".gone")
    await remove_tree(gone)  # of a prune that was killed
    if not await anyio.to_thread.run_sync(_take_away, mirror, gone):
        return False
    await remove_tree(gone)
    return True


def _take_away(mirror: Mirror, gone: Path) -> bool:
    with suppress(FileNotFoundError), _unused(mirror.path) as lock:
        return lock is not None and _date_used(mirror.path) == mirror.date_used and _rename(mirror.path, gone)
    return False


@contextmanager
def _unused(mirror: Path) -> Iterator[FileLock | None]:
    """The lock on its fetch, while nobody can begin to borrow from it; None when somebody does, or fetches it."""
    fetching = FileLock.take(mirror.with_suffix(".lock"))
    borrowing = DirectoryLock.take(mirror, shared=False) if fetching is not None else None
    try:
        yield fetching if borrowing is not None else None
    finally:
        if borrowing is not None:
            borrowing.release()
        if fetching is not None:
            if mirror.exists():
                fetching.release()
            else:  # another prune was faster, and this is a new file
                fetching.remove()


def _is_free(lock: Path) -> bool:
    """Whether nobody has it. Makes no file."""
    taken = FileLock.take(lock) if lock.exists() else None
    if taken is not None:
        taken.release()
    return taken is not None or not lock.exists()


def _rename(path: Path, name: Path) -> bool:
    """False when another prune was faster, or what it left there is not removed yet."""
    try:
        path.rename(name)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT}:
            raise
        return False
    return True


def _date_used(mirror: Path) -> datetime:
    return datetime.fromtimestamp(mirror.stat().st_mtime, UTC)


def _size(path: Path) -> int:
    """What it takes on the disk, as far as it is still there."""
    blocks = 0
    for folder, _, files in os.walk(path):
        blocks += sum(_blocks(Path(folder, name)) for name in files) + _blocks(Path(folder))
    return blocks * _BLOCK_BYTES


def _blocks(path: Path) -> int:
    try:
        return path.lstat().st_blocks
    except OSError:
        return 0


def _listed(directory: Path) -> Iterable[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return ()
