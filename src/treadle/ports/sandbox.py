"""Where commands of the agent's run: what they see, what they may use, how they end."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things are, as the engine sees them. A sandbox may show them under other paths than the host's."""

    work_tree: Path
    home: Path
    config: Path  # the CLI's own state: sessions, credentials
    files: Path  # attached files


@dataclass(frozen=True, slots=True)
class Door:
    """A way through the walls: inside, TCP connections to 127.0.0.1 at `port` lead to the host's unix `socket`. None:
    somebody listens there on the host's own loopback, for commands without walls."""

    port: int
    socket: Path | None


@dataclass(frozen=True, slots=True)
class BoxLimits:
    """What everything in a box may use together, unless it says otherwise; 0 is no limit."""

    memory_bytes: int = 0  # tmpfs included
    processes: int = 0  # and threads
    file_bytes: int = 0  # of one file
    disk_bytes: int = 0  # of the work tree, home, config
    free_bytes: int = 0  # what it leaves of the file system where the work tree is
    cpu_seconds: int = 0  # of one command, all its processes


@dataclass(frozen=True, slots=True)
class Box:
    """What a sandboxed command may see. Host paths."""

    work_tree: Path
    home: Path
    config: Path
    files: Path
    is_read_only: bool  # the work tree
    readable: tuple[
        Path, ...
    ] = ()  # further paths, shown read-only at their own place (object stores, a CLI's directory)
    doors: tuple[Door, ...] = ()  # the only network there is


class Enclosed(Protocol):
    """A command with its walls, ready to be spawned."""

    @property
    def argv(self) -> tuple[str, ...]: ...

    @property
    def environment(self) -> Mapping[str, str]: ...

    async def breached(self) -> str:
        """Returns when the command has passed a limit that only watching finds (disk, say), with a sentence that names
        the limit; the caller ends it then. Otherwise never: to be cancelled."""

    def hit(self) -> str | None:
        """After the command's end: a sentence on the limit that ended it or one of its processes, where that is
        known."""


class Sandbox(Protocol):
    """Puts a command where it can reach only its box, and dies with all its descendants, `setsid` ones too."""

    @property
    def name(self) -> str: ...

    @property
    def enforces_read_only(self) -> bool: ...

    @property
    def confines_network(self) -> bool:
        """Whether a command reaches nothing but its box's doors."""

    def layout(self, box: Box) -> Layout:
        """The box as the command will see it."""

    def enclose(
        self, argv: Sequence[str], environment: Mapping[str, str], box: Box
    ) -> AbstractContextManager[Enclosed]:
        """The argv and environment to spawn instead, from this process; leaving lets go of what was made for it, after
        the command has ended. No secret moves into argv. It starts in the work tree. SIGTERM to its process group
        reaches the command; its end, even by SIGKILL, and the end of this process, end every descendant. A death by
        signal n shows as exit code 128 + n."""
