"""From an argv to a process, or to the reason why not."""

import os
import resource
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from treadle.command.errors import CommandError, CommandNotFound
from treadle.command.running import Running


def start(
    argv: Sequence[str],
    environment: Mapping[str, str],
    cwd: Path | None,
    stdin: bytes,
    grace_seconds: float,
    kept_fds: Sequence[int],
    memory_bytes: int | None,
) -> Running:
    """Raises CommandNotFound, CommandError; then nothing is left open or running."""
    with ExitStack() as theirs, ExitStack() as ours:
        try:
            stdout, their_stdout = _pipe(ours, theirs)
            stderr, their_stderr = _pipe(ours, theirs)
            their_stdin, our_stdin = _pipe(theirs, ours) if stdin else (subprocess.DEVNULL, None)
            process = subprocess.Popen(
                tuple(argv),
                stdin=their_stdin,
                stdout=their_stdout,
                stderr=their_stderr,
                env=dict(environment),
                cwd=cwd,
                start_new_session=True,
                pass_fds=kept_fds,
            )
            ours.callback(process.wait)
            ours.callback(process.kill)
            pidfd = os.pidfd_open(process.pid)
            ours.callback(os.close, pidfd)
            if memory_bytes is not None:
                _limit_memory(process.pid, memory_bytes, name_of(argv))
        except (OSError, ValueError, IndexError) as error:
            raise _refusal(argv, error) from error
        for fd in (stdout, stderr, our_stdin):
            if fd is not None:
                os.set_blocking(fd, False)
        ours.pop_all()  # the command's own now
    return Running(
        process,
        name_of(argv),
        pidfd=pidfd,
        stdout=stdout,
        stderr=stderr,
        stdin=(our_stdin, stdin) if our_stdin is not None else None,
        grace_seconds=grace_seconds,
    )


def name_of(argv: Sequence[str]) -> str:
    return os.path.basename(argv[0]) if argv else ""  # noqa: PTH119 - a string, not a path


def _limit_memory(pid: int, most: int, name: str) -> None:
    """What is mapped to be read only, such as Git's packs, does not count. A limit that is lower already stays."""
    with suppress(ProcessLookupError):  # it has ended
        try:
            _, hard = resource.prlimit(pid, resource.RLIMIT_DATA)
            if hard == resource.RLIM_INFINITY or hard > most:
                resource.prlimit(pid, resource.RLIMIT_DATA, (most, most))
        except PermissionError as error:
            raise CommandError(f"{name} cannot be given a limit of memory: {error.strerror}.") from error


def _pipe(reading: ExitStack, writing: ExitStack) -> tuple[int, int]:
    """A pipe whose ends are closed by whom they belong to; the end to read from comes first."""
    reader, writer = os.pipe()
    reading.callback(os.close, reader)
    writing.callback(os.close, writer)
    return reader, writer


def _refusal(argv: Sequence[str], error: Exception) -> CommandError:
    name = name_of(argv) or "The command"
    if isinstance(error, FileNotFoundError | NotADirectoryError) and error.filename not in {None, argv[0]}:
        return CommandNotFound(f"{name} cannot run in {error.filename}: there is no such directory.")
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return CommandNotFound(f"{name} is not installed here.")
    if isinstance(error, PermissionError):
        return CommandNotFound(f"{name} may not be executed.")
    reason = error.strerror if isinstance(error, OSError) else "its arguments are not valid"
    return CommandError(f"{name} could not be started: {reason}.")
