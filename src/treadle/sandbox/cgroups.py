"""A control group for one command: what everything that it starts may use together, held by the kernel."""

import itertools
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import structlog

from treadle.ports.sandbox import BoxLimits
from treadle.sandbox.cgroup_places import CPU, MEMORY, PROCESSES, CgroupPlaces, find_places

log = structlog.get_logger(__name__)

#: Processes that a sandbox adds to the command's own: bubblewrap inside and outside, and the doors' relay.
OWN_PROCESSES = 3

#: Seconds for killed processes to leave a group, so that it can be removed; else a later start removes it.
LEAVE_SECONDS = 0.5

_LEAVE_PAUSE_SECONDS = 0.005
_MEMORY_FILES = {1: "memory.limit_in_bytes", 2: "memory.max"}
_SWAP_FILES = {1: "memory.memsw.limit_in_bytes", 2: "memory.swap.max"}
_KILLED_FILES = {1: "memory.oom_control", 2: "memory.events"}

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Cgroup:
    """`folders`: its own, one a controller with version 1, all the same with version 2."""

    places: CgroupPlaces
    name: str

    def folder(self, controller: str) -> Path | None:
        place = self.places.folders.get(controller)
        return place / self.name if place is not None else None

    @property
    def folders(self) -> Sequence[Path]:
        return tuple(dict.fromkeys(place / self.name for place in self.places.folders.values()))

    @property
    def is_complete(self) -> bool:
        """Whether the kernel counts all there is to count."""
        return {MEMORY, PROCESSES, CPU} <= self.places.folders.keys()

    @property
    def entrances(self) -> Sequence[Path]:
        """A process that writes its id to each of these is in it."""
        return tuple(folder / "cgroup.procs" for folder in self.folders)

    def processes(self) -> Sequence[int]:
        """Their ids, as this process sees them."""
        for file in self.entrances:
            with suppress(OSError):
                return [int(pid) for pid in file.read_text().split()]
        return ()

    def cpu_seconds(self) -> float | None:
        """What all of them have used; None where nobody counts it."""
        folder = self.folder(CPU)
        if folder is None:
            return None
        if self.places.version == 1:
            return _number(folder / "cpuacct.usage") / 1e9
        return _entry(folder / "cpu.stat", "usage_usec") / 1e6

    def killed_for_memory(self) -> int:
        """How many processes the kernel has killed because the memory was used up."""
        folder = self.folder(MEMORY)
        return _entry(folder / _KILLED_FILES[self.places.version], "oom_kill") if folder is not None else 0

    def refused_processes(self) -> int:
        """How many more they wanted to start than they may."""
        folder = self.folder(PROCESSES)
        return _entry(folder / "pids.events", "max") if folder is not None else 0

    def remove(self) -> None:
        """Ends whatever is left in it. What cannot be removed in time is for `sweep`."""
        deadline = time.monotonic() + LEAVE_SECONDS
        left = list(self.folders)
        while left:
            left = [folder for folder in left if not _is_removed(folder)]
            if not left or time.monotonic() > deadline:
                break
            for pid in self.processes():
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_LEAVE_PAUSE_SECONDS)
        if left:
            log.warning("a control group stays behind", folders=[str(folder) for folder in left])


@cache
def places() -> CgroupPlaces | None:
    """Where this process may make groups; clears away what dead ones left there."""
    found = find_places()
    if found is not None:
        sweep(found)
    return found


def make(limits: BoxLimits) -> Cgroup | None:
    """None where there is no place for one, or what there was has gone."""
    found = places()
    if found is None:
        return None
    made = Cgroup(found, f"treadle-{os.getpid()}-{_started(os.getpid())}-{next(_numbers)}")
    try:
        for folder in made.folders:
            folder.mkdir()
        _limit(made, limits)
    except OSError as error:
        made.remove()
        log.warning("there is no control group for a command", error=str(error))
        return None
    return made


def sweep(where: CgroupPlaces) -> None:
    """Removes the groups of processes that are no more. Only empty ones: what a sandbox holds dies with its maker."""
    for place in set(where.folders.values()):
        for folder in _groups(place):
            _, pid, started, *_ = [*folder.name.split("-"), "", ""]
            if pid.isdecimal() and _started(int(pid)) != started:
                _is_removed(folder)


def _groups(place: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from list(place.glob("treadle-*-*-*"))


def _limit(group: Cgroup, limits: BoxLimits) -> None:
    version = group.places.version
    memory, processes = group.folder(MEMORY), group.folder(PROCESSES)
    if memory is not None and limits.memory_bytes:
        (memory / _MEMORY_FILES[version]).write_text(str(limits.memory_bytes))
        with suppress(OSError):  # a kernel without swap has no such file
            (memory / _SWAP_FILES[version]).write_text(str(limits.memory_bytes) if version == 1 else "0")
    if processes is not None and limits.processes:
        (processes / "pids.max").write_text(str(limits.processes + OWN_PROCESSES))


def _is_removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _started(pid: int) -> str:
    """When, in the kernel's own count: ids come again. Nothing for a process that is no more."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]


def _number(file: Path) -> int:
    with suppress(OSError, ValueError):
        return int(file.read_text())
    return 0


def _entry(file: Path, name: str) -> int:
    """Of a file of `name number` lines."""
    with suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    return 0
