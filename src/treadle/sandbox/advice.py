"""What to do where bubblewrap does not work: each distribution forbids user namespaces in a way of its own."""

from contextlib import suppress
from pathlib import Path

WITHOUT_WALLS = "TREADLE_SANDBOX=none runs engines without walls: they see and change all that this user can."

_INSTALL = "Install bubblewrap (`apt install bubblewrap` on Debian and Ubuntu, `dnf install bubblewrap` on Fedora)."

_APPARMOR = (
    "AppArmor forbids user namespaces here (Ubuntu 23.10 and later): give /usr/bin/bwrap a profile that says "
    "`userns,`, or set the sysctl kernel.apparmor_restrict_unprivileged_userns=0."
)

_SWITCHES = {
    "kernel/apparmor_restrict_unprivileged_userns": (
        "1",
        _APPARMOR,
    ),
    "kernel/unprivileged_userns_clone": ("0", "Set the sysctl kernel.unprivileged_userns_clone=1."),
    "user/max_user_namespaces": ("0", "Set the sysctl user.max_user_namespaces to 10000 or so."),
}

_IN_CONTAINER = (
    "In a container it needs the filter deploy/seccomp.json, an unmasked /proc (`systempaths=unconfined`, "
    "`procMount: Unmasked`) and no AppArmor profile: docs/how-to/host-it-wide.md."
)

_CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv", "/var/run/secrets/kubernetes.io")


def advice(*, is_installed: bool, sysctl: Path = Path("/proc/sys"), root: Path = Path("/")) -> str:
    """Sentences. `sysctl`, `root`: where to look."""
    if not is_installed:
        return f"{_INSTALL} {WITHOUT_WALLS}"
    found = [said for name, (bad, said) in _SWITCHES.items() if _read(sysctl / name) == bad]
    if any((root / mark.lstrip("/")).exists() for mark in _CONTAINER_MARKS):
        found.append(_IN_CONTAINER)
    return " ".join([*(found or ["Allow this user to make user namespaces."]), WITHOUT_WALLS])


def _read(file: Path) -> str | None:
    with suppress(OSError):
        return file.read_text().strip()
    return None
