"""What lies under a path, and who has it open, as Linux's /proc says."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

_MOUNTS: Final = Path("/proc/self/mountinfo")

#: File systems of which several machines may see the same, by how the kernel calls them.
_SHARED: Final = frozenset(
    (
        *("9p", "afs", "ceph", "cifs", "gfs2", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "smb3", "smbfs"),
        *("beegfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.glusterfs", "fuse.juicefs", "fuse.s3fs", "fuse.sshfs"),
    )
)


def network_file_system(path: Path, mounts: Path = _MOUNTS) -> str | None:
    """The kind of the network's file system that `path`, or the nearest of its parents, is on; None for a local one,
    and where that is not to be known."""
    there = next((place for place in (path, *path.parents) if place.exists()), Path("/"))
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    target, found, kind = os.path.realpath(there), "", ""
    for line in lines:
        before, _, after = line.partition(" - ")
        point = before.split()[4].encode("utf-8", "surrogateescape").decode("unicode_escape")
        # The last of those at one place covers the others.
        if (target == point or target.startswith(f"{point.rstrip('/')}/")) and len(point) >= len(found):
            found, kind = point, after.split()[0]
    return kind if kind in _SHARED else None


def users_of(path: Path) -> list[int]:
    """The processes that have the file open, as far as this user may look; without this one."""
    wanted = os.path.realpath(path)
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):  # it ended, or is somebody else's
            if any(_target(link) == wanted for link in (entry / "fd").iterdir()):
                found.append(int(entry.name))
    return sorted(found)


def _target(link: Path) -> str:
    with suppress(OSError):  # closed meanwhile
        return str(link.readlink())
    return ""
