"""Submodules, where the operator wants them followed: their files are put in place for the agent to read and compile.

They come without a `.git`: what Git has to know of them is out of the agent's reach. A submodule stays at the commit
that the repository names: what a step changes in one is not committed, it is undone when the step is delivered, and the
paths are told. (Only when others moved a submodule meanwhile, and the push had to rebase, are its files those of the
commit before, until the next run.)

`git submodule` is not used. Addresses come out of the repository, so they pass the checks of a run's own address; the
run's credentials go to its own origin only, and nothing else in `.gitmodules` has a say.
"""

import os
import posixpath
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import anyio

from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import GitError
from treadle.domain.git_url import GitLocation, check_url, parse
from treadle.workspace import index_file
from treadle.workspace.extent import check_extent
from treadle.workspace.git import Git
from treadle.workspace.mirrors import Loans, Mirrors
from treadle.workspace.refs import make_git_dir
from treadle.workspace.remote import Remote
from treadle.workspace.removal import drop_dot_git, open_beneath
from treadle.workspace.staging import read_status

#: How deep submodules may lie in one another, and how many there may be in all.
MAX_DEPTH = 5
MAX_SUBMODULES = 100


class Insist(Protocol):
    async def __call__(self, git: Git, *arguments: str) -> None:
        """Runs a command whatever modes the agent set."""


@dataclass(frozen=True, slots=True)
class Submodule:
    """One whose files are in place. `path`: below the run's work tree; `top`: of the outermost one that it lies in."""

    path: bytes
    top: bytes
    git: Git


class Submodules:
    """Puts the files of a run's submodules in place. `folder`: where their git-dirs are made. They borrow from
    mirrors of their own, which join the workspace's `loans`."""

    def __init__(self, mirrors: Mirrors, loans: Loans, git: Git, folder: Path, tree: Path) -> None:
        self._mirrors = mirrors
        self._loans = loans
        self._git = git
        self._folder = folder
        self._tree = tree
        self._found: list[Submodule] = []

    async def check_out(self, remote: Remote, commit: str, submodules: Mapping[bytes, str]) -> Sequence[Submodule]:
        """`submodules`: the paths below the tree, and the commits they are at in `commit`. Raises GitError naming the
        submodule."""
        await self._follow(remote, commit, self._git, submodules, ())
        return tuple(self._found)

    async def _follow(
        self, remote: Remote, commit: str, git: Git, submodules: Mapping[bytes, str], within: tuple[bytes, ...]
    ) -> None:
        addresses = await _addresses(git, commit)
        for path, sha in submodules.items():
            name = path.decode(errors="replace")
            if len(within) == MAX_DEPTH or len(self._found) == MAX_SUBMODULES:
                raise GitError(f"The submodule '{name}' is one too many, or too deep.")
            if path not in addresses:
                raise GitError(f"The submodule '{name}' has no address in .gitmodules.")
            try:
                await self._check_out(_remote(remote, addresses[path]), sha, (*within, path))
            except GitError as error:
                raise type(error)(f"The submodule '{name}': {error.message}", hint=error.hint) from error

    async def _check_out(self, remote: Remote, sha: str, paths: tuple[bytes, ...]) -> None:
        path = b"/".join(paths)
        if not is_directory(self._tree, path):
            raise GitError("Its place is taken by something else.")
        snapshot = await self._mirrors.fetch(remote, self._loans)
        directory = self._folder / str(len(self._found))
        make_git_dir(directory, sha, snapshot.objects, hash_bytes=snapshot.hash_bytes)
        git = self._git.at(directory, self._tree / os.fsdecode(path))
        if (await git.run("cat-file", "-e", f"{sha}^{{commit}}", accepted=None)).exit_code != 0:
            raise GitError(f"Its commit {sha} is on no branch and no tag of {remote.url}.")
        await check_extent(git, sha)
        await git.run("read-tree", "-m", "-u", sha)
        further = await anyio.to_thread.run_sync(
            index_file.settle, directory / "index", self._tree / os.fsdecode(path), snapshot.hash_bytes
        )
        self._found.append(Submodule(path, paths[0], git))
        if further:
            await self._follow(remote, sha, git, further, paths)


async def restore(
    tree: Path, submodules: Sequence[Submodule], tops: Collection[bytes], insist: Insist
) -> tuple[str, ...]:
    """Undoes what was changed in the submodules that still are some: those below `tops`. The paths that had changes.
    Ignored files stay. For when no agent runs."""
    for each in submodules:
        await drop_dot_git(tree, each.path)  # Git would look into it, and run what is configured there
    changed: list[str] = []
    for each in submodules:
        # The agent may have put a link in a submodule's place: what it leads to is nobody's to clean up.
        if each.top not in tops or not is_directory(tree, each.path):
            continue
        options = ("--porcelain=v1", "-z", "--untracked-files=all", "--ignore-submodules=dirty", "--no-renames")
        found = read_status(await each.git.out("status", *options))
        if found:
            await insist(each.git, "reset", "--quiet", "--hard")
            await insist(each.git, "clean", "--quiet", "--force", "--force", "-d")
            changed += (f"{each.path.decode(errors='replace')}/{path}" for path in found)
    return tuple(changed)


async def _addresses(git: Git, commit: str) -> Mapping[bytes, str]:
    """From .gitmodules: the address for each path."""
    arguments = ("config", "-z", "--blob", f"{commit}:.gitmodules", "--get-regexp", r"^submodule\..*\.(path|url)$")
    done = await git.run(*arguments, accepted=None)
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


def _remote(outer: Remote, url: str) -> Remote:
    """With the credentials of `outer` where that is of the same origin."""
    location = _resolve(outer.location, url)
    is_own = not location.is_local and location.origin == outer.location.origin
    return replace(outer, location=location, open_credentials=outer.open_credentials if is_own else _none)


def _resolve(outer: GitLocation, url: str) -> GitLocation:
    """An address in .gitmodules may be relative to the repository's own."""
    if url.startswith(("./", "../")):
        path = posixpath.normpath(posixpath.join(outer.path, url))
        if path.startswith("..") or not path.strip("/."):
            raise GitError("Its relative address leads out of the host.")
        url = replace(outer, path=path).url
    if fault := check_url(url, allow_local=True):
        raise GitError(fault)
    return parse(url)


async def _none() -> GitCredentials:
    return GitCredentials()


def is_directory(tree: Path, path: bytes) -> bool:
    """Whether it is one, reached through no link."""
    descriptor = open_beneath(tree, path)
    if descriptor is None:
        return False
    os.close(descriptor)
    return True
