"""Removes what an agent may have made: directories without permissions, a thousand levels of them, links out of the
tree. Nothing outside is ever followed into."""

import os
import shutil
import stat
from pathlib import Path

import anyio
import structlog

from treadle import command
from treadle.command import CommandError
from treadle.domain.errors import WorkspaceError

log = structlog.get_logger(__name__)

#: How long the removal of one tree may take, in seconds.
REMOVE_SECONDS = 600.0

_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}


async def remove_tree(path: Path) -> None:
    """A tree, large or small, by `rm` (many times faster than Python, and it knows no depth that is too deep). What
    cannot be removed is logged; a later sweep tries again."""
    if not _exists(path):
        return
    try:
        if await _rm(path) != "":
            await command.run(
                ["chmod", "-R", "u+rwX", "--", str(path)], environment=_ENVIRONMENT, seconds=REMOVE_SECONDS
            )
            if said := await _rm(path):
                log.warning("a workspace could not be removed whole", path=str(path), said=said)
    except CommandError as error:
        log.warning("a workspace could not be removed", path=str(path), said=error.message)


async def _rm(path: Path) -> str:
    done = await command.run(["rm", "-rf", "--", str(path)], environment=_ENVIRONMENT, seconds=REMOVE_SECONDS)
    return done.stderr.strip() if done.exit_code else ""


def _exists(path: Path) -> bool:
    return os.path.lexists(path)


async def remove_small(path: Path) -> None:
    """A directory that usually holds a few files, such as a `.git`: without a process, unless it is unusual."""
    try:
        await anyio.to_thread.run_sync(_remove_plain, path)
    except (OSError, RecursionError):
        await remove_tree(path)


def _remove_plain(path: Path) -> None:
    try:
        is_directory = stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    if is_directory:
        shutil.rmtree(path)
    else:
        path.unlink()


def open_beneath(root: Path, relative: str | bytes) -> int | None:
    """A descriptor of the directory `relative` below `root`, reached through no symbolic link; None when there is none
    such. Permissions that its owner was denied on the way are taken back: Git needs fewer than we do, and where it can
    look we must be able to."""
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(root, flags)
    for part in os.fsencode(relative).split(b"/"):
        if part in {b"", b"."}:
            continue
        try:
            below = os.open(part, flags, dir_fd=fd) if part != b".." else None
        except (FileNotFoundError, NotADirectoryError):
            below = None
        finally:
            os.close(fd)
        if below is None:
            return None
        fd = below
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
        if mode & stat.S_IRWXU != stat.S_IRWXU:
            Path(f"/proc/self/fd/{fd}").chmod(mode | stat.S_IRWXU)
    return fd


async def drop_dot_git(root: Path, relative: str | bytes) -> bool:
    """Removes the `.git`, of whatever kind, of a directory below `root`; whether there was one. Raises WorkspaceError
    when it is still there after that."""
    fd = open_beneath(root, relative)
    if fd is None:
        return False
    try:
        if not _has_dot_git(fd):
            return False
        # Through the descriptor: the path may have become a link in between.
        await remove_small(Path(f"/proc/{os.getpid()}/fd/{fd}/.git"))
        if _has_dot_git(fd):
            raise WorkspaceError(f"The repository inside the work tree at {os.fsdecode(relative)!r} cannot be removed.")
    finally:
        os.close(fd)
    return True


def _has_dot_git(fd: int) -> bool:
    try:
        os.lstat(".git", dir_fd=fd)
    except FileNotFoundError:
        return False
    return True
