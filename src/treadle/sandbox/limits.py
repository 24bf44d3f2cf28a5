"""The limits of a box: where they come from, what the kernel holds of them for each process, and how they are told."""

import resource
from collections.abc import Sequence

from treadle.domain.sizes import show_size
from treadle.ports.sandbox import BoxLimits
from treadle.settings import Settings

#: What /tmp holds at most where memory has no limit; else half of that limit. Shared memory: half of it.
TMP_BYTES = 4 * 1024**3

#: A program that ignores the signal for its processor time gets this many seconds more.
CPU_GRACE_SECONDS = 5

#: A box that has grown by as much is ended when less than this is left of the disk, whatever TREADLE_MIN_FREE_BYTES
#: says.
FULL_BYTES = 1 << 20

_BLOCK = 512  # bytes, of `ulimit -f`
_KIB = 1024  # of `ulimit -d`


def limits_of(settings: Settings) -> BoxLimits:
    return BoxLimits(
        memory_bytes=settings.sandbox_memory_bytes,
        processes=settings.sandbox_processes,
        file_bytes=settings.sandbox_file_bytes,
        disk_bytes=settings.sandbox_disk_bytes,
        # A worker takes no new run below the setting itself: that comes first, and may be enough.
        free_bytes=max(settings.min_free_bytes // 2, FULL_BYTES),
        cpu_seconds=settings.sandbox_cpu_seconds,
    )


def tmp_bytes(limits: BoxLimits) -> int:
    return limits.memory_bytes // 2 if limits.memory_bytes else TMP_BYTES


def ulimits(limits: BoxLimits) -> Sequence[str]:
    """Shell commands that set what the kernel holds for each process. No core dumps: they would fill the work tree."""
    said = ["ulimit -c 0"]
    if limits.file_bytes:
        said.append(f"ulimit -f {_at_most(resource.RLIMIT_FSIZE, limits.file_bytes) // _BLOCK}")
    if limits.cpu_seconds:
        soft = _at_most(resource.RLIMIT_CPU, limits.cpu_seconds)
        hard = _at_most(resource.RLIMIT_CPU, limits.cpu_seconds + CPU_GRACE_SECONDS)
        said += [f"ulimit -S -t {soft}", f"ulimit -H -t {hard}"]
    return said


def inner_ulimits(limits: BoxLimits) -> Sequence[str]:
    """In place of a control group, and within the user namespace, where only its own processes count. Of memory what
    a process writes to: engines reserve many times as much. The shells do not agree on a letter for processes."""
    said = []
    if limits.memory_bytes:
        said.append(f"ulimit -d {_at_most(resource.RLIMIT_DATA, limits.memory_bytes) // _KIB}")
    if limits.processes:
        count = _at_most(resource.RLIMIT_NPROC, limits.processes)
        said.append(f"ulimit -u {count} 2>/dev/null || ulimit -p {count}")
    return said


def _at_most(kind: int, wanted: int) -> int:
    """Nobody but root may raise a limit again."""
    _, hard = resource.getrlimit(kind)
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def said_of_disk(limits: BoxLimits) -> str:
    return (
        f"Its files took more than the {show_size(limits.disk_bytes)} that TREADLE_SANDBOX_DISK_BYTES allows: work "
        "tree, home and its own state together."
    )


def said_of_full_disk(limits: BoxLimits) -> str:
    return (
        f"It has filled the disk of the worker: less than {show_size(limits.free_bytes)} are left there, half of what "
        "TREADLE_MIN_FREE_BYTES keeps free, or the last of it."
    )


def said_of_hidden_files(limits: BoxLimits) -> str:
    return (
        f"The disk has filled by more than the {show_size(limits.disk_bytes)} that TREADLE_SANDBOX_DISK_BYTES allows, "
        "and some of its directories cannot be looked into."
    )


def said_of_memory(limits: BoxLimits) -> str:
    return (
        f"All its processes together took more than the {show_size(limits.memory_bytes)} of memory that "
        "TREADLE_SANDBOX_MEMORY_BYTES allows."
    )


def said_of_processes(limits: BoxLimits) -> str:
    return (
        f"It wanted to have more than the {limits.processes} processes and threads at once that "
        "TREADLE_SANDBOX_PROCESSES allows."
    )


def said_of_cpu(limits: BoxLimits) -> str:
    return (
        f"All its processes together used more than the {limits.cpu_seconds} seconds of processor time that "
        "TREADLE_SANDBOX_CPU_SECONDS allows."
    )
