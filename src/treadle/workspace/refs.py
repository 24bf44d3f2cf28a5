"""References, read and written as Git's files backend keeps them: a process for each would cost more than the work."""

import os
from collections.abc import Mapping
from pathlib import Path

HEADS, TAGS, REMOTE = "refs/heads/", "refs/tags/", "refs/remotes/origin/"

#: Length of a SHA-1 and of a SHA-256 object id, in bytes.
SHA1_BYTES, SHA256_BYTES = 20, 32

#: Stronger than the work tree's: a repository would otherwise say how many megabytes each mark of a conflict has.
_ATTRIBUTES = "* !conflict-marker-size\n"

_HEX = frozenset("0123456789abcdef")
_SHA_LENGTHS = (2 * SHA1_BYTES, 2 * SHA256_BYTES)


def read_refs(directory: Path) -> tuple[dict[str, str], int]:
    """Every branch and tag of a git-dir, by full name, and how many have a file of their own. Symbolic ones are left
    out."""
    found: dict[str, str] = {}
    loose = 0
    for line in _read(directory / "packed-refs").splitlines():
        sha, space, name = line.partition(" ")
        if space and _is_sha(sha):
            found[name] = sha
    for kind in (HEADS, TAGS):
        for folder, _, files in os.walk(directory / kind):
            for file in files:
                path = Path(folder, file)
                sha = _read(path).strip()
                if _is_sha(sha):
                    found[path.relative_to(directory).as_posix()] = sha
                    loose += 1
    return found, loose


def read_branch(directory: Path, branch: str) -> str | None:
    """A branch's commit, if it has a file of its own (one that Treadle or Git wrote last)."""
    sha = _read(directory / HEADS / branch).strip()
    return sha if _is_sha(sha) else None


def write_branch(directory: Path, branch: str, sha: str) -> None:
    """Whole or not at all. For a git-dir that nobody else writes to."""
    path = directory / HEADS / branch
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".lock")
    temporary.write_text(f"{sha}\n")
    temporary.replace(path)


def make_git_dir(directory: Path, head: str, objects: Path, *, hash_bytes: int) -> None:
    """What `git init` and `git clone --shared` would write, without their processes: a git-dir that borrows from
    `objects`. `head`: what HEAD says."""
    for folder in ("objects/info", "objects/pack", "info", "refs/heads", "refs/tags"):
        (directory / folder).mkdir(mode=0o700, parents=True)
    (directory / "config").write_text(configuration(hash_bytes))
    (directory / "objects/info/alternates").write_text(f"{objects}\n")
    (directory / "info/attributes").write_text(_ATTRIBUTES)
    (directory / "HEAD").write_bytes(os.fsencode(f"{head}\n"))


def configuration(hash_bytes: int) -> str:
    """What makes a git-dir one. No run's objects outlive it, so nothing is flushed to the disk."""
    is_sha1 = hash_bytes == SHA1_BYTES
    core = f"[core]\n\trepositoryformatversion = {0 if is_sha1 else 1}\n\tbare = false\n\tfsync = none\n"
    return core if is_sha1 else f"{core}[extensions]\n\tobjectFormat = sha256\n"


def packed(refs: Mapping[str, str]) -> bytes:
    """The text of a packed-refs file."""
    lines = sorted((os.fsencode(name), sha.encode()) for name, sha in refs.items())
    return b"# pack-refs with: sorted \n" + b"".join(b"%s %s\n" % (sha, name) for name, sha in lines)


def _is_sha(text: str) -> bool:
    return len(text) in _SHA_LENGTHS and _HEX.issuperset(text)


def _read(path: Path) -> str:
    try:
        return os.fsdecode(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return ""
