"""Files of a remote's branch, read without a work tree and without most of the repository.

A shallow fetch brings one commit and its folders; then exactly the files that were asked for are fetched by their
hashes. Links stay unfollowed, for nothing is ever checked out.
"""

import signal
from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from treadle.domain.credentials import GitCredentials
from treadle.domain.errors import BranchNotFound, GitError
from treadle.ports.remote_files import RemoteFile, RemoteFolder
from treadle.scratch import scratch_directory
from treadle.settings import Settings
from treadle.workspace.failures import remote_failure
from treadle.workspace.git import Git
from treadle.workspace.looks import look
from treadle.workspace.refs import HEADS
from treadle.workspace.remote import Remote
from treadle.workspace.removal import remove_tree

#: Longest time for each Git command of a look at files, in seconds: somebody waits for the answer.
LOOK_SECONDS = 30.0

#: Of what one fetch of a look brings: a host that passes over the filter would send all files of the commit.
MAX_LOOK_BYTES = 128 << 20

_TOO_LARGE = f"died of signal {signal.SIGXFSZ.value}"

_QUIET = ("--quiet", "--no-tags", "--no-recurse-submodules")

#: Of files, not of links (120000), submodules (160000) or folders (040000).
_MODES = frozenset({"100644", "100755"})

#: Without what the first fetch noted: Git would go and get, on its own and past the rules, whatever is not there. What
#: is fetched is one file, whose size is bounded.
_CONFIGURATION = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n[fetch]\n\tunpackLimit = 1\n"
_CONFIGURATION_SHA256 = (
    "[core]\n\trepositoryformatversion = 1\n\tbare = true\n[fetch]\n\tunpackLimit = 1\n"
    "[extensions]\n\tobjectformat = sha256\n"
)
_SHA256_DIGITS = 64


@dataclass(frozen=True, slots=True)
class GitFiles:
    """RemoteFiles, the way that workers go."""

    settings: Settings

    async def folder(
        self,
        url: str,
        organization_uuid: UUID,
        credentials: GitCredentials,
        *,
        branch: str,
        path: str,
        endings: Collection[str],
        most_files: int,
        most_bytes: int,
    ) -> RemoteFolder:
        seconds = min(LOOK_SECONDS, self.settings.git_seconds)
        remote, git = look(self.settings, url, organization_uuid, credentials, seconds=seconds)
        async with AsyncExitStack() as stack:
            place = stack.enter_context(scratch_directory())
            stack.push_async_callback(remove_tree, place)
            commit = await _fetch(remote, git, place, branch)
            git = git.at(place)
            named = [
                (name, sha)
                for name, sha in await _files_in(git, commit, path)
                if name.endswith(tuple(endings)) and not name.startswith(".")
            ]
            chosen = named[:most_files]
            if shas := [sha for _, sha in chosen]:
                await _bounded(remote, git, *_QUIET, "--no-write-fetch-head", "--", remote.url, *dict.fromkeys(shas))
            contents = await _read(git, shas, most_bytes)
        files = [RemoteFile(name, *contents[sha]) for name, sha in chosen]
        return RemoteFolder(commit, files, len(named) - len(chosen))


async def _fetch(remote: Remote, git: Git, place: Path, branch: str) -> str:
    """The branch's newest commit and its folders into a new repository at `place`. Raises GitError."""
    commit = await remote.branch(git, branch)
    if commit is None:
        raise BranchNotFound(f"The repository has no branch '{branch}'.")
    is_sha256 = len(commit) == _SHA256_DIGITS
    kind = ("--object-format=sha256",) if is_sha256 else ()
    await git.run("init", "--quiet", "--bare", "--template=", *kind, "--", str(place))
    # No reference keeps it: Git would look for its files whenever it checks what it has fetched.
    options = (*_QUIET, "--depth=1", "--filter=blob:none")
    await _bounded(remote, git.at(place), *options, "--", remote.url, f"{HEADS}{branch}")
    (place / "config").write_text(_CONFIGURATION_SHA256 if is_sha256 else _CONFIGURATION)
    return (await git.at(place).out("rev-parse", "--verify", "FETCH_HEAD^{commit}")).decode().strip()


async def _bounded(remote: Remote, git: Git, *arguments: str) -> None:
    """Fetches. Raises GitError."""
    bound = replace(git, file_bytes=MAX_LOOK_BYTES)
    done, credentials = await remote.attempt(bound, "fetch", *arguments)
    if _TOO_LARGE in done.stderr:
        raise GitError(
            f"The Git host sends more than {MAX_LOOK_BYTES:,} bytes for a look at a folder.",
            hint="It sends all files of the branch: let it take partial clones (uploadpack.allowFilter).",
        )
    if done.exit_code != 0:
        raise remote_failure(done.stderr, remote.location, credentials)


async def _files_in(git: Git, commit: str, path: str) -> Sequence[tuple[str, str]]:
    """Names and hashes of the files right in a folder, by name."""
    found = list[tuple[str, str]]()
    for entry in (await git.out("ls-tree", "-z", commit, "--", f"{path}/")).decode(errors="replace").split("\0"):
        told, tab, name = entry.partition("\t")
        mode, _, rest = told.partition(" ")
        if tab and mode in _MODES:
            found.append((name.removeprefix(f"{path}/"), rest.partition(" ")[2]))
    return found


async def _read(git: Git, shas: Sequence[str], most_bytes: int) -> dict[str, tuple[int, bytes | None]]:
    """Size and content of each. Raises GitError for one that the remote did not give."""
    asked = "".join(f"{sha}\n" for sha in shas).encode()
    sizes = (await git.out("cat-file", "--batch-check=%(objectname) %(objecttype) %(objectsize)", stdin=asked)).decode()
    found = dict[str, tuple[int, bytes | None]]()
    for line in sizes.splitlines():
        sha, kind, size = (*line.split(" "), "")[:3]
        if kind != "blob":
            raise GitError("The Git host did not give a file that it listed.")
        is_small = int(size) <= most_bytes
        found[sha] = int(size), await git.out("cat-file", "blob", sha) if is_small else None
    return found
