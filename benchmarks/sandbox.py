"""(l) What the sandbox adds to a spawn, beside none and beside bubblewrap alone with the same namespaces.

A spawn is `true`, from the call to its end. "limits" are a control group where one can be made. "a door" is the relay
with the Python that runs it: every engine's call has one. A container is podman's, as the user who asks, where podman
is installed.
"""

import asyncio
import os
import shutil
import statistics
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.support.containers import IMAGE, podman_in

from benchmarks.measure import Row, ratio, scratch
from treadle import command
from treadle.ports import Box, Sandbox
from treadle.ports.sandbox import Door
from treadle.sandbox.bubblewrap import BubblewrapSandbox
from treadle.sandbox.container import ContainerSandbox
from treadle.sandbox.limits import limits_of
from treadle.sandbox.none import NoSandbox
from treadle.settings import Settings

ROUNDS = 60
CONTAINER_ROUNDS = 15

_SECONDS = 20.0
_ENVIRONMENT = {"PATH": "/usr/bin:/bin"}
_TRUE = ("/usr/bin/true",)

#: What anybody would write who wanted these namespaces.
_PLAIN = (
    *("/usr/bin/bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/usr", "/usr", "--symlink", "usr/bin"),
    *("/bin", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev"),
    *("--tmpfs", "/tmp", "--"),
)


def rows() -> Iterator[Row]:
    with tempfile.TemporaryDirectory(dir=scratch(), prefix="treadle-bench-") as directory:
        yield from asyncio.run(_take(Path(directory)))


async def _take(root: Path) -> Sequence[Row]:
    closed = _box(root, ())
    opened = _box(root, (Door(8418, root),))
    limits = limits_of(Settings.load({}))
    walled = BubblewrapSandbox(limits=limits)
    await walled.check()
    spawns = {
        "true alone": _bare(_TRUE),
        "bubblewrap alone": _bare((*_PLAIN, *_TRUE)),
        "none": _boxed(NoSandbox(), closed),
        "bubblewrap without limits": _boxed(BubblewrapSandbox(has_cgroups=False), closed),
        "bubblewrap": _boxed(walled, closed),
        "bubblewrap, no control group": _boxed(BubblewrapSandbox(limits=limits, has_cgroups=False), closed),
        "bubblewrap with a door": _boxed(walled, opened),
    }
    taken = await _timed(spawns, ROUNDS)
    found = [Row(name, statistics.median(times) * 1000, "ms") for name, times in taken.items()]
    for name in ("bubblewrap", "bubblewrap with a door"):
        found.append(Row(f"{name}: ratio to none", ratio(taken[name], taken["none"])))
        found.append(Row(f"{name}: ratio to bubblewrap alone", ratio(taken[name], taken["bubblewrap alone"])))
    return [*found, *await _containers(closed, opened)]


async def _containers(closed: Box, opened: Box) -> Sequence[Row]:
    """Beside none, in rounds of their own: each takes many times as long as all the others."""
    if shutil.which("podman") is None:
        return []
    with podman_in() as podman:
        environment = {"PATH": os.environ["PATH"], **podman.environment}
        walled = ContainerSandbox(IMAGE, podman.runtime, environment, limits=limits_of(Settings.load({})))
        await walled.check()
        spawns = {
            "none, beside containers": _boxed(NoSandbox(), closed),
            "container": _boxed(walled, closed),
            "container with a door": _boxed(walled, opened),
        }
        taken = await _timed(spawns, CONTAINER_ROUNDS)
    return [Row(name, statistics.median(times) * 1000, "ms") for name, times in taken.items()]


async def _timed(spawns: Mapping[str, Callable[[], Awaitable[None]]], rounds: int) -> dict[str, list[float]]:
    for spawn in spawns.values():
        await spawn()
    taken: dict[str, list[float]] = {name: [] for name in spawns}
    loop = asyncio.get_running_loop()
    for _ in range(rounds):
        for name, spawn in spawns.items():
            began = loop.time()
            await spawn()
            taken[name].append(loop.time() - began)
    return taken


def _box(root: Path, doors: tuple[Door, ...]) -> Box:
    tree, home, config, files = (root / name for name in ("tree", "home", "config", "files"))
    for folder in (tree, home, config, files):
        folder.mkdir(exist_ok=True)
    return Box(tree, home, config, files, is_read_only=False, doors=doors)


def _bare(argv: Sequence[str]) -> Callable[[], Awaitable[None]]:
    async def spawn() -> None:
        _must_be_well(await command.run(argv, environment=_ENVIRONMENT, seconds=_SECONDS))

    return spawn


def _boxed(sandbox: Sandbox, box: Box) -> Callable[[], Awaitable[None]]:
    async def spawn() -> None:
        with sandbox.enclose(_TRUE, _ENVIRONMENT, box) as enclosed:
            done = await command.run(enclosed.argv, environment=enclosed.environment, seconds=_SECONDS)
        _must_be_well(done)

    return spawn


def _must_be_well(done: command.Completed) -> None:
    if done.exit_code != 0:
        raise RuntimeError(done.stderr)
