"""The one place that spawns. A command gets exactly the environment given to it, a session of its own, and an end:
whatever it does with its pipes, its signals or its children, leaving the context ends it within a known time.

Built on `Popen`, a pidfd and the loop's readers rather than on asyncio's own subprocess, whose `wait` hangs while a
grandchild holds stdout, whose lines end at 64 KiB, and which starts a thread for each child.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from treadle.command.errors import CommandError, CommandNotFound, CommandTimedOut, OutputTooLarge
from treadle.command.running import Running
from treadle.command.starting import name_of, start

__all__ = [
    "CommandError",
    "CommandNotFound",
    "CommandTimedOut",
    "Completed",
    "OutputTooLarge",
    "Running",
    "run",
    "script_of",
    "spawn",
]


@dataclass(frozen=True, slots=True)
class Completed:
    """`exit_code` is negative for a signal; `stderr` is the last 64 KiB, decoded with replacement."""

    exit_code: int
    stdout: bytes
    stderr: str


@asynccontextmanager
async def spawn(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    cwd: Path | None = None,
    stdin: bytes = b"",
    grace_seconds: float = 2.0,
    kept_fds: Sequence[int] = (),
    memory_bytes: int | None = None,
) -> AsyncIterator[Running]:
    """Starts a command with `environment` and no other, in a session of its own, found by `environment`'s PATH. Leaving
    the context, however, ends its process group and reaps it: within `grace_seconds`, then by SIGKILL. `kept_fds` stay
    open in the command and its children: a lock among them outlives this process with them. What asks the kernel to
    die with its parent, as a sandbox does, dies with the thread that calls this. `memory_bytes`: what it may allocate,
    and each of its children; not for a program that runs as somebody else than its caller.
    Raises CommandNotFound, CommandError."""
    running = start(argv, environment, cwd, stdin, grace_seconds, kept_fds, memory_bytes)
    try:
        yield running
    finally:
        await running.close()


async def run(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    cwd: Path | None = None,
    stdin: bytes = b"",
    seconds: float,
    output_bytes: int = 64 << 20,
    kept_fds: Sequence[int] = (),
    memory_bytes: int | None = None,
) -> Completed:
    """Runs a command to its end, whatever its exit code. Raises CommandTimedOut after `seconds`, OutputTooLarge,
    CommandNotFound; its process group is ended first, as it is on cancellation. `kept_fds`, `memory_bytes` as for
    `spawn`."""
    async with spawn(
        argv, environment=environment, cwd=cwd, stdin=stdin, kept_fds=kept_fds, memory_bytes=memory_bytes
    ) as running:
        stdout = bytearray()
        try:
            async with asyncio.timeout(seconds):
                async for chunk in running.chunks():
                    stdout += chunk
                    if len(stdout) > output_bytes:
                        raise OutputTooLarge(f"{name_of(argv)} wrote more than {output_bytes} bytes.")
                exit_code = await running.wait()
        except TimeoutError:
            message = f"{name_of(argv)} did not end within {seconds:g} s."
            raise CommandTimedOut(message, stderr=running.stderr) from None
        return Completed(exit_code, bytes(stdout), running.stderr)


def script_of(module: ModuleType) -> Path:
    """What to run for a module that is a program of its own: its bytecode where Python has kept that, since compiling
    it anew costs a few milliseconds a start; else its source."""
    kept = module.__spec__.cached if module.__spec__ is not None else None
    return Path(kept) if kept is not None and os.access(kept, os.R_OK) else Path(str(module.__file__))
