"""Where control groups can be made on this machine, if anywhere.

Version 1 gives each controller a tree of its own, and a group there may hold processes and groups alike: ours are made
below the one that this process is in. Version 2 is one tree in which a group that hands a controller down holds no
process itself. So this process moves into a group `treadle-service` first, if it is alone in its group (as with
systemd's `Delegate=yes`, or in a container), and hands down what it can; at the root of the tree nothing has to move.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

MEMORY, PROCESSES, CPU = "memory", "pids", "cpu"

#: The group that a service of its own moves into.
_OWN = "treadle-service"

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class CgroupPlaces:
    """`folders`: below which one may be made, by controller; some may be missing."""

    version: int
    folders: Mapping[str, Path]

    @property
    def holds_both(self) -> bool:
        """Whether memory and processes have a limit there that the kernel keeps."""
        return {MEMORY, PROCESSES} <= self.folders.keys()


@dataclass(frozen=True, slots=True)
class _Mount:
    kind: str
    point: Path
    root: PurePosixPath
    controllers: frozenset[str]


def find_places(proc: Path = _PROC) -> CgroupPlaces | None:
    """None where there is no place for one. With version 2 this process may be in another group afterwards."""
    try:
        mounts = list(_mounts((proc / "self/mountinfo").read_text()))
        own = _own_groups((proc / "self/cgroup").read_text())
    except OSError:
        return None
    for mount in mounts:
        if mount.kind == "cgroup2" and "" in own:
            folders = _hand_down(_below(mount, own[""]), mount.point)
            if folders:
                return CgroupPlaces(2, folders)
    found: dict[str, Path] = {}
    for name, controller in ((MEMORY, "memory"), (PROCESSES, "pids"), (CPU, "cpuacct")):
        for mount in mounts:
            if mount.kind == "cgroup" and controller in mount.controllers and controller in own:
                folder = _below(mount, own[controller])
                if os.access(folder, os.W_OK | os.X_OK):
                    found[name] = folder
    return CgroupPlaces(1, found) if found else None


def _mounts(text: str) -> Iterator[_Mount]:
    for line in text.splitlines():
        mount, _, system = line.partition(" - ")
        _, _, _, root, point, *_ = mount.split(" ")
        kind, _, options = system.split(" ", 2)
        if kind in {"cgroup", "cgroup2"}:
            yield _Mount(kind, Path(_plain(point)), PurePosixPath(_plain(root)), frozenset(options.split(",")))


def _plain(escaped: str) -> str:
    return escaped.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")


def _own_groups(text: str) -> dict[str, PurePosixPath]:
    """By controller; version 2's is that of no name."""
    found = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            found[controller] = PurePosixPath(path)
    return found


def _below(mount: _Mount, group: PurePosixPath) -> Path:
    """The group's folder; a container may be shown less of the tree than the group's name says."""
    with suppress(ValueError):
        folder = mount.point / group.relative_to(mount.root)
        if folder.is_dir() and ".." not in folder.parts:
            return folder
    return mount.point


def _hand_down(own: Path, top: Path) -> Mapping[str, Path]:
    """The controllers that a group below will have."""
    if own.name == _OWN and own != top:
        own = own.parent
    wanted = _words(own / "cgroup.controllers") & {MEMORY, PROCESSES, CPU}
    # Any group counts its processor time; without one of these two there is no use in it.
    if not wanted & {MEMORY, PROCESSES} or not os.access(own / "cgroup.subtree_control", os.W_OK):
        return {}
    try:
        if not wanted <= _words(own / "cgroup.subtree_control"):
            _make_room(own)
            (own / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in sorted(wanted)))
    except OSError:
        return {}
    return dict.fromkeys([*wanted, CPU], own)


def _make_room(own: Path) -> None:
    """Raises OSError when others live in the group too: they are not ours to move."""
    if not (own / "cgroup.events").exists():
        return  # the root of the tree
    processes = {int(pid) for pid in (own / "cgroup.procs").read_text().split()}
    if not processes <= {os.getpid(), 1}:
        raise OSError("not alone")
    (own / _OWN).mkdir(exist_ok=True)
    for pid in processes:
        (own / _OWN / "cgroup.procs").write_text(str(pid))


def _words(file: Path) -> set[str]:
    with suppress(OSError):
        return set(file.read_text().split())
    return set()
