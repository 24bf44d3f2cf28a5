"""Mirrors: a bare copy of each repository for each organization, so that a run fetches only what is new.

A mirror is made whole or not at all, fetched under a lock, and never loses an object: runs borrow from it. Each fetch
uses the run's own credentials, so that access is checked every time. `pruning` removes mirrors, but never one on loan.
"""

import hashlib
import re
import shutil
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import anyio

from treadle.domain.errors import GitError, Unavailable
from treadle.domain.git_url import normalize
from treadle.workspace.git import Git
from treadle.workspace.locks import DirectoryLock, LockTable
from treadle.workspace.refs import HEADS, SHA1_BYTES, SHA256_BYTES, TAGS, read_refs
from treadle.workspace.remote import Remote
from treadle.workspace.removal import remove_tree

#: More loose references than this are packed after a fetch.
MAX_LOOSE_REFS = 1_000

#: More packs than this, or about as many loose objects as in `git gc --auto`, are rolled up.
MAX_PACKS = 50
MAX_LOOSE_OBJECTS = 6_700
_SAMPLE = "17"  # one of 256 folders of loose objects, as `git gc` samples them

#: What the names of a repository's branches and tags may take, packed: some hundred thousand of them.
MAX_REFS_BYTES = 32 << 20

_REFSPECS = (f"+{HEADS}*:{HEADS}*", f"+{TAGS}*:{TAGS}*")
_SHA256 = re.compile(r"objectformat\s*=\s*sha256", re.IGNORECASE)
_CONFIGURATION = "[gc]\n\tauto = 0\n\tpruneExpire = never\n[maintenance]\n\tauto = false\n"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A mirror at one moment. `refs`: branches and tags by full name, just after a fetch as the remote has them."""

    refs: Mapping[str, str]
    objects: Path
    is_warm: bool
    hash_bytes: int

    def branch(self, name: str) -> str | None:
        return self.refs.get(HEADS + name)


class Loans:
    """The mirrors that one workspace borrows objects from: none of them is removed before `release`, or before the end
    of this process. A mirror's own time of change says when it was last borrowed from."""

    def __init__(self) -> None:
        self._held: dict[Path, DirectoryLock] = {}

    def take(self, mirror: Path) -> bool:
        """False when the mirror is not there, or is about to be removed."""
        if mirror not in self._held:
            lock = DirectoryLock.take(mirror, shared=True)
            if lock is None:
                return False
            self._held[mirror] = lock
        self._held[mirror].touch()
        return True

    def release(self) -> None:
        """Harmless when repeated."""
        while self._held:
            _, lock = self._held.popitem()
            lock.touch()
            lock.release()


class Mirrors:
    """Below `root`: `<organization>/<hash of the address>.git`."""

    def __init__(self, root: Path, git: Git) -> None:
        self._root = root
        self._git = git
        self._locks = LockTable()

    def _path(self, remote: Remote) -> Path:
        name = hashlib.sha256(normalize(remote.url).encode()).hexdigest()
        return self._root / str(remote.organization) / f"{name}.git"

    async def peek(self, remote: Remote, loans: Loans) -> Snapshot | None:
        """The mirror as it is, without asking the remote; None when there is none. Nothing of it may be shown to
        anybody before `fetch` has found that the run has access."""
        mirror = self._path(remote)
        if not loans.take(mirror) or not _is_there(mirror):
            return None
        return (await anyio.to_thread.run_sync(_read, mirror))[0]

    async def fetch(self, remote: Remote, loans: Loans) -> Snapshot:
        """The mirror as the remote is now, taken into `loans`. Raises GitError: the remote's refusals; and
        Unavailable when others kept the mirror for too long."""
        mirror = self._path(remote)
        mirror.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        async with AsyncExitStack() as stack:
            try:
                holding = self._locks.holding(mirror.with_suffix(".lock"), self._git.seconds)
                lock = await stack.enter_async_context(holding)
            except TimeoutError:
                raise Unavailable(
                    f"Other runs kept the mirror of {remote.url} for longer than {self._git.seconds:g} s.",
                    hint="TREADLE_GIT_SECONDS sets how long a run waits for it.",
                ) from None
            # Nobody removes a mirror without the lock that is held here.
            is_warm = loans.take(mirror) and _is_there(mirror)
            git = replace(self._git, kept_fds=(lock.fd,))
            if is_warm:
                await _update(mirror, git, remote)
            else:
                await _clone(mirror, git, remote)
                loans.take(mirror)
            snapshot, loose = await anyio.to_thread.run_sync(_read, mirror)
            await _tidy(mirror, git, loose)
            loans.take(mirror)  # after what Git wrote
            return replace(snapshot, is_warm=is_warm)


