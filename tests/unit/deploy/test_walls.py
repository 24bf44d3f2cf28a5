"""bubblewrap in a container, tried out: with what `deploy/` gives a worker it works, without any part of it not."""

import errno
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.unit.deploy.containers import STRICT, Container, need_containers
from tests.unit.deploy.parts import DEPLOY

from treadle.ports import Box
from treadle.sandbox.bubblewrap import BubblewrapSandbox

pytestmark = pytest.mark.bubblewrap

OURS: Mapping[str, Any] = json.loads((DEPLOY / "seccomp.json").read_text())


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that a container's user may enter, as pytest's may not be; skips where there can be no container."""
    need_containers()
    with tempfile.TemporaryDirectory(prefix="treadle-container-") as made:
        yield Path(made)


def wrapped(*command: str) -> tuple[str, ...]:
    """As a worker there would call it, which may make no control group."""
    root = Path("/usr/share")
    box = Box(work_tree=root, home=root, config=root, files=root, is_read_only=True)
    with BubblewrapSandbox(has_cgroups=False).enclose(command, {}, box) as enclosed:
        return enclosed.argv


@pytest.mark.parametrize("has_user_namespace", [False, True], ids=["compose", "kubernetes"])
def test_it_works_with_what_a_worker_gets(folder: Path, has_user_namespace: bool) -> None:
    box = Container(folder, OURS, is_masked=False, has_user_namespace=has_user_namespace)
    done = box.run(*wrapped("/usr/bin/id", "-u"))
    assert (done.returncode, done.stdout) == (0, "1000\n"), done.stderr


def test_it_needs_the_filter(folder: Path) -> None:
    done = Container(folder, STRICT, is_masked=False).run(*wrapped("/usr/bin/true"))
    assert done.returncode != 0
    assert "No permissions to create new namespace" in done.stderr


@pytest.mark.parametrize("has_user_namespace", [False, True])
def test_it_needs_all_of_proc(folder: Path, has_user_namespace: bool) -> None:
    box = Container(folder, OURS, is_masked=True, has_user_namespace=has_user_namespace)
    done = box.run(*wrapped("/usr/bin/true"))
    assert done.returncode != 0
    assert re.search(r"Can't mount proc on .*: Operation not permitted", done.stderr), done.stderr


@pytest.mark.parametrize(
    "call",
    ["248, 0, 0, 0, 0, 0", "250, 0, 0, 0, 0, 0", "308, -1, 0", "310, 1, 0, 0, 0, 0, 0", "425, 1, 0"],
    ids=["add_key", "keyctl", "setns", "process_vm_readv", "io_uring_setup"],
)
def test_the_filter_refuses_what_no_agent_needs(folder: Path, call: str) -> None:
    """Which the kernel itself would look at, and refuse for another reason, or not at all."""
    if os.uname().machine != "x86_64":
        pytest.skip("the numbers are those of x86-64")
    code = f"import ctypes; libc = ctypes.CDLL(None, use_errno=True); print(libc.syscall({call}), ctypes.get_errno())"
    found = {}
    for name, seccomp in (("ours", OURS), ("none", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []})):
        done = Container(folder, seccomp, is_masked=False).run("/usr/bin/python3", "-c", code)
        assert done.returncode == 0, done.stderr
        found[name] = done.stdout.split()
    assert found["ours"] == ["-1", str(errno.EPERM)]
    assert found["none"] != found["ours"]


def test_the_filter_lets_through_what_bubblewrap_calls() -> None:
    denied = {name for rule in OURS["syscalls"] for name in rule["names"]}
    assert OURS["defaultAction"] == "SCMP_ACT_ALLOW"
    assert {rule["action"] for rule in OURS["syscalls"]} == {"SCMP_ACT_ERRNO"}
    assert not denied & {"clone", "clone3", "mount", "pivot_root", "prctl", "seccomp", "umount2", "unshare"}
