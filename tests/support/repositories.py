"""Bare repositories in a temporary directory, and what a test wants to know of them."""

import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Commit:
    """A commit as `git log` tells it; `message` whole, trailers included."""

    sha: str
    author: str
    email: str
    message: str

    @property
    def subject(self) -> str:
        return self.message.partition("\n")[0]


class BareRepositories:
    """Repositories at `root/<name>.git`; a name may hold slashes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, repo: str) -> Path:
        return self.root / f"{repo}.git"

    def create(self, repo: str, files: Mapping[str, bytes | str] | None = None, branch: str = "main") -> Path:
        """Make a bare repository whose `branch` holds one commit with `files`; without files it is empty."""
        bare = self.path(repo)
        bare.parent.mkdir(parents=True, exist_ok=True)
        _git(self.root, "init", "--quiet", "--bare", f"--initial-branch={branch}", "--template=", str(bare))
        for setting in ("http.receivepack", "uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):
            _git(bare, "config", setting, "true")
        _git(bare, "config", "gc.auto", "0")
        if files:
            self.commit(repo, files, branch=branch, message="Initial commit")
        return bare

    def commit(
        self,
        repo: str,
        files: Mapping[str, bytes | str],
        *,
        branch: str = "main",
        message: str = "Change by hand",
        submodules: Mapping[str, str] | None = None,
    ) -> str:
        """Add a commit to a branch, made if need be, as somebody else's push would; its sha. `submodules`: paths, and
        the commits they are at; `files` is to hold the .gitmodules."""
        bare = self.path(repo)
        parent = _git(bare, "rev-parse", "--verify", "--quiet", f"refs/heads/{branch}", check=False).decode().strip()
        with tempfile.TemporaryDirectory(dir=self.root, prefix="index-") as scratch:
            index = {"GIT_INDEX_FILE": f"{scratch}/index"}
            if parent:
                _git(bare, "read-tree", parent, extra=index)
            for path, content in files.items():
                data = content.encode() if isinstance(content, str) else content
                blob = _git(bare, "hash-object", "-w", "--stdin", stdin=data).decode().strip()
                _git(bare, "update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", extra=index)
            for path, commit in (submodules or {}).items():
                _git(bare, "update-index", "--add", "--cacheinfo", f"160000,{commit},{path}", extra=index)
            tree = _git(bare, "write-tree", extra=index).decode().strip()
        parents = ("-p", parent) if parent else ()
        sha = _git(bare, "commit-tree", tree, *parents, "-m", message).decode().strip()
        _git(bare, "update-ref", f"refs/heads/{branch}", sha)
        return sha

    def log(self, repo: str, branch: str = "main") -> list[Commit]:
        """The commits of a branch, newest first."""
        raw = _git(self.path(repo), "log", "-z", "--format=%H%n%an%n%ae%n%B", f"refs/heads/{branch}", "--").decode()
        commits = (entry.split("\n", 3) for entry in raw.split("\0") if entry)
        return [Commit(sha, author, email, message.rstrip("\n")) for sha, author, email, message in commits]

    def show(self, repo: str, branch: str, path: str) -> bytes:
        """A file of a branch. CalledProcessError when there is none."""
        return _git(self.path(repo), "cat-file", "blob", f"refs/heads/{branch}:{path}")

    def files(self, repo: str, branch: str) -> list[str]:
        """The paths in a branch, sorted."""
        raw = _git(self.path(repo), "ls-tree", "-r", "-z", "--name-only", f"refs/heads/{branch}")
        return [path.decode() for path in raw.split(b"\0") if path]

    def branches(self, repo: str) -> list[str]:
        return _git(self.path(repo), "for-each-ref", "--format=%(refname:short)", "refs/heads").decode().split()

    def git(self, repo: str, *arguments: str) -> str:
        """Any git command in the bare repository; its output."""
        return _git(self.path(repo), *arguments).decode()


def _git(
    folder: Path,
    *arguments: str,
    stdin: bytes | None = None,
    check: bool = True,
    extra: Mapping[str, str] | None = None,
) -> bytes:
    environment = {
        "PATH": os.environ["PATH"],
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_AUTHOR_NAME": "Somebody Else",
        "GIT_AUTHOR_EMAIL": "somebody@example.com",
        "GIT_COMMITTER_NAME": "Somebody Else",
        "GIT_COMMITTER_EMAIL": "somebody@example.com",
        **(extra or {}),
    }
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        input=stdin or b"",
        capture_output=True,
        env=environment,
        check=False,
        timeout=60,
    )
    if check:
        done.check_returncode()
    return done.stdout
