"""Namespaces of its own, by bubblewrap: the command sees the system read-only, its box under fixed paths, and nobody.

| inside | is |
| --- | --- |
| `/workspace` | the work tree; read-only if the box says so. The command starts here |
| `/home/agent`, `/config` | the box's home and the CLI's own state |
| `/files` | the attached files, read-only |
| `/usr`, `/opt`, a few files of `/etc` | the system's, read-only |
| `/tmp`, `/var/tmp`, `/dev/shm` | private to this one command, in memory, bounded |
| `/dev`, `/proc` | private to it, and read-only |
| `/run/treadle` | its doors |

The command is user 1000 there, whoever started it, without a capability and with no way to one. Its network is a
loopback that nothing answers on but its doors. What it may use together a control group holds, where one can be made;
else the kernel's limits for each process, and watching.

SIGTERM is ignored on the way in and restored for the command, with all in one process group: so SIGTERM to that group
is for the command alone to answer, where bubblewrap itself would die of it and take the command along. That is why
there is no `--new-session`: `treadle.command` has made one, without a terminal, around it all.
"""

import itertools
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from treadle import command
from treadle.domain.errors import ConfigurationError
from treadle.ports import Box, Layout
from treadle.ports.sandbox import BoxLimits, Door
from treadle.sandbox import cgroups, mounts, relay, shell
from treadle.sandbox.advice import advice
from treadle.sandbox.disk_watch import DiskWatch
from treadle.sandbox.interpreter import Interpreter, find_interpreter
from treadle.sandbox.limits import inner_ulimits, tmp_bytes, ulimits
from treadle.sandbox.seccomp import filter_of
from treadle.sandbox.watch import Watched
from treadle.scratch import scratch_directory

WORK_TREE, HOME, CONFIG, FILES = Path("/workspace"), Path("/home/agent"), Path("/config"), Path("/files")
DOORS = Path("/run/treadle")

_SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin:/run/current-system/sw/bin"
_CHECK_SECONDS = 30.0
_CHECK_PORT = 8418

#: What bubblewrap learned later than the oldest that is still about.
_SIZE, _NO_USER_NAMESPACES = "--size", "--disable-userns"

_NAMESPACES = (
    *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-net", "--unshare-cgroup-try"),
    *("--die-with-parent", "--cap-drop", "ALL", "--uid", "1000", "--gid", "1000", "--hostname", "treadle"),
)

_calls = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Walls:
    """Which of the walls there are here, beyond those that bubblewrap cannot be without."""

    has_filter: bool
    forbids_user_namespaces: bool
    cgroup_version: int | None
    is_counted: bool  # memory and processes, by that cgroup


