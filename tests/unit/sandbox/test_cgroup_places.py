"""Where groups can be made, on machines that this one is not: their files, written down."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from treadle.sandbox.cgroup_places import CgroupPlaces, find_places

#: What version 2 has in every group but the root.
INNER = {"cgroup.events": "populated 1\n"}


class Tree:
    """`/proc/self` and a tree of control groups, as files."""

    def __init__(self, root: Path) -> None:
        self.proc, self.cgroup = root / "proc", root / "cgroup"
        (self.proc / "self").mkdir(parents=True)
        self.mounts: list[str] = []

    def mount(self, point: str, kind: str, options: str, *, root: str = "/") -> None:
        place = self.cgroup / point
        place.mkdir(parents=True, exist_ok=True)
        self.mounts.append(f"30 24 0:26 {root} {place} rw,nosuid shared:9 - {kind} {kind} {options}")

    def group(self, path: str, files: Mapping[str, str]) -> Path:
        place = self.cgroup / path
        place.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (place / name).write_text(text)
        return place

    def find(self, own: str) -> CgroupPlaces | None:
        (self.proc / "self/mountinfo").write_text("24 1 8:1 / / rw - ext4 /dev/sda rw\n" + "\n".join(self.mounts))
        (self.proc / "self/cgroup").write_text(own)
        return find_places(self.proc)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def of_version_2(tree: Tree, path: str, *, controllers: str = "cpu io memory pids", alone: bool = True) -> Path:
    processes = f"{os.getpid()}\n" if alone else f"{os.getpid()}\n4242\n"
    files = {"cgroup.controllers": controllers, "cgroup.subtree_control": "", "cgroup.procs": processes}
    return tree.group(path, {**INNER, **files})


def test_version_1_has_a_place_for_each_controller(tree: Tree) -> None:
    for controllers, own in (("memory", "memory/service"), ("pids", "pids"), ("cpu,cpuacct", "cpu,cpuacct/service")):
        tree.mount(controllers, "cgroup", f"rw,{controllers}")
        tree.group(own, {})
    found = tree.find("5:memory:/service\n4:pids:/\n3:cpu,cpuacct:/service\n0::/\n")
    assert found is not None
    assert found.version == 1
    assert {name: str(path.relative_to(tree.cgroup)) for name, path in found.folders.items()} == {
        "memory": "memory/service",
        "pids": "pids",
        "cpu": "cpu,cpuacct/service",
    }


def test_a_container_that_is_shown_only_its_own(tree: Tree) -> None:
    tree.mount("memory", "cgroup", "rw,memory", root="/docker/abc")
    tree.mount("pids", "cgroup", "rw,pids", root="/docker/abc")
    found = tree.find("5:memory:/docker/abc\n4:pids:/../..\n")
    assert found is not None
    assert set(found.folders.values()) == {tree.cgroup / "memory", tree.cgroup / "pids"}


def test_version_2_where_this_process_is_alone(tree: Tree) -> None:
    """As with Delegate=yes: it makes room, and hands down what limits need."""
    tree.mount("", "cgroup2", "rw")
    own = of_version_2(tree, "system.slice/treadle.service")
    found = tree.find("0::/system.slice/treadle.service\n")
    assert found == CgroupPlaces(2, {"memory": own, "pids": own, "cpu": own})
    assert (own / "treadle-service" / "cgroup.procs").read_text() == str(os.getpid())
    assert (own / "cgroup.subtree_control").read_text() == "+cpu +memory +pids"


def test_version_2_where_room_has_been_made(tree: Tree) -> None:
    tree.mount("", "cgroup2", "rw")
    own = of_version_2(tree, "treadle.service")
    (own / "cgroup.subtree_control").write_text("cpu memory pids")
    of_version_2(tree, "treadle.service/treadle-service", controllers="")
    found = tree.find("0::/treadle.service/treadle-service\n")
    assert found is not None
    assert found.folders["memory"] == own
    assert (own / "cgroup.subtree_control").read_text() == "cpu memory pids"


def test_version_2_among_others(tree: Tree) -> None:
    """Somebody's session: its processes are not ours to move."""
    tree.mount("", "cgroup2", "rw")
    own = of_version_2(tree, "session-1.scope", alone=False)
    assert tree.find("0::/session-1.scope\n") is None
    assert not (own / "treadle-service").exists()


def test_version_2_at_the_root(tree: Tree) -> None:
    """Which may hold processes and groups."""
    tree.mount("", "cgroup2", "rw")
    of_version_2(tree, "", alone=False)
    (tree.cgroup / "cgroup.events").unlink()
    found = tree.find("0::/\n")
    assert found is not None
    assert found.folders["pids"] == tree.cgroup
    assert not (tree.cgroup / "treadle-service").exists()


def test_version_2_beside_version_1_without_a_controller(tree: Tree) -> None:
    tree.mount("unified", "cgroup2", "rw")
    of_version_2(tree, "unified", controllers="")
    tree.mount("memory", "cgroup", "rw,memory")
    found = tree.find("4:memory:/\n0::/\n")
    assert found is not None
    assert (found.version, found.folders, found.holds_both) == (1, {"memory": tree.cgroup / "memory"}, False)


def test_nowhere(tree: Tree) -> None:
    assert tree.find("0::/\n") is None
    assert find_places(tree.proc / "missing") is None
