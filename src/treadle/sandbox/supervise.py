"""Runs a command and outlives it by the moment it takes to end every process that the command left behind.

    python -I -S supervise.py --parent PID --grace SECONDS --directory DIRECTORY [--afterwards LINE] --
        PATH-OF-COMMAND [ARGUMENT]...

Two processes watch, each a subreaper, so that whatever leaves its session or forks twice comes back to one of them: the
outer one is spawned by the worker, the inner one by the outer, the command by the inner. Either of the two can be
killed with SIGKILL and the other cleans up; when the worker dies, so do both.

SIGTERM, SIGINT and SIGHUP go to the command's process group as SIGTERM, and after the grace everything is killed.
Afterwards, with nothing left alive, the shell gets LINE, and as $1 the command's exit code where it had one: to let go
of what the command has made elsewhere.

The exit code is the command's; 128 + n when signal n ended it; 127 when it is not there, 126 when it cannot be run.

A program of its own, without Treadle and with the few builtin modules that cost nothing: `signal` and `ctypes` would
add half of what starting Python takes, to every phase.
"""

import _ctypes
import _signal  # type: ignore[import-not-found] # typeshed has no stub for it
import os
import sys
import time

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_TERM, _KILL, _CHILD, _PARENT_DIED = _signal.SIGTERM, _signal.SIGKILL, _signal.SIGCHLD, _signal.SIGUSR1
_STOPPING = (_TERM, _signal.SIGINT, _signal.SIGHUP)
_WATCHED = (*_STOPPING, _CHILD, _PARENT_DIED)

#: Seconds for killed processes to go; one in uninterruptible sleep may not.
_REAP_SECONDS = 3.0

#: Seconds for the line that is run afterwards.
_AFTERWARDS_SECONDS = 15.0


def _prctl(option: int, value: int) -> None:
    function = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")  # type: ignore[arg-type] # None is this process itself
    if _ctypes.call_function(function, (option, value, 0, 0, 0)) != 0:
        raise OSError(f"prctl {option} failed")


def _die_with(parent: int, number: int) -> None:
    """Asks for signal `number` at the parent's death; raises when that has come already."""
    _prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        raise OSError("the parent is gone")


def _given_environment() -> dict[bytes, bytes]:
    """What this program was started with: Python has added LC_CTYPE to its own."""
    with open("/proc/self/environ", "rb") as block:  # noqa: PTH123 - pathlib is slow to import
        entries = block.read().split(b"\0")
    return dict(entry.split(b"=", 1) for entry in entries if b"=" in entry)


def _become(command: list[str], directory: str, parent: int) -> None:
    """Turns this process into the command, in a session of its own and with signals as a new program expects them."""
    try:
        os.setsid()
        _die_with(parent, _KILL)
        for number in (_signal.SIGPIPE, _signal.SIGXFSZ, _CHILD, *_STOPPING):
            _signal.signal(number, _signal.SIG_DFL)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
        os.chdir(directory)
        os.execve(command[0], command, _given_environment())  # noqa: S606 - no shell is the point
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror or error}\n".encode())
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def _kill_descendants() -> None:
    """Kills children until there are none: the children of the dead become ours, since we are a subreaper."""
    deadline = time.monotonic() + _REAP_SECONDS
    while time.monotonic() < deadline:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        pid = os.getpid()
        with open(f"/proc/self/task/{pid}/children", encoding="ascii") as children:  # noqa: PTH123 - as above
            for child in children.read().split():
                os.kill(int(child), _KILL)  # cannot hit another: until we reap it, the number is the child's
        _signal.sigtimedwait((_CHILD,), 0.01)


def _stop(child: int) -> None:
    """SIGTERM to the child's process group, or to it alone while it has none."""
    try:
        os.kill(-child, _TERM)
    except ProcessLookupError:
        os.kill(child, _TERM)


def _let_go(line: str, code: str) -> None:
    """Runs the line, and ends what it has started."""
    child = os.fork()
    if not child:
        try:
            _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
            os.execve("/bin/sh", ["sh", "-c", line, "sh", code], _given_environment())  # noqa: S606 - our own line
        finally:
            os._exit(126)
    deadline = time.monotonic() + _AFTERWARDS_SECONDS
    while os.waitpid(child, os.WNOHANG)[0] != child and time.monotonic() < deadline:
        _signal.sigtimedwait((_CHILD,), 0.1)
    _kill_descendants()


def _watch(child: int, grace: float, afterwards: str | None, *, is_outer: bool) -> int:
    """Waits for the child, passing signals on; the exit code, with nothing left alive."""
    deadline = None
    code: int = -_KILL
    while True:
        done, status = os.waitpid(-1, os.WNOHANG)
        if done == child:
            code = os.waitstatus_to_exitcode(status)
            break
        if done:
            continue
        rest = 3600.0 if deadline is None else deadline - time.monotonic()
        got = _signal.sigtimedwait(_WATCHED, max(rest, 0.0))
        if (got is None and deadline is not None) or (got is not None and got.si_signo == _PARENT_DIED):
            break
        if got is not None and got.si_signo in _STOPPING and deadline is None:
            deadline = time.monotonic() + grace
            _stop(child)
    _kill_descendants()
    if afterwards is not None and (code < 0 or not is_outer):  # else the inner one has done it
        _let_go(afterwards, str(code) if code >= 0 else "")
    return code if code >= 0 else 128 - code


def _silence() -> None:
    """Lets go of the command's pipes, so that they close when the command's own descendants have closed them."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


def main(arguments: list[str]) -> int:
    split = arguments.index("--")
    options = dict(zip(arguments[:split:2], arguments[1:split:2], strict=True))
    command, grace, afterwards = arguments[split + 1 :], float(options["--grace"]), options.get("--afterwards")
    _signal.pthread_sigmask(_signal.SIG_BLOCK, _WATCHED)
    _signal.signal(_CHILD, _signal.SIG_DFL)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _die_with(int(options["--parent"]), _PARENT_DIED)
    outer = os.getpid()
    inner = os.fork()
    if inner:
        _silence()
        longest = grace + _REAP_SECONDS + (_AFTERWARDS_SECONDS if afterwards is not None else 0)
        return _watch(inner, longest, afterwards, is_outer=True)
    os.setsid()
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _die_with(outer, _PARENT_DIED)
    watcher = os.getpid()
    child = os.fork()
    if not child:
        _become(command, options["--directory"], watcher)
    _silence()
    return _watch(child, grace, afterwards, is_outer=False)


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))  # taking the interpreter down tidily would cost another 2 ms, twice
