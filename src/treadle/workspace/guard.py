"""What an agent may leave in a work tree to stop the service's Git, or to fill its disk: looked for before Git runs.

Git opens the files that tell it what to ignore and how to treat what without a look at what they are: a FIFO in such a
place would hold it up for good, a link would lead it elsewhere, and one of some gigabytes would be read into memory
whole. `git add` would copy whatever it finds.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import anyio

from treadle import command
from treadle.command import CommandError, Completed
from treadle.domain.errors import GitTimedOut, WorkspaceError
from treadle.workspace.git import Git, failure_of, measured, refuse_full_memory
from treadle.workspace.removal import open_beneath
from treadle.workspace.staging import split

#: What Git itself reads of a work tree, and up to which size it may.
GIT_FILES = (".gitignore", ".gitattributes", ".gitmodules", ".mailmap")
MAX_GIT_FILE_BYTES = 1 << 20

#: What one step may add or change: files, links included, and their bytes together.
MAX_CHANGED_FILES = 100_000
MAX_CHANGED_BYTES = 1 << 30

_LIST = ("ls-files", "--others", "--modified", "--exclude-standard", "-z")
_NAMES = tuple(word for name in GIT_FILES for word in ("-o", "-name", name))[1:]
#: Directories, small files, and the links that Git does not follow are harmless.
_SUSPECT = (
    *("(", *_NAMES, ")", "!", "-type", "d"),
    *("!", "(", "-type", "f", "!", "-size", f"+{MAX_GIT_FILE_BYTES}c", ")"),
    *("!", "(", "-type", "l", "!", "-name", ".gitmodules", ")"),
)


async def check_git_files(git: Git, tree: Path, open_up: Callable[[], Awaitable[None]]) -> None:
    """Takes FIFOs, sockets and devices out of the places where Git reads: no commit could hold them. Raises
    WorkspaceError for what a step may have meant. `open_up`: lets the owner into all directories."""
    done = await _find(git, tree)
    if done.exit_code != 0:
        await open_up()
        done = await _find(git, tree)
    for entry in split(done.stdout):
        kind, path = entry[:1], entry[2:]
        name = path.decode(errors="replace")
        if kind == b"f":
            raise WorkspaceError(f"'{name}' is larger than {MAX_GIT_FILE_BYTES >> 20} MiB: Git would read it whole.")
        if kind == b"l":
            raise WorkspaceError(f"'{name}' is a symbolic link, which Git does not take in that place.")
        await anyio.to_thread.run_sync(_remove_beneath, tree, path)


async def check_changes(git: Git, tree: Path) -> None:
    """Raises WorkspaceError for more than a step may commit."""
    files = size = 0
    rest = b""
    with measured(_LIST):
        try:
            async with (
                asyncio.timeout(git.seconds),
                git.spawn(*_LIST) as running,
            ):
                async for chunk in running.chunks():
                    *paths, rest = (rest + chunk).split(b"\0")
                    files += len(paths)
                    size += await anyio.to_thread.run_sync(_size_of, tree, paths)
                    if files > MAX_CHANGED_FILES:
                        raise WorkspaceError(
                            f"More than {MAX_CHANGED_FILES:,} files were changed: a step may not commit so many.",
                            hint="Let .gitignore leave out what is made from others.",
                        )
                    if size > MAX_CHANGED_BYTES:
                        raise WorkspaceError(
                            f"The changed files have more than {MAX_CHANGED_BYTES >> 20:,} MiB: a step may not commit "
                            "so much.",
                            hint="Let .gitignore leave out what is made from others.",
                        )
                if await running.wait() != 0:  # what cannot be read shows when it is to be added
                    refuse_full_memory(_LIST, running.stderr)
        except TimeoutError:
            raise GitTimedOut(
                "The changed files could not be listed in time.", hint="TREADLE_GIT_SECONDS sets how long it may take."
            ) from None
        except CommandError as error:
            raise failure_of(_LIST, error) from error


async def _find(git: Git, tree: Path) -> Completed:
    argv = ("find", ".", *_SUSPECT, "-printf", "%y %P\\0")
    try:
        return await command.run(argv, environment=git.environment, cwd=tree, seconds=git.seconds)
    except CommandError as error:
        raise WorkspaceError(f"The work tree could not be looked through: {error.message}") from error


def _remove_beneath(tree: Path, path: bytes) -> None:
    folder, _, name = path.rpartition(b"/")
    descriptor = open_beneath(tree, folder)
    if descriptor is None:
        return
    try:
        os.unlink(name, dir_fd=descriptor)
    finally:
        os.close(descriptor)


def _size_of(tree: Path, paths: Iterable[bytes]) -> int:
    root, size = os.fsencode(tree) + b"/", 0
    for path in paths:
        try:
            size += os.lstat(root + path).st_size
        except OSError:  # deleted
            continue
    return size
