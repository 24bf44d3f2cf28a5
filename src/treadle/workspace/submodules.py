"""Submodules, where the operator wants them followed: their files are put in place for the agent to read and compile.

They come without a `.git`, and what the agent changes in them is neither committed nor undone: a submodule stays at the
commit that the repository names. Their addresses come out of the repository, so they pass the same checks as a run's
own; the run's credentials go to its own host only.
"""

import os
import posixpath
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import GitError
from treadle.domain.git_url import GitLocation, check_url, parse
from treadle.workspace import index_file
from treadle.workspace.git import Git
from treadle.workspace.mirrors import Mirrors
from treadle.workspace.refs import make_git_dir
from treadle.workspace.remote import Remote

#: How deep submodules may lie in one another, and how many there may be in all.
MAX_DEPTH = 5
MAX_SUBMODULES = 100


class Submodules:
    """`folder`: where their git-dirs are made, out of the agent's reach."""

    def __init__(self, mirrors: Mirrors, git: Git, folder: Path) -> None:
        self._mirrors = mirrors
        self._git = git
        self._folder = folder
        self._count = 0

    async def check_out(
        self, remote: Remote, commit: str, tree: Path, submodules: Mapping[bytes, str], depth: int = 1
    ) -> None:
        """`submodules`: the paths below `tree` and their commits. Raises GitError naming the submodule."""
        addresses = await self._addresses(commit)
        for path, sha in submodules.items():
            name = path.decode(errors="replace")
            self._count += 1
            if depth > MAX_DEPTH or self._count > MAX_SUBMODULES:
                raise GitError(f"The submodule '{name}' is one too many, or too deep.")
            if path not in addresses:
                raise GitError(f"The submodule '{name}' has no address in .gitmodules.")
            try:
                inner = self._remote(remote, addresses[path])
                await self._check_out(inner, sha, tree / os.fsdecode(path), depth)
            except GitError as error:
                raise type(error)(f"The submodule '{name}': {error.message}", hint=error.hint) from error

    async def _check_out(self, remote: Remote, sha: str, tree: Path, depth: int) -> None:
        snapshot = await self._mirrors.fetch(remote)
        directory = self._folder / str(self._count)
        make_git_dir(directory, sha, snapshot.objects, hash_bytes=snapshot.hash_bytes)
        inner = Submodules(self._mirrors, self._git.at(directory, tree), self._folder)
        if (await inner._git.run("cat-file", "-e", f"{sha}^{{commit}}", accepted=None)).exit_code != 0:
            raise GitError(f"Its commit {sha} is on no branch and no tag of {remote.url}.")
        await inner._git.run("read-tree", "-m", "-u", sha)
        further = index_file.submodules(directory / "index", snapshot.hash_bytes)
        if further:
            inner._count = self._count
            await inner.check_out(remote, sha, tree, further, depth + 1)
            self._count = inner._count

    async def _addresses(self, commit: str) -> Mapping[bytes, str]:
        """From .gitmodules: the address for each path."""
        arguments = ("config", "-z", "--blob", f"{commit}:.gitmodules", "--get-regexp", r"^submodule\..*\.(path|url)$")
        done = await self._git.run(*arguments, accepted=None)
        found: dict[bytes, dict[bytes, bytes]] = {}
        for field in done.stdout.split(b"\0"):
            key, newline, value = field.partition(b"\n")
            if newline:
                name, _, what = key.removeprefix(b"submodule.").rpartition(b".")
                found.setdefault(name, {})[what] = value
        return {
            entry[b"path"]: entry[b"url"].decode(errors="replace")
            for entry in found.values()
            if b"path" in entry and b"url" in entry
        }

    def _remote(self, outer: Remote, url: str) -> Remote:
        location = _resolve(outer.location, url)
        own = location.is_local or (location.scheme, location.authority) == (
            outer.location.scheme,
            outer.location.authority,
        )
        return replace(outer, location=location, open_credentials=outer.open_credentials if own else _none)


def _resolve(outer: GitLocation, url: str) -> GitLocation:
    """An address in .gitmodules may be relative to the repository's own."""
    if url.startswith(("./", "../")):
        path = posixpath.normpath(posixpath.join(outer.path, url))
        if path.startswith("..") or not path.strip("/."):
            raise GitError("Its relative address leads out of the host.")
        return parse(replace(outer, path=path).url)
    if fault := check_url(url, allow_local=True):
        raise GitError(fault)
    return parse(url)


async def _none() -> GitCredentials:
    return GitCredentials()