@dataclass(slots=True)
class BubblewrapSandbox:
    """`hidden`: the service's own directories and files, lest they lie in what is shown of the system. `limits`: of a
    call. `has_cgroups` False: as where this process may make none."""

    hidden: tuple[Path, ...] = ()
    limits: BoxLimits = field(default_factory=BoxLimits)
    has_cgroups: bool = True
    _options: frozenset[str] = frozenset({_SIZE, _NO_USER_NAMESPACES})
    name = "bubblewrap"
    enforces_read_only = True
    confines_network = True

    async def check(self) -> None:
        """Runs it once, with a door, and learns what this bubblewrap can do. Raises ConfigurationError with what was
        said when it does not work here."""
        if shutil.which("bwrap", path=_SEARCH_PATH) is None:
            raise ConfigurationError("bubblewrap is not installed.", hint=advice(is_installed=False))
        try:
            known = await command.run((_program("bwrap"), "--help"), environment={}, seconds=_CHECK_SECONDS)
            self._options = frozenset(
                option for option in (_SIZE, _NO_USER_NAMESPACES) if f"{option} ".encode() in known.stdout
            )
            said = await self._try()
            if said is not None and _NO_USER_NAMESPACES in self._options:
                self._options -= {_NO_USER_NAMESPACES}  # where /proc/sys is read-only; the filter refuses them too
                said = await self._try()
        except (command.CommandError, OSError) as error:
            said = str(error).rstrip(".")
        if said is not None:
            hint = advice(is_installed=True)
            raise ConfigurationError(f"The sandbox bubblewrap does not work here: {said}.", hint=hint)

    async def _try(self) -> str | None:
        """What went wrong."""
        with scratch_directory() as socket:
            root = Path("/usr/share")
            box = Box(root, root, root, root, is_read_only=True, doors=(Door(_CHECK_PORT, socket),))
            with self.enclose(("/usr/bin/env", "true"), {"PATH": _SEARCH_PATH}, box) as tried:
                done = await command.run(tried.argv, environment=tried.environment, seconds=_CHECK_SECONDS)
        if done.exit_code == 0:
            return None
        said = done.stderr.strip().splitlines()[-1:] or [f"it ended with {done.exit_code}"]
        return said[0].rstrip(".")

    def walls(self) -> Walls:
        """After `check`."""
        places = cgroups.places() if self.has_cgroups else None
        return Walls(
            has_filter=_filter() is not None,
            forbids_user_namespaces=_NO_USER_NAMESPACES in self._options,
            cgroup_version=places.version if places is not None else None,
            is_counted=places is not None and places.holds_both,
        )

    def layout(self, box: Box) -> Layout:  # noqa: ARG002 - the same for every box
        return Layout(work_tree=WORK_TREE, home=HOME, config=CONFIG, files=FILES)

    @contextmanager
    def enclose(self, argv: Sequence[str], environment: Mapping[str, str], box: Box) -> Iterator[Watched]:
        """A death by signal n shows as exit code 128 + n. The environment is inherited, never in argv."""
        group = cgroups.make(self.limits) if self.has_cgroups else None
        entrances = group.entrances if group is not None else ()
        inner = () if group is not None and group.is_complete else inner_ulimits(self.limits)
        carried = shell.carry(environment)
        mark = f"TREADLE_CALL_{os.getpid()}_{next(_calls)}"
        enclosed = Watched(
            (
                *shell.entering(entrances, ulimits(self.limits), _filter()),
                *(_program("bwrap"), *_NAMESPACES, "--unsetenv", mark, *self._walls(), *self._mounts(box), "--"),
                *shell.becoming(carried, inner),
                *_opening(box.doors),
                *argv,
            ),
            carried.outside,
            limits=self.limits,
            disk=DiskWatch(self.limits, (box.work_tree, box.home, box.config)),
            group=group,
            mark=mark,
        )
        try:
            yield enclosed
        finally:
            enclosed.close()

    def _walls(self) -> list[str]:
        options = [_NO_USER_NAMESPACES] if _NO_USER_NAMESPACES in self._options else []
        return [*options, "--seccomp", str(shell.FILTER_FD)] if _filter() is not None else options

    def _mounts(self, box: Box) -> list[str]:
        is_sized = _SIZE in self._options
        size = tmp_bytes(self.limits) if is_sized else None
        shown, python = list(mounts.SYSTEM), _interpreter()
        options = [*mounts.tmpfs("/tmp", size), "--symlink", "../tmp", "/var/tmp", *mounts.system(is_sized=is_sized)]  # noqa: S108 - in the sandbox
        options += ["--dev", "/dev", *mounts.tmpfs("/dev/shm", size and size // 2), "--remount-ro", "/dev"]  # noqa: S108 - as above
        if box.doors and python.readable is not None:
            shown.append(str(python.readable))
            options += ("--ro-bind", str(python.readable), str(python.readable))
        options += mounts.hide(self.hidden, shown, is_sized=is_sized)
        for path in box.readable:
            if not path.is_relative_to("/usr") or any(path.is_relative_to(hidden) for hidden in self.hidden):
                options += ("--ro-bind", str(path), str(path))
        if box.doors:
            script = python.script(relay)
            options += ("--ro-bind", str(script), str(DOORS / f"relay{script.suffix}"))
        for door in box.doors:
            if door.socket is not None:
                options += ("--bind", str(door.socket), str(_inside(door)))
        for bind, host, inside in (
            ("--bind", box.home, HOME),
            ("--bind", box.config, CONFIG),
            ("--ro-bind", box.files, FILES),
            ("--ro-bind" if box.is_read_only else "--bind", box.work_tree, WORK_TREE),
        ):
            options += (bind, str(host), str(inside))
        return [*options, "--remount-ro", "/", "--chdir", str(WORK_TREE)]


def _opening(doors: Sequence[Door]) -> tuple[str, ...]:
    """What to put before the command, so that it has its doors, and SIGTERM as new programs expect it."""
    doors = [door for door in doors if door.socket is not None]
    if not doors:
        return ("/usr/bin/env", "--default-signal=TERM")
    python = _interpreter()
    script = DOORS / f"relay{python.script(relay).suffix}"
    opened = (word for door in doors for word in ("--door", f"{door.port}={_inside(door)}"))
    return (python.program, "-I", "-S", str(script), *opened, "--")


def _inside(door: Door) -> Path:
    return DOORS / f"{door.port}.sock"


@cache
def _interpreter() -> Interpreter:
    return find_interpreter(mounts.SYSTEM, _SEARCH_PATH)


@cache
def _filter() -> Path | None:
    return filter_of(os.uname().machine)


def _program(name: str) -> str:
    return shutil.which(name, path=_SEARCH_PATH) or name
