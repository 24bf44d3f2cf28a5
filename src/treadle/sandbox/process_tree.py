"""What a command and its descendants use, where no control group counts it: read from `/proc`."""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class TreeUse:
    """Of all together. `memory`: bytes that belong to one process alone; `shared_memory` counts the rest."""

    processes: int = 0  # and threads
    memory: int = 0
    cpu_seconds: float = 0.0


def child_with(argument: str) -> int | None:
    """The child of this process that has `argument` among its own."""
    wanted = argument.encode()
    for pid in _children(os.getpid()):
        with suppress(OSError):
            if wanted in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                return pid
    return None


def descendants(root: int) -> Sequence[int]:
    """With the root itself. In a process namespace of their own nothing can leave it: who loses its parent becomes a
    child of the namespace's first."""
    found = [root]
    for pid in found:  # grows meanwhile
        found.extend(_children(pid))
    return found


def use(pids: Iterable[int]) -> TreeUse:
    processes, memory, cpu = 0, 0, 0
    for pid in pids:
        with suppress(OSError, ValueError, IndexError):
            stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            resident, shared = (int(pages) for pages in Path(f"/proc/{pid}/statm").read_text().split()[1:3])
            processes += int(stat[17])
            cpu += sum(int(ticks) for ticks in stat[11:15])  # its own, and its dead children's
            memory += (resident - shared) * _PAGE
    return TreeUse(processes, memory, cpu / _TICKS)


def _children(pid: int) -> Sequence[int]:
    found: list[int] = []
    with suppress(OSError), os.scandir(f"/proc/{pid}/task") as threads:
        for thread in threads:
            with suppress(OSError, ValueError):
                children = Path(thread.path, "children").read_text()
                found.extend(int(child) for child in children.split())
    return found
