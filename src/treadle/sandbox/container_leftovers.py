"""Containers whose worker has died without any watcher left to remove them: both killed at once, or the machine."""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from treadle.domain.errors import ConfigurationError
from treadle.sandbox.container_runtime import LABEL, Runtime, last_line

_START_TIME = 19  # of a process, in /proc/PID/stat after its name


@dataclass(frozen=True, slots=True)
class Worker:
    """A process, told from every other of this machine's, past and present. Another container's process ids say
    nothing here: `processes` names the namespace that they are of."""

    boot: str
    processes: str
    pid: int
    started: str

    def __str__(self) -> str:
        return f"{self.boot}/{self.processes}/{self.pid}/{self.started}"

    @classmethod
    @cache
    def this(cls) -> "Worker":
        """This process."""
        return cls(*_here(), os.getpid(), _started(os.getpid()) or "")

    @classmethod
    def parse(cls, text: str) -> "Worker | None":
        parts = text.split("/")
        if len(parts) != 4 or not parts[2].isdecimal():  # noqa: PLR2004 - its fields
            return None
        return cls(parts[0], parts[1], int(parts[2]), parts[3])

    def is_gone(self) -> bool:
        """False where that cannot be known."""
        boot, processes = _here()
        if self.boot != boot:
            return True
        return self.processes == processes and _started(self.pid) != self.started


async def remove_leftovers(runtime: Runtime) -> None:
    """Raises ConfigurationError when the runtime cannot list its containers."""
    done = await runtime.ask("ps", "--all", "--quiet", "--filter", f"label={LABEL}")
    if done.exit_code != 0:
        raise ConfigurationError(f"The sandbox container does not work here: {last_line(done)}")
    for container in done.stdout.decode().split():
        label = await runtime.ask("inspect", "--format", f'{{{{index .Config.Labels "{LABEL}"}}}}', container)
        worker = Worker.parse(label.stdout.decode().strip())
        if label.exit_code == 0 and worker is not None and worker.is_gone():
            await runtime.remove(container)


def _here() -> tuple[str, str]:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return boot, str(Path("/proc/self/ns/pid").stat().st_ino)


def _started(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[_START_TIME]
