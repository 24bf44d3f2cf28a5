"""The first process in a container: starts the command with the environment that it was given, and ends with it.

    python3 -I -S container_init.py --environment FIFO --report FIFO --filter FILE --cgroup own|none --cpu SECONDS
        --data BYTES --grace SECONDS --relay PROGRAM -- [--door PORT=SOCKET]... -- COMMAND [ARGUMENT]...

The environment comes through a pipe: what a container runtime is told, it writes to its disk, where `inspect` shows it.
The runtime's own variables, and the image's, end here.

SIGTERM, SIGINT and SIGHUP go to the command's process group as SIGTERM, and after the grace everything ends. The exit
code is the command's; 128 + n when signal n ended it; 125 when something of ours is not there. This being process 1,
the kernel ends every other with it.

What the command hit of its limits is written into the other pipe, as the names of the limits. `--filter`: system calls
to refuse, as bubblewrap reads it; empty for none. `--cgroup own`: the container has one, whose counters can be
believed; then `--cpu` is the processor time of all its processes, 0 for no limit. `--data`: of a
process's memory what it writes to, where there is no cgroup; 0 for no limit.

A program of its own, without Treadle: the image's Python runs it, of whatever version.
"""

import os
import resource
import signal
import sys
import time

_WATCHED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 4, 22, 38
_SECCOMP_MODE_FILTER = 2
_INSTRUCTION_BYTES = 8

#: Of 1000: when memory runs out, the command's processes go before this one, and before the service's.
_EXPENDABLE = "500"

_CPU_CHECK_SECONDS = 1.0
_LENGTH_BYTES = 8

#: (limit, file of the container's cgroup, first word of its line), of both versions of cgroups.
_COUNTERS = (
    ("memory", "/sys/fs/cgroup/memory.events", "oom_kill"),
    ("memory", "/sys/fs/cgroup/memory/memory.oom_control", "oom_kill"),
    ("processes", "/sys/fs/cgroup/pids.events", "max"),
    ("processes", "/sys/fs/cgroup/pids/pids.events", "max"),
)


def _read_environment(path: str) -> dict[bytes, bytes]:
    """NAME=VALUE, each ended by a zero byte, after their length: the pipe's other end stays open."""
    with open(path, "rb") as pipe:  # noqa: PTH123 - pathlib is slow to import
        block = pipe.read(int.from_bytes(pipe.read(_LENGTH_BYTES), "big"))
    return dict(entry.split(b"=", 1) for entry in block.split(b"\0") if b"=" in entry)


def _prctl(*arguments: object) -> None:
    import ctypes  # noqa: PLC0415 - after the fork, and once

    if ctypes.CDLL(None, use_errno=True).prctl(*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {arguments[0]} failed")


def _refuse(path: str) -> None:
    """Refuses the filter's system calls from now on."""
    import ctypes  # noqa: PLC0415 - as above

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))

    with open(path, "rb") as file:  # noqa: PTH123 - as above
        code = file.read()
    _prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(Program(len(code) // _INSTRUCTION_BYTES, code)))


def _become(command: list[str], environment: dict[bytes, bytes], filter_path: str, data_bytes: int) -> None:
    """Turns this process into the relay, which opens the doors and becomes the command."""
    try:
        os.setsid()
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:  # noqa: PTH123 - as above
            score.write(_EXPENDABLE)
        if data_bytes:
            resource.setrlimit(resource.RLIMIT_DATA, (data_bytes, data_bytes))
        if filter_path:
            _refuse(filter_path)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execve(sys.executable, command, environment)  # noqa: S606 - no shell is the point
    except (OSError, ImportError) as error:
        os.write(2, f"The container's first process: {error}\n".encode())
    finally:
        os._exit(125)


def _said(path: str, first: str) -> int:
    """The number after the word `first` in a file of the cgroup; 0 where there is none."""
    try:
        with open(path, encoding="ascii") as file:  # noqa: PTH123 - as above
            lines = [line.split() for line in file]
    except OSError:
        return 0
    return next((int(line[1]) for line in lines if len(line) > 1 and line[0] == first), 0)


def _cpu_seconds() -> float:
    try:
        with open("/sys/fs/cgroup/cpuacct/cpuacct.usage", encoding="ascii") as file:  # noqa: PTH123 - as above
            return int(file.read()) / 1e9
    except OSError:
        return _said("/sys/fs/cgroup/cpu.stat", "usage_usec") / 1e6


def _stop(child: int) -> None:
    """SIGTERM to the command's process group, or to it alone while it has none."""
    try:
        os.killpg(child, signal.SIGTERM)
    except ProcessLookupError:
        os.kill(child, signal.SIGTERM)


def _watch(child: int, grace: float, cpu_limit: float, *, has_cgroup: bool) -> tuple[int, set[str]]:
    """Waits for the command, passing signals on; its exit code, and the limits that it hit."""
    deadline = None
    pause = _CPU_CHECK_SECONDS if cpu_limit else 3600.0
    while True:
        done, status = os.waitpid(-1, os.WNOHANG)
        if done == child:
            break
        if done:
            continue
        rest = pause if deadline is None else min(pause, max(deadline - time.monotonic(), 0.0))
        got = signal.sigtimedwait(_WATCHED, rest)
        if deadline is not None and time.monotonic() >= deadline:
            return 128 + signal.SIGKILL, set()
        if got is not None and got.si_signo != signal.SIGCHLD and deadline is None:
            deadline = time.monotonic() + grace
            _stop(child)
        if got is None and cpu_limit and _cpu_seconds() > cpu_limit:
            return 128 + signal.SIGKILL, {"cpu"}
    code = os.waitstatus_to_exitcode(status)
    hit = {limit for limit, path, first in _COUNTERS if has_cgroup and _said(path, first)}
    if code == -signal.SIGXCPU:
        hit.add("cpu")
    return code if code >= 0 else 128 - code, hit


def main(arguments: list[str]) -> int:
    split = arguments.index("--")
    options = dict(zip(arguments[:split:2], arguments[1:split:2], strict=True))
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    environment = _read_environment(options["--environment"])
    report = os.open(options["--report"], os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    for name in ("--environment", "--report"):
        os.chmod(options[name], 0)  # noqa: PTH101 - so that who looks around is refused, and does not wait for ever
    go, ready = os.pipe()
    child = os.fork()
    if not child:
        os.close(ready)
        os.read(go, 1)  # until the other end closes
        command = [sys.executable, "-I", "-S", options["--relay"], *arguments[split + 1 :]]
        _become(command, environment, options["--filter"], int(options["--data"]))
    _prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # no process of the same user traces this one
    os.close(ready)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)  # the pipes close when the command's processes have closed them
    has_cgroup = options["--cgroup"] == "own"
    cpu_limit = float(options["--cpu"]) if has_cgroup else 0.0
    code, hit = _watch(child, float(options["--grace"]), cpu_limit, has_cgroup=has_cgroup)
    os.write(report, " ".join(sorted(hit)).encode())
    return code


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))  # a tidy end costs some milliseconds
