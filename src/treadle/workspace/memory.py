"""A private directory on a file system in memory, for what must never reach a disk."""

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from treadle.domain.errors import WorkspaceError

_PRIVATE = 0o700
_AGENT = "agent-"

_ATTEMPTS = 20

Made = TypeVar("Made")


class PrivateMemory:
    """`<shared memory>/treadle-<uid>-<name>`: there while something is in it. The path is short enough for sockets."""

    def __init__(self, shared: Path, name: str) -> None:
        self.root = shared / f"treadle-{os.getuid()}-{name}"

    def is_usable(self) -> bool:
        """Whether there is such a file system, and nobody else's directory is in our place."""
        shared = self.root.parent
        return shared.is_mount() and os.access(shared, os.W_OK) and self._is_ours() is not False

    def _is_ours(self) -> bool | None:
        """None when there is nothing."""
        try:
            status = self.root.lstat()
        except OSError:
            return None
        is_private = stat.S_ISDIR(status.st_mode) and stat.S_IMODE(status.st_mode) == _PRIVATE
        return is_private and status.st_uid == os.getuid()

    def make(self, name: str) -> Path:
        """A new directory."""
        path = self.root / name
        self._retrying(lambda: path.mkdir(mode=_PRIVATE))
        return path

    def make_for_agent(self) -> Path:
        """A new directory for an SSH agent: its socket, and its process id in `pid`."""
        return Path(self._retrying(lambda: tempfile.mkdtemp(prefix=_AGENT, dir=self.root)))

    @contextmanager
    def agent_directory(self) -> Iterator[Path]:
        """The same, gone afterwards."""
        directory = self.make_for_agent()
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)
            self.leave()

    def sweep(self) -> None:
        """Removes the directories of agents that are gone, left by a killed process."""
        for folder in self.root.glob(f"{_AGENT}*"):
            with suppress(OSError, ValueError):
                pid = int((folder / "pid").read_text())
                if not Path(f"/proc/{pid}").exists():
                    shutil.rmtree(folder)
        self.leave()

    def leave(self) -> None:
        """Takes the whole away if nothing is in it."""
        with suppress(OSError):
            self.root.rmdir()

    def _retrying(self, make: Callable[[], Made]) -> Made:
        """Another run may take the directory away, being empty, at that very moment."""
        for _ in range(_ATTEMPTS):
            self.root.mkdir(mode=_PRIVATE, exist_ok=True)
            if self._is_ours() is False:
                break
            with suppress(FileNotFoundError):
                return make()
        raise WorkspaceError(f"No directory can be made in {self.root}.")
