"""Tells processes apart: by what names one for good; from outside their sandbox, by a marker in their environment."""

import time
from contextlib import suppress
from pathlib import Path

import psutil


def note(place: Path, pid: int) -> None:
    """Writes down which process it is, so that whoever has its pid later is not taken for it."""
    with suppress(ProcessLookupError, FileNotFoundError):
        place.write_text(f"{pid} {_born(pid)}")


def noted(place: Path) -> psutil.Process | None:
    """The process that was written down, if it runs still.

    Its pid and when it began name it. Its environment does not: of a process that is becoming another program it is
    empty until the kernel has laid that out, and a service's start is a chain of five programs.
    """
    try:
        pid, born = map(int, place.read_text().split())
        process = psutil.Process(pid)
        is_it = _born(pid) == born and process.status() != psutil.STATUS_ZOMBIE
    except (OSError, psutil.Error):
        return None
    return process if is_it else None


def _born(pid: int) -> int:
    """In clock ticks since the machine started: field 22 of proc_pid_stat(5), the twentieth behind the name."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def marked(marker: str) -> list[int]:
    """The process ids, as the host sees them, of those that were started with the marker."""
    found = []
    for entry in Path("/proc").iterdir():
        try:  # a zombie's environment is empty
            if entry.name.isdigit() and marker.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def wait_until_marked(marker: str, count: int, seconds: float = 60.0) -> None:
    """A process that has just become another program may be seen without its environment."""
    deadline = time.monotonic() + seconds
    while len(found := marked(marker)) < count:
        assert time.monotonic() < deadline, found
        time.sleep(0.01)


def wait_until_dead(marker: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while alive := marked(marker):
        assert time.monotonic() < deadline, alive
        time.sleep(0.01)
