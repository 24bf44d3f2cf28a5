"""Where a run's files are on this machine."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from treadle.workspace.removal import remove_small, remove_tree


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run's files are. `config` may be elsewhere than the rest: on no disk."""

    root: Path
    config: Path

    @property
    def git(self) -> Path:
        return self.root / "git"

    @property
    def code(self) -> Path:
        return self.root / "code"

    @property
    def modules(self) -> Path:
        return self.root / "modules"

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def files(self) -> Path:
        return self.root / "files"

    async def remove(self) -> None:
        await asyncio.gather(remove_small(self.config), remove_tree(self.root))
        if not self.config.is_relative_to(self.root):
            with suppress(OSError):  # other runs have theirs in there
                self.config.parent.rmdir()


def identity(directory: Path) -> tuple[int, int] | None:
    """Tells one directory from another that took its place; None for none."""
    try:
        status = directory.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
