"""What a container runtime is told: one container's walls, limits and mounts."""

import os
import resource
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from treadle.ports import Box
from treadle.ports.sandbox import BoxLimits
from treadle.sandbox import container_init, relay, seccomp
from treadle.sandbox.container_runtime import LABEL, Runtime
from treadle.sandbox.limits import CPU_GRACE_SECONDS, tmp_bytes

WORK_TREE, HOME, CONFIG, FILES = Path("/workspace"), Path("/home/agent"), Path("/config"), Path("/files")

#: Where what belongs to Treadle is, inside.
OWN = Path("/run/treadle")

#: The command's user where the runtime can map it to the worker's.
AGENT = 1000

#: How many of an image's users are mapped.
_MAPPED = 65_536

#: Processes of a container besides the command's own: the first one, and the doors' relay.
_OWN_PROCESSES = 2

#: podman's own, less what this process may not raise.
_MAX_OPEN_FILES = 1_048_576

#: A kernel's usual bound on process ids; podman would ask for more than a worker without privileges may have.
_MAX_USER_PROCESSES = 32_768

_PROXY_NAMES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")


@dataclass(frozen=True, slots=True)
class Container:
    """One to be made. `made`: the host's directory with its pipes and its users, `environment`, `report`, `passwd` and
    `group`."""

    runtime: Runtime
    image: str
    name: str
    worker: str
    box: Box
    limits: BoxLimits
    grace: float
    made: Path
    shown: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    seccomp_profile: Path | None = None

    def user(self) -> tuple[int, int]:
        """Inside. Docker maps no user of one container, so that there the command has the worker's own numbers; with a
        rootless docker the worker is its root."""
        if self.runtime.is_podman:
            return AGENT, AGENT
        return (0, 0) if self.runtime.is_rootless else (os.geteuid(), os.getegid())

    def run_words(self, argv: Sequence[str]) -> tuple[str, ...]:
        """The runtime's words to run `argv` in it."""
        user, group = self.user()
        return (
            *("run", "--rm", "--interactive", "--pull", "never", "--name", self.name, "--label", self._label()),
            *("--network", "none", "--read-only", "--cap-drop", "ALL", "--log-driver", "none", "--no-healthcheck"),
            *("--security-opt", "no-new-privileges", "--security-opt", "label=disable"),
            *(("--security-opt", f"seccomp={self.seccomp_profile}") if self.seccomp_profile is not None else ()),
            *("--hostname", "treadle", "--user", f"{user}:{group}", "--workdir", str(WORK_TREE)),
            *(self._podman_words() if self.runtime.is_podman else _docker_words()),
            *self._limit_words(),
            *self._mount_words(),
            *("--entrypoint", "python3", self.image),
            *self._first_process_words(),
            *("--", *argv),
        )

    def _label(self) -> str:
        return f"{LABEL}={self.worker}"

    def _podman_words(self) -> tuple[str, ...]:
        """The command is user 1000 inside and the worker's user outside, so that the worker owns what it makes and
        Claude works unattended. For a worker that is root the mapping has the shape of podman's own for ordinary users:
        others fail in podman 4.3. No process runs as any of the other users, since none can change its own."""
        users: list[str] = []
        if self.runtime.is_rootless:
            users += ("--userns", f"keep-id:uid={AGENT},gid={AGENT}")
        else:
            rest = _MAPPED - AGENT - 1
            for mapping in (f"0:1:{AGENT}", f"{AGENT}:0:1", f"{AGENT + 1}:{AGENT + 1}:{rest}"):
                users += ("--uidmap", mapping, "--gidmap", mapping)
        processes = self.limits.processes + _OWN_PROCESSES if self.limits.processes else _MAX_USER_PROCESSES
        return (
            *users,
            *("--passwd=false", "--http-proxy=false", "--image-volume", "ignore"),
            *("--ulimit", _ulimit("nofile", _MAX_OPEN_FILES, resource.RLIMIT_NOFILE)),
            *("--ulimit", _ulimit("nproc", min(processes, _MAX_USER_PROCESSES), resource.RLIMIT_NPROC)),
        )

    def _limit_words(self) -> tuple[str, ...]:
        limits = self.limits
        words = ["--ulimit", "core=0:0"]
        if limits.file_bytes:
            words += ("--ulimit", f"fsize={limits.file_bytes}:{limits.file_bytes}")
        if limits.cpu_seconds:
            words += ("--ulimit", f"cpu={limits.cpu_seconds}:{limits.cpu_seconds + CPU_GRACE_SECONDS}")
        if self.runtime.has_cgroups:
            words += ("--pids-limit", str(limits.processes + _OWN_PROCESSES if limits.processes else -1))
            if limits.memory_bytes:
                words += ("--memory", str(limits.memory_bytes), "--memory-swap", str(limits.memory_bytes))
        size = tmp_bytes(limits)
        options = ",".join(("rw", "exec", "nosuid", "nodev", "mode=1777", f"size={size}", *self._empty()))
        for path in ("/tmp", "/var/tmp"):  # noqa: S108 - in the container
            words += ("--tmpfs", f"{path}:{options}")
        words += ("--shm-size", str(size // 2))
        return tuple(words)

    def _empty(self) -> tuple[str, ...]:
        """Podman would copy into a tmpfs what it covers."""
        return ("notmpcopyup",) if self.runtime.is_podman else ()

    def _mount_words(self) -> Iterator[str]:
        box, made = self.box, self.made
        visible = (*self.shown, *box.readable)
        for path in self.shown:
            yield from _bind(path, path)
        for path in self.hidden:
            if any(path.is_relative_to(shown) for shown in visible):
                if path.is_dir():
                    yield from _mount("type=tmpfs", f"destination={path}", "tmpfs-mode=0755", *self._empty())
                else:
                    yield from _bind(Path(os.devnull), path)
        for path in box.readable:
            yield from _bind(path, path)
        yield from _bind(box.work_tree, WORK_TREE, is_writable=not box.is_read_only)
        yield from _bind(box.home, HOME, is_writable=True)
        yield from _bind(box.config, CONFIG, is_writable=True)
        yield from _bind(box.files, FILES)
        for name in ("passwd", "group"):
            yield from _bind(made / name, Path("/etc") / name)
        for name in ("environment", "report"):
            yield from _bind(made / name, OWN / name, is_writable=True)
        for module in (container_init, relay):
            yield from _bind(Path(str(module.__file__)), OWN / f"{module.__name__.rpartition('.')[2]}.py")
        if (filter_path := _filter()) is not None:
            yield from _bind(filter_path, OWN / "filter")
        for door in box.doors:
            if door.socket is not None:
                yield from _bind(door.socket, OWN / f"{door.port}.sock")

    def _first_process_words(self) -> Iterator[str]:
        yield from ("-I", "-S", f"{OWN}/container_init.py", "--relay", f"{OWN}/relay.py", "--grace", str(self.grace))
        yield from ("--environment", f"{OWN}/environment", "--report", f"{OWN}/report")
        yield from ("--filter", f"{OWN}/filter" if _filter() is not None else "")
        yield from ("--cgroup", "own" if self.runtime.has_cgroups else "none", "--cpu", str(self.limits.cpu_seconds))
        yield from ("--data", str(0 if self.runtime.has_cgroups else self.limits.memory_bytes))
        yield "--"
        for door in self.box.doors:
            if door.socket is not None:
                yield from ("--door", f"{door.port}={OWN}/{door.port}.sock")


def _docker_words() -> Iterator[str]:
    """Its own configuration may name proxies, with passwords, which it would put into every container; and may map
    users, so that the worker's files would be nobody's."""
    for name in _PROXY_NAMES:
        yield from ("--env", f"{name}=", "--env", f"{name.upper()}=")
    yield from ("--userns", "host")


def _filter() -> Path | None:
    return seccomp.filter_of(os.uname().machine)


def _ulimit(name: str, most: int, number: int) -> str:
    hard = resource.getrlimit(number)[1]
    value = most if hard == resource.RLIM_INFINITY else min(most, hard)
    return f"{name}={value}:{value}"


def _bind(source: Path, target: Path, *, is_writable: bool = False) -> tuple[str, ...]:
    """What is mounted below a directory that is shown read-only would be writable there: it is left out."""
    flags = () if is_writable else ("readonly", "bind-nonrecursive")
    return _mount("type=bind", f"source={source}", f"destination={target}", *flags)


def _mount(*fields: str) -> tuple[str, ...]:
    """As a record of CSV, which both runtimes read."""
    quoted = ('"' + field.replace('"', '""') + '"' if set(field) & set(',"\n') else field for field in fields)
    return ("--mount", ",".join(quoted))
