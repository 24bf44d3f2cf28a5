"""A run's clone. The service's git-dir is private and always given, so nothing in the work tree has a say in it."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from uuid import UUID

import anyio

from treadle import command
from treadle.command import CommandError
from treadle.domain.diff import DIFF_ARGUMENTS, NUMSTAT_ARGUMENTS, DiffEncoder, path_batches
from treadle.domain.errors import GitError, GitTimedOut, WorkspaceError
from treadle.ports import Box, Commit, DiffSummary, Prepared
from treadle.workspace import index_file, messages
from treadle.workspace.agent_git import AgentGit
from treadle.workspace.delivery import Delivery
from treadle.workspace.git import Git, failure_of, last_line, measured, refuse_full_disk
from treadle.workspace.locks import FileLock
from treadle.workspace.mirrors import Loans
from treadle.workspace.place import Place
from treadle.workspace.refs import REMOTE, write_branch
from treadle.workspace.removal import drop_dot_git
from treadle.workspace.staging import Staged, read_staged, read_status
from treadle.workspace.submodules import Submodule, restore

#: How often staging is begun anew because of a repository inside the tree: each time one level of them is gone.
MAX_NESTED = 50

_NO_COMMIT = re.compile(r"^error: '(.+?)/?' does not have a commit checked out$", re.MULTILINE | re.DOTALL)
_DIFF_CHUNK_BYTES = 256 << 10


class GitWorkspace:
    """Made by `GitWorkspaces.prepare`. For one task at a time."""

    def __init__(
        self,
        place: Place,
        prepared: Prepared,
        *,
        git: Git,
        delivery: Delivery,
        agent: AgentGit,
        refs: Mapping[str, str],
        submodules: Collection[bytes],
        followed: Sequence[Submodule],
        lock: FileLock,
        loans: Loans,
    ) -> None:
        self._place = place
        self._prepared = prepared
        self._git = git
        self._delivery = delivery
        self._agent = agent
        self._refs = dict(refs)
        self._submodules = tuple(submodules)
        self._followed = followed
        self._lock = lock
        self._loans = loans
        self._head = self._pushed = prepared.work_sha
        self._is_staging = False  # or was, when something cut it short
        self._found: list[str] = []  # repositories found in the tree since the last commit
        self._nested: tuple[str, ...] = ()
        self._tree = _identity(place.code)

    @property
    def box(self) -> Box:
        return Box(
            work_tree=self._place.code,
            home=self._place.home,
            config=self._place.config,
            files=self._place.files,
            is_read_only=False,
            readable=tuple(self._agent.objects),
        )

    @property
    def prepared(self) -> Prepared:
        return self._prepared

    async def head(self) -> str:
        return self._head

    async def nested_repositories(self) -> Sequence[str]:
        return self._nested

    async def changed_paths(self) -> Sequence[str]:
        """A repository inside the tree shows as its directory, with a slash at the end."""
        await self._disarm()
        options = ("--porcelain=v1", "-z", "--untracked-files=all", "--ignore-submodules=dirty", "--no-renames")
        return read_status(await self._git.out("status", *options))

    async def commit(self, message: str, step: UUID) -> Commit | None:
        staged = await self._stage("--numstat", "--find-renames")
        self._nested, self._found = tuple(self._found), []
        if not staged.changes:
            return None
        tree = (await self._git.out("write-tree")).decode().strip()
        text = messages.message(message, step)
        sha = (await self._git.out("commit-tree", "-p", self._head, tree, stdin=text)).decode().strip()
        write_branch(self._place.git, self._agent.branch, sha)
        self._head = sha
        await self._make_agent_git()
        return Commit(sha, len(staged.changes), staged.additions, staged.deletions)

    async def compare(self) -> tuple[int, int]:
        revisions = f"{self._prepared.source_sha}...{self._head}"
        behind, ahead = (await self._git.out("rev-list", "--left-right", "--count", revisions)).split()
        return int(ahead), int(behind)

    async def push(self, permit: Callable[[], Awaitable[None]]) -> str:
        """When it fails for good, or is broken off, the commits that were not taken are taken back, so that their work
        is uncommitted again and `patch` has it."""
        self._check_tree()
        await self._disarm()
        before = self._head
        try:
            delivered = await self._delivery.push(self._head, self._pushed, permit)
        except BaseException:  # a kill, too: what it keeps is the step's work
            write_branch(self._place.git, self._agent.branch, self._pushed)
            self._head = self._pushed
            raise
        self._head = self._pushed = delivered.tip
        self._refs[REMOTE + self._agent.branch] = delivered.tip
        if delivered.tip != before:
            self._submodules = await anyio.to_thread.run_sync(self._read_submodules)
        await self._make_agent_git()
        return delivered.pushed

    async def undo(self) -> Sequence[str]:
        """Ignored files, such as build caches, stay."""
        paths = await self.changed_paths()
        if paths:
            await self._insist(self._git, "reset", "--quiet", "--hard", self._head)
            await self._insist(self._git, "clean", "--quiet", "--force", "--force", "-d")
        await self._make_agent_git()
        return (*paths, *await self.restore_submodules())

    async def restore_submodules(self) -> Sequence[str]:
        if not self._followed:
            return ()
        self._check_tree()
        tops = await anyio.to_thread.run_sync(self._read_submodules)
        return await restore(self._place.code, self._followed, tops, self._insist)

    async def patch(self, *, since: str | None = None) -> bytes:
        if since is None and not (await self._stage()).changes:
            return b""
        revisions = ("--cached", self._head) if since is None else (since, self._head)
        options = ("--binary", "--full-index", "--no-renames", "--no-color", "--no-ext-diff")
        prefixes = ("--no-textconv", "--ignore-submodules=none", "--src-prefix=a/", "--dst-prefix=b/")
        return await self._git.out("diff", *options, *prefixes, *revisions)

    async def apply(self, patch: bytes) -> None:
        if patch:
            self._check_tree()
            await self._git.run("apply", "--index", "--whitespace=nowarn", "-", stdin=patch)

    async def write_diff(self, json_path: Path, patch_path: Path) -> DiffSummary:
        self._check_tree()
        with measured(DIFF_ARGUMENTS):
            return await self._write_diff(json_path, patch_path)

    async def _write_diff(self, json_path: Path, patch_path: Path) -> DiffSummary:
        revisions = (self._prepared.source_sha, self._head)
        arguments = (*DIFF_ARGUMENTS, *revisions)
        encoder, read, patch_bytes = DiffEncoder(), 0, 0
        try:
            async with (
                asyncio.timeout(self._git.seconds),
                command.spawn(
                    self._git.argv(*arguments), environment=self._git.environment, cwd=self._git.cwd
                ) as running,
            ):
                with json_path.open("wb") as json_file, patch_path.open("wb") as patch_file:
                    async for chunk in running.chunks(chunk_bytes=_DIFF_CHUNK_BYTES):
                        json_file.writelines(encoder.feed_pieces(chunk))
                        for paths in path_batches(encoder.unsettled):
                            encoder.settle(await self._git.out(*NUMSTAT_ARGUMENTS, *revisions, "--", *paths))
                        if encoder.patch_offset is not None:
                            patch_bytes += patch_file.write(chunk[max(0, encoder.patch_offset - read) :])
                        read += len(chunk)
                    if await running.wait() != 0:
                        raise GitError(f"git diff failed: {last_line(running.stderr)}.")
                    json_file.writelines(encoder.close_pieces())
        except TimeoutError:
            raise GitTimedOut("The diff was not ready in time.", hint="TREADLE_GIT_SECONDS sets its time.") from None
        except CommandError as error:
            raise failure_of(arguments, error) from error
        return DiffSummary(encoder.files, encoder.additions, encoder.deletions, patch_bytes)

    async def remove(self) -> None:
        await self._place.remove()
        self._loans.release()
        self._lock.remove()

    # ---- the tree ----------------------------------------------------------------------------------------------------

    async def _stage(self, *statistics: str) -> Staged:
        """Stages everything. Repositories that the agent made inside the tree lose their `.git` and become files;
        submodules stay at their commit."""
        await self._disarm()
        self._is_staging = True
        options = ("--cached", "--raw", "-z", "--no-abbrev", "--ignore-submodules=none", *statistics)
        is_opened = False
        for _ in range(MAX_NESTED):
            done = await self._git.run("add", "--all", accepted=None)
            if done.exit_code != 0:
                # A repository without a commit cannot be added, as a submodule or otherwise.
                if not await self._drop_repositories(await self._empty_repositories(done.stderr)):
                    if is_opened:
                        refuse_full_disk(done.stderr)
                        raise GitError(f"The changes cannot be committed: {last_line(done.stderr)}.")
                    await self._open_up()
                    is_opened = True
                continue
            staged = read_staged(await self._git.out("diff-index", *options, self._head))
            repositories = [change.path for change in staged.changes if change.is_new_repository]
            moved = [change for change in staged.changes if change.is_moved_submodule]
            if not repositories and not moved:
                self._is_staging = False
                return staged
            await self._drop_repositories(repositories)
            await self._git.run("update-index", "--force-remove", "-z", "--stdin", stdin=b"\0".join(repositories))
            kept = b"".join(b"160000 %s\t%s\0" % (change.old_id.encode(), change.path) for change in moved)
            await self._git.run("update-index", "-z", "--index-info", stdin=kept)
        raise GitError("The work tree holds too many repositories inside one another.")

    async def _empty_repositories(self, stderr: str) -> list[bytes]:
        """The untracked ones; Git names one that took a tracked file's place in its complaint only."""
        found = await self._git.out("ls-files", "--others", "--exclude-standard", "-z")
        named = [os.fsencode(name) for name in _NO_COMMIT.findall(stderr)]
        return [path for path in found.split(b"\0") if path.endswith(b"/")] + named

    async def _drop_repositories(self, paths: Sequence[bytes]) -> bool:
        """Whether any was there."""
        dropped = [path for path in paths if await drop_dot_git(self._place.code, path)]
        self._found += [os.fsencode(path).decode(errors="replace").rstrip("/") for path in dropped]
        return bool(dropped)

    async def _disarm(self) -> None:
        """Git would look into a submodule that has a `.git`, and run what the agent may have configured there."""
        self._check_tree()
        if self._is_staging:  # cut short, with repositories staged that are yet to become files
            self._submodules = await anyio.to_thread.run_sync(self._read_submodules)
        for path in self._submodules:
            await drop_dot_git(self._place.code, path)

    async def _insist(self, git: Git, *arguments: str) -> None:
        done = await git.run(*arguments, accepted=None)
        if done.exit_code != 0:
            await self._open_up()
            await git.run(*arguments)

    async def _open_up(self) -> None:
        """Takes back what the agent denied its owner: reading files, entering directories."""
        argv = ("chmod", "-R", "u+rwX", "--", str(self._place.code))
        try:
            await command.run(argv, environment=self._git.environment, seconds=self._git.seconds)
        except CommandError as error:
            raise WorkspaceError(f"The work tree's permissions could not be mended: {error.message}") from error

    async def _make_agent_git(self) -> None:
        await self._agent.make(self._head, self._refs, self._place.git / "index")

    def _read_submodules(self) -> tuple[bytes, ...]:
        return tuple(index_file.submodules(self._place.git / "index", self._agent.hash_bytes))

    def _check_tree(self) -> None:
        """Raises WorkspaceError when the work tree is not the directory that was prepared."""
        if _identity(self._place.code) != self._tree:
            raise WorkspaceError("The work tree was moved or replaced.")
        # Of a command that was cut short: nobody else works here.
        (self._place.git / "index.lock").unlink(missing_ok=True)


def _identity(directory: Path) -> tuple[int, int] | None:
    try:
        status = directory.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
