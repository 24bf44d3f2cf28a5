"""A run's clone. The service's git-dir is private and always given, so nothing in the work tree has a say in it."""

import os
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from uuid import UUID

import anyio

from treadle import command
from treadle.command import CommandError
from treadle.domain.diff_contents import Wanted
from treadle.domain.errors import GitError, WorkspaceError
from treadle.domain.secret_scan import Finding, Own
from treadle.ports import Box, Commit, DiffSummary, Prepared
from treadle.workspace import index_file, messages
from treadle.workspace.agent_git import AgentGit
from treadle.workspace.aside import Aside, pattern
from treadle.workspace.delivery import Delivery
from treadle.workspace.diff_files import read_contents, write_diff
from treadle.workspace.examination import find_secrets
from treadle.workspace.git import Git, first_error, refuse_full_disk
from treadle.workspace.guard import check_changes, check_git_files
from treadle.workspace.locks import FileLock
from treadle.workspace.mirrors import Loans
from treadle.workspace.place import Place, identity
from treadle.workspace.refs import REMOTE, write_branch
from treadle.workspace.removal import drop_dot_git
from treadle.workspace.staging import Staged, Status, read_staged, read_statuses, read_tree, split
from treadle.workspace.submodules import Submodule, restore
from treadle.workspace.untracked import everything, not_ignored

#: How often staging is begun anew because of a repository inside the tree: each time one level of them is gone.
MAX_NESTED = 50

_NO_COMMIT = re.compile(r"^error: '(.+?)/?' does not have a commit checked out$", re.MULTILINE | re.DOTALL)


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
        self._examined: Staged | None = None  # what was looked through, as long as nothing else was staged
        self._is_staging = False  # or was, when something cut it short
        self._found: list[str] = []  # repositories found in the tree since the last commit
        self._nested: tuple[str, ...] = ()
        self._tree = identity(place.code)
        self._aside = Aside()

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
        return _names(status for status in await self._statuses() if self._entry_of(status) is None)

    async def find_secrets(self, own: Own) -> Sequence[Finding]:
        staged = await self._stage_for_commit()
        found = await find_secrets(self._git, staged.changes, own)
        self._examined = staged
        return found

    async def commit(self, message: str, step: UUID) -> Commit | None:
        """What was examined and nothing else, where it was."""
        staged = self._examined
        self._check_tree()
        if staged is None:
            staged = await self._stage_for_commit()
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
        if self._is_staging:  # a hard reset would remove what is staged and was set aside
            await self._unstage_aside()
        statuses = await self._statuses()
        paths = _names(status for status in statuses if self._entry_of(status) is None)
        if paths:
            # What the repository's own .gitignore wants to be seen: a pattern that is given here is stronger.
            seen = {entry for status in statuses if (entry := self._entry_of(status))}
            kept = [f"--exclude={os.fsdecode(pattern(entry))}" for entry in seen]
            await self._insist(self._git, "reset", "--quiet", "--hard", self._head)
            await self._insist(self._git, "clean", "--quiet", "--force", "--force", "-d", *kept)
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

    async def lock_files(self, names: frozenset[str]) -> Mapping[str, str]:
        """Raises WorkspaceError for a tree whose listing is larger than Git's output may be."""
        tree = await self._git.out("ls-tree", "-r", "-z", self._head)
        return read_tree(tree, {os.fsencode(name) for name in names})

    async def set_aside(self) -> Sequence[str]:
        """A new directory with many things in it is set aside whole, also what is put there later. What is inside a
        submodule is no part of any commit anyway; it is undone, as after each step."""
        statuses = await self._statuses()
        if any(status.is_tracked for status in statuses):
            await self._insist(self._git, "reset", "--quiet", "--hard", self._head)
        entries = await not_ignored(self._git, self._open_up)
        self._aside = Aside(self._aside.entries | entries)
        exclude = self._place.git / "info/exclude"
        exclude.parent.mkdir(exist_ok=True)
        exclude.write_bytes(self._aside.exclude_file())
        await self._make_agent_git()
        return (*_names(statuses), *await self.restore_submodules())

    async def unversioned(self) -> Sequence[bytes]:
        await self._disarm()
        return await everything(self._git, self._followed, self._place.code)

    async def write_diff(self, json_path: Path, patch_path: Path, *, of_last_commit: bool = False) -> DiffSummary:
        await self._disarm()  # the attributes of the tree have a say in how lines are compared
        source = f"{self._head}^" if of_last_commit else self._prepared.source_sha
        return await write_diff(self._git, source, self._head, json_path, patch_path)

    async def contents(self, wanted: Sequence[Wanted]) -> Sequence[tuple[Wanted, bytes]]:
        return await read_contents(self._git, wanted)

    async def remove(self) -> None:
        await self._place.remove()
        self._loans.release()
        self._lock.remove()

    # ---- the tree ----------------------------------------------------------------------------------------------------

    async def _stage_for_commit(self) -> Staged:
        return await self._stage("--numstat", "--find-renames")

    async def _stage(self, *statistics: str) -> Staged:
        """Stages everything. Repositories that the agent made inside the tree lose their `.git` and become files;
        submodules stay at their commit."""
        await self._disarm()
        self._is_staging = True
        options = ("--cached", "--raw", "-z", "--no-abbrev", "--ignore-submodules=none", *statistics)
        is_opened = False
        for _ in range(MAX_NESTED):
            await check_changes(self._git, self._place.code)
            done = await self._git.run("add", "--all", accepted=None)
            if done.exit_code != 0:
                # A repository without a commit cannot be added, as a submodule or otherwise.
                if not await self._drop_repositories(await self._empty_repositories(done.stderr)):
                    if is_opened:
                        refuse_full_disk(done.stderr)
                        raise GitError(f"The changes cannot be committed: {first_error(done.stderr)}.")
                    await self._open_up()
                    is_opened = True
                continue
            await self._unstage_aside()
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

    async def _unstage_aside(self) -> None:
        if not self._aside:
            return
        options = ("--cached", "--name-only", "-z", "--no-renames", "--diff-filter=A", "--ignore-submodules=none")
        added = split(await self._git.out("diff-index", *options, self._head))
        if aside := [path for path in added if self._aside.holds(path)]:
            await self._git.run("update-index", "--force-remove", "-z", "--stdin", stdin=b"\0".join(aside))

    async def _statuses(self) -> Sequence[Status]:
        await self._disarm()
        options = ("--porcelain=v1", "-z", "--untracked-files=all", "--ignore-submodules=dirty", "--no-renames")
        return read_statuses(await self._git.out("status", *options))

    def _entry_of(self, status: Status) -> bytes | None:
        """What was set aside, also while it is staged because staging was cut short; None for all other changes."""
        return self._aside.entry_of(status.path) if not status.is_tracked or status.is_added else None

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
        """Git would look into a submodule that has a `.git`, and run what the agent may have configured there; and read
        files that are none."""
        self._check_tree()
        await check_git_files(self._git, self._place.code, self._open_up)
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
        if identity(self._place.code) != self._tree:
            raise WorkspaceError("The work tree was moved or replaced.")
        self._examined = None
        # Of a command that was cut short: nobody else works here.
        (self._place.git / "index.lock").unlink(missing_ok=True)


def _names(statuses: Iterable[Status]) -> tuple[str, ...]:
    return tuple(status.path.decode(errors="replace") for status in statuses)
