"""A container as Docker and Kubernetes make them, by runc and without an image: this machine's programs, read-only.

What they have in common: no capability, no new privileges, a user that is not root, masked paths in /proc unless
asked otherwise, and a filter of system calls.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

import treadle

SECONDS: Final = 120

#: What Docker and containerd cover, or make read-only, by default.
_MASKED: Final = (
    *("acpi", "asound", "interrupts", "kcore", "keys", "latency_stats", "sched_debug", "scsi", "timer_list"),
    "timer_stats",
)
_READ_ONLY: Final = ("bus", "fs", "irq", "sys", "sysrq-trigger")

#: Of this machine, read-only.
_SHOWN: Final = ("/usr", "/etc", str(Path(treadle.__file__).parent))

_USER: Final = 10_001
_NEW_USER_NAMESPACE: Final = 0x1000_0000

#: Of Docker's own filter, what matters here: it refuses namespaces and mounts to whoever is not CAP_SYS_ADMIN.
STRICT: Final[Mapping[str, Any]] = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [
        {"names": ["mount", "pivot_root", "setns", "umount2", "unshare"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        {
            "names": ["clone"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": 1,
            "args": [
                {
                    "index": 0,
                    "value": _NEW_USER_NAMESPACE,
                    "valueTwo": _NEW_USER_NAMESPACE,
                    "op": "SCMP_CMP_MASKED_EQ",
                }
            ],
        },
    ],
}


@dataclass(frozen=True)
class Container:
    """`seccomp`: a profile as Docker and the kubelet read it. `is_masked`: /proc as usual; not, as with
    `systempaths=unconfined` or `procMount: Unmasked`. `has_user_namespace`: as with `hostUsers: false`."""

    folder: Path
    seccomp: Mapping[str, Any]
    is_masked: bool
    has_user_namespace: bool = False

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """To its end."""
        bundle = self.folder / uuid4().hex
        root = bundle / "rootfs"
        for name in ("/dev", "/opt", "/proc", "/sys", "/tmp", *_SHOWN):
            (root / name.removeprefix("/")).mkdir(parents=True)
        for name in ("bin", "lib", "lib64", "sbin"):
            if Path("/", name).is_symlink():
                (root / name).symlink_to(Path("/", name).readlink())
        for path in (self.folder, bundle, root):
            path.chmod(0o755)
        (bundle / "config.json").write_text(json.dumps(self._config(command)))
        return subprocess.run(
            ["runc", "--root", str(bundle / "state"), "run", "--bundle", str(bundle), bundle.name],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def _config(self, command: Sequence[str]) -> Mapping[str, Any]:
        namespaces = ["pid", "ipc", "uts", "mount", *(["user"] if self.has_user_namespace else [])]
        mapping = [{"containerID": 0, "hostID": 200_000, "size": 65_536}] if self.has_user_namespace else []
        calls = [{key: one[key] for key in one if key != "comment"} for one in self.seccomp["syscalls"]]
        paths = {
            "maskedPaths": [f"/proc/{name}" for name in _MASKED],
            "readonlyPaths": [f"/proc/{name}" for name in _READ_ONLY],
        }
        sets = ("ambient", "bounding", "effective", "inheritable", "permitted")
        return {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": _USER, "gid": _USER},
                "args": list(command),
                "cwd": "/tmp",
                "env": ["PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp"],
                "noNewPrivileges": True,
                "capabilities": {name: [] for name in sets},
            },
            "root": {"path": "rootfs", "readonly": True},
            "hostname": "container",
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                _mount("/dev", "tmpfs", "nosuid", "mode=755"),
                _mount("/dev/pts", "devpts", "newinstance", "ptmxmode=0666", "mode=0620"),
                _mount("/dev/shm", "tmpfs", "nosuid", "nodev", "mode=1777"),
                _mount("/tmp", "tmpfs", "mode=1777"),
                *({"destination": path, "source": path, "options": ["rbind", "ro"]} for path in _SHOWN),
            ],
            "linux": {
                "namespaces": [{"type": name} for name in namespaces],
                "uidMappings": mapping,
                "gidMappings": mapping,
                "seccomp": {**self.seccomp, "syscalls": calls, "architectures": [_architecture()]},
                **(paths if self.is_masked else {}),
            },
        }


def _mount(path: str, kind: str, *options: str) -> Mapping[str, Any]:
    return {"destination": path, "type": kind, "source": kind, "options": list(options)}


def _architecture() -> str:
    return f"SCMP_ARCH_{os.uname().machine.upper()}"


def need_containers() -> None:
    """Skips where there can be none; fails in CI."""
    missing = "runc is not installed" if shutil.which("runc") is None else ""
    missing = missing or ("bubblewrap is not installed" if shutil.which("bwrap") is None else "")
    missing = missing or ("only root can make containers" if os.geteuid() != 0 else "")
    if missing:
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