async def _update(mirror: Path, git: Git, remote: Remote) -> None:
    await anyio.to_thread.run_sync(_remove_stale_locks, mirror)
    options = ("--quiet", "--prune", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head")
    await remote.run(replace(git, directory=mirror), "fetch", *options, "--", remote.url, *_REFSPECS)


async def _clone(mirror: Path, git: Git, remote: Remote) -> None:
    """A clone, not a fetch: Git then need not walk what it has just checked while receiving it."""
    unfinished = mirror.with_suffix(".part")
    await remove_tree(unfinished)  # of a process that was killed
    # `--dissociate`: a local repository may borrow objects from where no sandbox looks.
    options = ("--quiet", "--bare", "--template=", "--dissociate")
    try:
        await remote.run(git, "clone", *options, "--", remote.url, str(unfinished))
        with (unfinished / "config").open("a") as config:
            config.write(_CONFIGURATION)
        unfinished.rename(mirror)
    finally:
        await remove_tree(unfinished)


async def _tidy(mirror: Path, git: Git, loose_refs: int) -> None:
    """What keeps a mirror fast. Rolling packs up keeps every object, reachable or not: runs borrow them."""
    git = replace(git, directory=mirror)
    if loose_refs > MAX_LOOSE_REFS:
        await git.run("pack-refs", "--all")
    if await anyio.to_thread.run_sync(_is_crowded, mirror / "objects"):
        await git.run("repack", "--quiet", "-d", "--geometric=2")


def _is_crowded(objects: Path) -> bool:
    packs = sum(1 for path in (objects / "pack").iterdir() if path.suffix == ".pack")
    sample = objects / _SAMPLE
    loose = sum(1 for _ in sample.iterdir()) if sample.is_dir() else 0
    return packs > MAX_PACKS or loose * 256 > MAX_LOOSE_OBJECTS


def _is_there(mirror: Path) -> bool:
    return (mirror / "HEAD").exists()


def _read(mirror: Path) -> tuple[Snapshot, int]:
    """And how many of its references have a file of their own."""
    packed = mirror / "packed-refs"
    if packed.exists() and packed.stat().st_size > MAX_REFS_BYTES:
        raise GitError(f"The repository's branches and tags take more than {MAX_REFS_BYTES >> 20} MiB to list.")
    refs, loose = read_refs(mirror)
    is_sha256 = _SHA256.search((mirror / "config").read_text()) is not None
    return Snapshot(refs, mirror / "objects", True, SHA256_BYTES if is_sha256 else SHA1_BYTES), loose


def _remove_stale_locks(mirror: Path) -> None:
    """Whoever left one is gone: it held the mirror's lock, and so did its children."""
    for name in ("packed-refs.lock", "packed-refs.new", "HEAD.lock", "config.lock", "shallow.lock"):
        (mirror / name).unlink(missing_ok=True)
    for lock in (mirror / "refs").rglob("*.lock"):
        lock.unlink(missing_ok=True)
    for left in (mirror / "objects").glob("tmp_objdir-*"):
        shutil.rmtree(left, ignore_errors=True)
    for left in (mirror / "objects" / "pack").glob("tmp_*"):
        left.unlink(missing_ok=True)
