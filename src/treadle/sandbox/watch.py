"""Watches a command for the limits that no kernel holds: disk, processor time, and all of them without cgroups."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from treadle.ports.sandbox import BoxLimits
from treadle.sandbox import limits, process_tree
from treadle.sandbox.cgroups import OWN_PROCESSES, Cgroup
from treadle.sandbox.disk_watch import DiskWatch
from treadle.sandbox.process_tree import TreeUse
from treadle.sandbox.shared_memory import SharedMemoryWatch

#: Between two looks, in seconds.
LOOK_SECONDS = 0.5


@dataclass(slots=True)
class Watched:
    """The Enclosed port. `group`: where its processes are; `mark`: an argument that only its first process has, where
    there is no group."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    limits: BoxLimits
    disk: DiskWatch
    group: Cgroup | None
    mark: str
    _shared: SharedMemoryWatch = field(default_factory=SharedMemoryWatch)
    _root: int | None = None
    _said: str | None = None

    async def breached(self) -> str:
        said = None
        while said is None:
            await asyncio.sleep(LOOK_SECONDS)
            said = await asyncio.to_thread(self._look)
        self._said = said
        return said

    def hit(self) -> str | None:
        return self._said or self._counted()

    def close(self) -> None:
        """Takes the last figures, and lets go of the group."""
        self._said = self.hit()
        if self.group is not None:
            self.group.remove()
            self.group = None

    def _counted(self) -> str | None:
        """What the kernel has counted, the worst first."""
        group = self.group
        if group is None:
            return None
        if self.limits.memory_bytes and group.killed_for_memory():
            return limits.said_of_memory(self.limits)
        if self.limits.cpu_seconds and (group.cpu_seconds() or 0.0) >= self.limits.cpu_seconds:
            return limits.said_of_cpu(self.limits)
        if self.limits.processes and group.refused_processes():
            return limits.said_of_processes(self.limits)
        return None

    def _look(self) -> str | None:
        group = self.group
        pids = self._processes(group)
        return self._look_at_use(group, pids) or self.disk.look(pids)

    def _processes(self, group: Cgroup | None) -> Sequence[int]:
        if group is not None:
            return group.processes()
        if self._root is None:
            self._root = process_tree.child_with(self.mark)
        return process_tree.descendants(self._root) if self._root is not None else ()

    def _look_at_use(self, group: Cgroup | None, pids: Sequence[int]) -> str | None:
        if group is not None and group.is_complete:
            found = TreeUse(cpu_seconds=group.cpu_seconds() or 0.0)
        else:
            found = process_tree.use(pids)
            if self.limits.memory_bytes:
                found = replace(found, memory=found.memory + self._shared.look(pids))
        if self.limits.cpu_seconds and found.cpu_seconds >= self.limits.cpu_seconds:
            return limits.said_of_cpu(self.limits)
        if self.limits.memory_bytes and found.memory > self.limits.memory_bytes:
            return limits.said_of_memory(self.limits)
        if self.limits.processes and found.processes > self.limits.processes + OWN_PROCESSES:
            return limits.said_of_processes(self.limits)
        return None
