"""Container runtimes of a test run's own, whose files are all in one directory, and an image for them.

There is no registry in reach: the image holds nothing but the links of a merged /usr, and every container shows the
host's own /usr.
"""

import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.support.clis import give_up, require_program

IMAGE = "treadle-test:1"

#: Without python3, without anything.
EMPTY_IMAGE = "treadle-empty:1"

_START_SECONDS = 120.0
_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
_LINKS = ("bin", "sbin", "lib", "lib32", "lib64")
_FOLDERS = ("dev", "etc", "home", "opt", "proc", "run", "sys", "tmp", "usr", "var", "var/tmp")

#: The machine's own locks, storage and networks are left alone. No runtime may raise the limits of a test run.
_PODMAN = """\
[containers]
volumes = ["/usr:/usr:ro"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
lock_type = "file"
runtime = "runc"
tmp_dir = "{root}/tmp"
"""
_STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{root}/graph"
runroot = "{root}/run"
rootless_storage_path = "{root}/graph"
"""
_DOCKER = """\
#!/bin/sh
# Calls docker for a test: with its own daemon, and the host's /usr in every container of the sandbox's.
if [ "$3" = run ]; then
    shift 3
    set -- --log-level error run --volume /usr:/usr:ro "$@"
fi
exec {docker} --host unix://{root}/socket "$@"
"""


@dataclass(frozen=True, slots=True)
class Containers:
    """A runtime, told as a sandbox is: by settings."""

    runtime: str
    environment: Mapping[str, str] = field(repr=False)
    root: Path

    @property
    def settings(self) -> dict[str, str]:
        return {
            "TREADLE_SANDBOX": "container",
            "TREADLE_SANDBOX_IMAGE": IMAGE,
            "TREADLE_SANDBOX_RUNTIME": self.runtime,
            "TREADLE_SANDBOX_ENVIRONMENT": json.dumps({**self.environment}),
        }

    def call(self, *words: str, stdin: bytes = b"") -> str:
        """What it says."""
        argv = (shutil.which(self.runtime, path=_PATH) or self.runtime, *words)
        environment = {"PATH": _PATH, **self.environment}
        done = subprocess.run(argv, input=stdin, capture_output=True, env=environment, timeout=120, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def left(self) -> list[str]:
        """The ids of all its containers, running or not."""
        return self.call("ps", "--all", "--quiet").split()

    def until_none_left(self, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while left := self.left():
            assert time.monotonic() < deadline, left
            time.sleep(0.1)


@contextmanager
def podman_in(root: Path | None = None) -> Iterator[Containers]:
    """As the user that asks for it. `root`: an empty directory of that user's own."""
    for name in ("podman", "runc"):
        require_program(name)
    with _directory(root) as made:
        (made / "containers.conf").write_text(_PODMAN.format(root=made))
        (made / "storage.conf").write_text(_STORAGE.format(root=made))
        environment = {
            "HOME": str(made),
            "XDG_RUNTIME_DIR": str(made),
            "CONTAINERS_CONF": str(made / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(made / "storage.conf"),
        }
        containers = Containers("podman", environment, made)
        try:
            _import(containers)
            yield containers
        finally:
            with suppress(AssertionError, subprocess.TimeoutExpired):  # only after a failure there are any
                containers.call("rm", "--all", "--force", "--time", "0")
            _release(made)


@contextmanager
def docker_with_daemon() -> Iterator[Containers]:
    """With a daemon of its own, behind a socket; without networks."""
    if os.geteuid() != 0:
        pytest.skip("docker's daemon needs root")
    daemon, client = require_program("dockerd"), require_program("docker")
    with _directory(None) as made:
        (made / "daemon.json").write_text("{}")
        program = made / "docker"
        program.write_text(_DOCKER.format(docker=client, root=made))
        program.chmod(0o755)
        argv = (
            *(str(daemon), "--config-file", str(made / "daemon.json"), "--data-root", str(made / "data")),
            *("--exec-root", str(made / "exec"), "--pidfile", str(made / "pid"), "--host", f"unix://{made}/socket"),
            *("--bridge", "none", "--iptables=false", "--ip6tables=false", "--cgroup-parent", f"/{made.name}"),
        )
        with (made / "log").open("wb") as log:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        try:
            _await_socket(process, made)
            containers = Containers(str(program), {"HOME": str(made)}, made)
            _import(containers)
            yield containers
        finally:
            _end(process)
            _release(made)
            _remove_groups(made.name)


@pytest.fixture(scope="session")
def podman() -> Iterator[Containers]:
    with podman_in() as made:
        yield made


@pytest.fixture(scope="session")
def docker() -> Iterator[Containers]:
    with docker_with_daemon() as made:
        yield made


def _remove_groups(name: str) -> None:
    """A daemon leaves the control group above those of its containers: one a controller with version 1."""
    root = Path("/sys/fs/cgroup")
    for folder in (*root.glob(name), *root.glob(f"*/{name}")):
        with suppress(OSError):  # of a container that a failed test left: the daemon's end has ended it, or will
            folder.rmdir()


@contextmanager
def _directory(root: Path | None) -> Iterator[Path]:
    """A short path: a unix socket's has at most 107 bytes."""
    if root is not None:
        yield root
        return
    made = Path(tempfile.mkdtemp(prefix="treadle-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _import(containers: Containers) -> None:
    if not all(Path("/", name).is_symlink() for name in ("bin", "lib")) or not Path("/usr/bin/python3").exists():
        give_up("the image for containers needs a merged /usr with python3")
    containers.call("import", "-", IMAGE, stdin=_archive())
    containers.call("import", "-", EMPTY_IMAGE, stdin=_archive(folders=("dev", "etc", "proc", "sys", "tmp")))


def _archive(folders: tuple[str, ...] = _FOLDERS) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name in folders:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name.endswith("tmp") else 0o755
            archive.addfile(entry)
        for name in _LINKS:
            if "usr" in folders and Path("/", name).is_symlink():
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{name}"
                archive.addfile(entry)
    return made.getvalue()


def _await_socket(process: subprocess.Popen[bytes], root: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(root / "socket"))
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    give_up(f"dockerd does not start here: {(root / 'log').read_text()[-500:]}")
            else:
                return
        time.sleep(0.05)


def _end(process: subprocess.Popen[bytes]) -> None:
    """The daemon, and what it has started: containerd is a child of its own."""
    started = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(20)
    for each in started:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue


def _release(root: Path) -> None:
    """What podman has mounted, and the process that keeps an ordinary user's namespace."""
    for folder, _, names in os.walk(root):  # which minds nothing that goes meanwhile, as a runtime's last files do
        try:
            if "pause.pid" in names:
                os.kill(int(Path(folder, "pause.pid").read_text()), 9)
        except (OSError, ValueError):
            continue
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for path in sorted((path for path in mounted if path.startswith(f"{root}/")), key=len, reverse=True):
        subprocess.run(("umount", "--lazy", path), capture_output=True, timeout=20, check=False)
