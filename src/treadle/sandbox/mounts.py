"""What bubblewrap's sandbox shows of this machine, as its options."""

import os
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

_OWN_ETC = Path(__file__).with_name("etc")

#: Shown read-only where they exist, as links where they are links into what is shown: each mount costs 0.2 ms. Of the
#: machine's certificates those that it trusts: for a worker that is root its private keys would be readable.
SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt", "/nix/store"),
    *("/etc/alternatives", "/etc/crypto-policies", "/etc/ld.so.cache", "/etc/localtime", "/etc/os-release"),
    *("/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/ssl/openssl.cnf"),
    *("/etc/pki/ca-trust", "/etc/pki/tls/certs", "/etc/pki/tls/cert.pem", "/etc/pki/tls/openssl.cnf"),
)

#: What programs of the system read of their own and do not work without, where Debian keeps it. Nothing in which an
#: operator puts passwords, such as Maven's settings.
_PROGRAMS = (
    *("/etc/fonts", "/etc/mime.types", "/etc/protocols", "/etc/services", "/etc/maven/logging", "/etc/maven/m2.conf"),
    *("/etc/java-*/logging.properties", "/etc/java-*/net.properties", "/etc/java-*/security"),
)

#: Made for the sandbox: the agent's own name, and no host but itself.
_ETC = ("passwd", "group", "hosts", "nsswitch.conf", "resolv.conf")

#: Of /proc, what tells of the machine rather than of the command, or of its memory.
_MACHINE_FILES = (
    *("interrupts", "iomem", "ioports", "kallsyms", "kcore", "key-users", "keys", "kmsg", "kpagecgroup"),
    *("kpagecount", "kpageflags", "latency_stats", "pagetypeinfo", "sched_debug", "slabinfo", "timer_list"),
    *("timer_stats", "vmallocinfo"),
)
_MACHINE_FOLDERS = ("acpi", "asound", "scsi")

_NOTHING_BYTES = 65_536


def tmpfs(path: str, size: int | None) -> list[str]:
    """In memory; `size` None: half of the machine's, which is all that an older bubblewrap can do."""
    return [*(("--size", str(size)) if size is not None else ()), "--tmpfs", path]


def system(*, is_sized: bool) -> list[str]:
    """The system's directories, a small /etc, /proc without the machine."""
    options: list[str] = []
    for path in SYSTEM:
        target = os.path.realpath(path)
        if target != path and target.startswith("/usr/"):
            options += ("--symlink", target, path)
        elif Path(path).exists():
            options += ("--ro-bind", path, path)
    for path in _found(_PROGRAMS):
        options += ("--ro-bind", path, path)
    for name in _ETC:
        options += ("--ro-bind", str(_OWN_ETC / name), f"/etc/{name}")
    options += ("--proc", "/proc")
    for path in _readable(_MACHINE_FILES):
        options += ("--ro-bind", os.devnull, path)
    for path in _readable(_MACHINE_FOLDERS):
        options += (*tmpfs(path, _NOTHING_BYTES if is_sized else None), "--remount-ro", path)
    return [*options, "--remount-ro", "/proc"]


def hide(paths: Iterable[Path], shown: Sequence[str], *, is_sized: bool) -> list[str]:
    """Covers those of the paths that lie in what is shown."""
    options: list[str] = []
    for path in paths:
        if not any(path.is_relative_to(each) for each in shown):
            continue
        if path.is_dir():
            options += tmpfs(str(path), _NOTHING_BYTES if is_sized else None)
        else:
            options += ("--ro-bind-try", os.devnull, str(path))
    return options


@cache
def _found(patterns: Sequence[str]) -> Sequence[str]:
    return tuple(str(path) for pattern in patterns for path in sorted(Path("/").glob(pattern.lstrip("/"))))


@cache
def _readable(names: Sequence[str]) -> Sequence[str]:
    """For a worker that is not root most are out of reach anyway."""
    return tuple(path for path in (f"/proc/{name}" for name in names) if os.access(path, os.R_OK))
