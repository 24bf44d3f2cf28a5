"""What goes into a container and comes out of it beside its own stdin and stdout, and never through a file."""

import errno
import fcntl
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from treadle.domain.errors import ConfigurationError

#: A command's whole environment. A kernel's usual bound for a pipe without privileges.
MAX_ENVIRONMENT_BYTES = 1 << 20

_LENGTH_BYTES = 8
_REPORT_BYTES = 256


class Pipes:
    """`environment` and `report` in the directory `made`, for a container's first process. What is in them ends with
    this process, however that ends. Raises ConfigurationError for an environment beyond MAX_ENVIRONMENT_BYTES."""

    def __init__(self, made: Path, environment: Mapping[str, str]) -> None:
        self._stack = ExitStack()
        with ExitStack() as stack:
            to_command = _pipe(stack, made / "environment", os.O_RDWR)  # open at both ends, it waits for no reader
            self._report = _pipe(stack, made / "report", os.O_RDONLY)
            _fill(to_command, environment)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def report(self) -> frozenset[str]:
        """The words that the first process has written; none while it runs."""
        try:
            return frozenset(os.read(self._report, _REPORT_BYTES).decode(errors="replace").split())
        except BlockingIOError:
            return frozenset()


def _pipe(stack: ExitStack, path: Path, flags: int) -> int:
    os.mkfifo(path, 0o600)
    fd = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    return fd


def _fill(fd: int, environment: Mapping[str, str]) -> None:
    block = b"".join(os.fsencode(name) + b"=" + os.fsencode(value) + b"\0" for name, value in environment.items())
    message = len(block).to_bytes(_LENGTH_BYTES, "big") + block
    try:
        if len(message) > fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ):
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, len(message))
        is_whole = os.write(fd, message) == len(message)
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.EBUSY, errno.EINVAL, errno.EAGAIN}:
            raise
        is_whole = False
    if not is_whole:
        raise ConfigurationError(
            f"The environment of a command is {len(block)} bytes; a container takes {MAX_ENVIRONMENT_BYTES}.",
            hint="Put large values into a file of the repository.",
        )
