"""Namespaces of its own, by bubblewrap: the command sees the system read-only, and its box under fixed paths.

| inside | is |
| --- | --- |
| `/workspace` | the work tree; read-only if the box says so. The command starts here |
| `/home/agent`, `/config` | the box's home and the CLI's own state |
| `/files` | the attached files, read-only |
| `/usr`, `/opt`, a few files of `/etc` | the system's, read-only |
| `/tmp`, `/var/tmp`, `/dev`, `/proc` | private to this one command |

The command is user 1000 there, whoever started it. The network is the host's.

On the way in, SIGTERM is ignored by bubblewrap and restored for the command, with all in one process group: so SIGTERM
to that group is for the command alone to answer, where bubblewrap itself would die of it and take the command along.
That is why there is no `--new-session`: `treadle.command` has made one, without a terminal, around it all.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from treadle import command
from treadle.domain.errors import ConfigurationError
from treadle.ports import Box, Layout

WORK_TREE, HOME, CONFIG, FILES = Path("/workspace"), Path("/home/agent"), Path("/config"), Path("/files")

_OWN_ETC = Path(__file__).with_name("etc")
_SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin:/run/current-system/sw/bin"
_CHECK_SECONDS = 10.0

#: Shown read-only where they exist, as links where they are links into what is shown: each mount costs 0.2 ms.
_SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt", "/nix/store"),
    *("/etc/alternatives", "/etc/crypto-policies", "/etc/hosts", "/etc/ld.so.cache", "/etc/localtime"),
    *("/etc/nsswitch.conf", "/etc/os-release", "/etc/pki", "/etc/resolv.conf", "/etc/ssl"),
)


@dataclass(frozen=True, slots=True)
class BubblewrapSandbox:
    """`hidden`: the service's own directories and files, lest they lie in what is shown of the system."""

    hidden: tuple[Path, ...] = ()
    name = "bubblewrap"
    enforces_read_only = True

    async def check(self) -> None:
        """Runs it once. Raises ConfigurationError with what was said when it does not work here."""
        root = Path("/usr/share")
        box = Box(work_tree=root, home=root, config=root, files=root, is_read_only=True)
        argv, environment = self.wrap(("/usr/bin/env", "true"), {"PATH": _SEARCH_PATH}, box)
        hint = "Install bubblewrap and allow user namespaces, or set TREADLE_SANDBOX=none to run without walls."
        try:
            done = await command.run(argv, environment=environment, seconds=_CHECK_SECONDS)
        except command.CommandError as error:
            raise ConfigurationError(f"The sandbox bubblewrap does not work here: {error}", hint=hint) from error
        if done.exit_code != 0:
            said = done.stderr.strip().splitlines()[-1:] or [f"it ended with {done.exit_code}"]
            raise ConfigurationError(f"The sandbox bubblewrap does not work here: {said[0].rstrip('.')}.", hint=hint)

    def layout(self, box: Box) -> Layout:  # noqa: ARG002 - the same for every box
        return Layout(work_tree=WORK_TREE, home=HOME, config=CONFIG, files=FILES)

    def wrap(
        self, argv: Sequence[str], environment: Mapping[str, str], box: Box
    ) -> tuple[tuple[str, ...], Mapping[str, str]]:
        """A death by signal n shows as exit code 128 + n. The environment is inherited, never in argv."""
        ignoring, restoring = "--ignore-signal=TERM", "--default-signal=TERM"
        wrapped = (_program("env"), ignoring, _program("bwrap"), *_NAMESPACES, *self._mounts(box), "--")
        return (*wrapped, "/usr/bin/env", restoring, *argv), environment

    def _mounts(self, box: Box) -> list[str]:
        options = ["--tmpfs", "/tmp", "--symlink", "../tmp", "/var/tmp", *_system(), "--proc", "/proc", "--dev", "/dev"]  # noqa: S108 - in the sandbox
        for path in self.hidden:
            if any(path.is_relative_to(shown) for shown in _SYSTEM):
                options += ("--tmpfs", str(path)) if path.is_dir() else ("--ro-bind-try", os.devnull, str(path))
        for path in box.readable:
            if not path.is_relative_to("/usr") or any(path.is_relative_to(hidden) for hidden in self.hidden):
                options += ("--ro-bind", str(path), str(path))
        for bind, host, inside in (
            ("--bind", box.home, HOME),
            ("--bind", box.config, CONFIG),
            ("--ro-bind", box.files, FILES),
            ("--ro-bind" if box.is_read_only else "--bind", box.work_tree, WORK_TREE),
        ):
            options += (bind, str(host), str(inside))
        return [*options, "--remount-ro", "/", "--chdir", str(WORK_TREE)]


_NAMESPACES = (
    *("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
    *("--die-with-parent", "--cap-drop", "ALL", "--uid", "1000", "--gid", "1000", "--hostname", "treadle"),
)


def _program(name: str) -> str:
    return shutil.which(name, path=_SEARCH_PATH) or name


def _system() -> list[str]:
    options: list[str] = []
    for path in _SYSTEM:
        target = os.path.realpath(path)
        if target != path and target.startswith("/usr/"):
            options += ("--symlink", target, path)
        elif Path(path).exists():
            options += ("--ro-bind", path, path)
    for name in ("passwd", "group"):
        options += ("--ro-bind", str(_OWN_ETC / name), f"/etc/{name}")
    return options
