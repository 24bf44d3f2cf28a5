"""Boxes to run commands in, and how tests run them."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from treadle import command
from treadle.ports import Box, Sandbox
from treadle.ports.sandbox import Door

#: How long a test waits for something that should take seconds at most.
PATIENCE_SECONDS = 60.0

#: What a command has after SIGTERM.
GRACE = 0.5

PATH = os.environ["PATH"]

#: What ending takes at most where killing does it, and where a runtime has to be asked; on a busy machine.
_KILL_SECONDS, _REMOVE_SECONDS = 60.0, 90.0


def make_box(
    root: Path, *, is_read_only: bool = False, readable: tuple[Path, ...] = (), doors: tuple[Door, ...] = ()
) -> Box:
    tree, home, config, files = (root / name for name in ("tree", "home", "config", "files"))
    for path in (tree, home, config, files):
        path.mkdir(parents=True)
    return Box(tree, home, config, files, is_read_only=is_read_only, readable=readable, doors=doors)


def end_seconds(sandbox: Sandbox) -> float:
    """How long every descendant may live on once a command has been killed."""
    return _REMOVE_SECONDS if sandbox.name == "container" else _KILL_SECONDS


def grace_of(sandbox: Sandbox) -> float:
    """What a command and its sandbox have after SIGTERM: a container takes its time to go."""
    return _REMOVE_SECONDS if sandbox.name == "container" else GRACE


@asynccontextmanager
async def running(
    sandbox: Sandbox,
    box: Box,
    script: str,
    environment: Mapping[str, str] | None = None,
    *,
    grace: float | None = None,
) -> AsyncIterator[command.Running]:
    with sandbox.enclose(("sh", "-c", script), {"PATH": PATH, **(environment or {})}, box) as enclosed:
        given = grace_of(sandbox) if grace is None else grace
        async with command.spawn(enclosed.argv, environment=enclosed.environment, grace_seconds=given) as process:
            yield process


async def run_argv(
    sandbox: Sandbox, box: Box, argv: Sequence[str], environment: Mapping[str, str], stdin: bytes = b""
) -> command.Completed:
    with sandbox.enclose(argv, environment, box) as enclosed:
        return await command.run(enclosed.argv, environment=enclosed.environment, stdin=stdin, seconds=PATIENCE_SECONDS)


async def run(sandbox: Sandbox, box: Box, script: str, stdin: bytes = b"") -> command.Completed:
    return await run_argv(sandbox, box, ("sh", "-c", script), {"PATH": PATH}, stdin)


async def started(process: command.Running, count: int) -> None:
    lines = process.lines(idle_seconds=PATIENCE_SECONDS)
    for _ in range(count):
        assert await anext(lines) == b"up"


async def until_breached(
    sandbox: Sandbox, box: Box, script: str, *, seconds: float = 2 * PATIENCE_SECONDS
) -> tuple[int | None, str | None, str]:
    """Runs it until it ends or passes a limit, as a runner does: its exit code or None, what the limits say, and what
    it said itself."""
    with sandbox.enclose(("sh", "-c", script), {"PATH": PATH}, box) as enclosed:
        async with command.spawn(enclosed.argv, environment=enclosed.environment, grace_seconds=GRACE) as process:
            watching = asyncio.create_task(enclosed.breached())
            hearing = asyncio.create_task(_heard(process))
            try:
                await asyncio.wait({watching, hearing}, return_when=asyncio.FIRST_COMPLETED, timeout=seconds)
                assert watching.done() or hearing.done(), "neither ended nor breached"
                if watching.done():
                    await process.end()
                    return None, watching.result(), (await hearing).decode() + process.stderr
                code = await process.wait(PATIENCE_SECONDS)
                return code, enclosed.hit(), (await hearing).decode() + process.stderr
            finally:
                watching.cancel()
                hearing.cancel()


async def _heard(process: command.Running) -> bytes:
    return b"".join([chunk async for chunk in process.chunks()])
