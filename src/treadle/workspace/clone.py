"""A run's clone in the making: which commit it begins at, its git-dir, its checked-out tree."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from uuid import UUID

import anyio

from treadle.domain.errors import BranchNotFound, GitError
from treadle.domain.run import STEP_TRAILER
from treadle.ports import WorkspaceRequest
from treadle.workspace import index_file, messages
from treadle.workspace.extent import check_extent
from treadle.workspace.git import Git
from treadle.workspace.mirrors import Snapshot
from treadle.workspace.refs import HEADS, make_git_dir, write_branch


@dataclass(frozen=True, slots=True)
class Start:
    """Where a run begins. `work` None: the remote has no such branch yet."""

    source: str
    work: str | None

    @property
    def head(self) -> str:
        return self.work or self.source


def find_start(request: WorkspaceRequest, snapshot: Snapshot) -> Start:
    """Raises BranchNotFound, and GitError for a work branch that cannot be."""
    if not any(name.startswith(HEADS) for name in snapshot.refs):
        raise BranchNotFound(
            f"The repository {request.git_url} is empty: it has no branch '{request.branch_source}'.",
            hint="Push a first commit to it.",
        )
    source, work = snapshot.branch(request.branch_source), snapshot.branch(request.branch_work)
    if source is None:
        raise BranchNotFound(f"The repository {request.git_url} has no branch '{request.branch_source}' to begin from.")
    if work is None:
        _refuse_neighbours(request.branch_work, snapshot)
    return Start(source, work)


def _refuse_neighbours(branch: str, snapshot: Snapshot) -> None:
    """`a` and `a/b` cannot both be: better to know before the work than at the push."""
    for ref in snapshot.refs:
        other = ref.removeprefix(HEADS)
        if ref.startswith(HEADS) and (other.startswith(f"{branch}/") or branch.startswith(f"{other}/")):
            raise GitError(
                f"The branch '{branch}' cannot be made: the repository has one named '{other}'.",
                hint="Choose another name for the work branch.",
            )


class Clone:
    """A git-dir that borrows from a mirror, and its work tree."""

    def __init__(self, git: Git, branch: str) -> None:
        self._git = git
        self._branch = branch
        self._head: str | None = None
        self.submodules: Mapping[bytes, str] = {}

    async def check_out(self, sha: str, snapshot: Snapshot) -> None:
        """The first time the whole tree; after that only what differs."""
        if sha == self._head:
            return
        directory, tree = self._git.directory, self._git.work_tree
        if directory is None or tree is None:
            raise RuntimeError("a clone needs a git-dir and a work tree")
        if self._head is None:
            make_git_dir(directory, f"ref: {HEADS}{self._branch}", snapshot.objects, hash_bytes=snapshot.hash_bytes)
        await check_extent(self._git, sha)
        if self._head is None:
            await self._git.run("read-tree", "-m", "-u", sha)
        else:
            await self._git.run("read-tree", "-m", "-u", self._head, sha)
        write_branch(directory, self._branch, sha)
        self.submodules = await anyio.to_thread.run_sync(
            index_file.settle, directory / "index", tree, snapshot.hash_bytes
        )
        self._head = sha

    async def check_out_beside(
        self, request: WorkspaceRequest, guess: Snapshot | None, fetch: Callable[[], Awaitable[Snapshot]]
    ) -> tuple[Snapshot, Start]:
        """Checks out while the mirror is fetched: what the mirror had before is nearly always nearly right, and the
        checkout is most of a warm run's preparation. Raises what `fetch` raises."""
        guessed = _guess(request, guess) if guess is not None else None
        checking_out = None
        if guess is not None and guessed is not None:
            checking_out = asyncio.create_task(self.check_out(guessed, guess))
        try:
            snapshot = await fetch()
            start = find_start(request, snapshot)
            if checking_out is not None:
                await checking_out
        except BaseException:
            if checking_out is not None:
                checking_out.cancel()
                await asyncio.gather(checking_out, return_exceptions=True)  # the fetch's failure is the story
            raise
        await self.check_out(start.head, snapshot)
        return snapshot, start


def _guess(request: WorkspaceRequest, snapshot: Snapshot) -> str | None:
    return snapshot.branch(request.branch_work) or snapshot.branch(request.branch_source)


async def find_trailers(git: Git, start: Start) -> Mapping[UUID, str]:
    """The steps that have a commit on the work branch, each with its newest."""
    if start.head == start.source:
        return {}
    pattern = f"--grep=^{STEP_TRAILER}: "
    revisions = f"{start.source}..{start.head}"
    output = await git.out("log", "-z", "--format=%H%n%B", "--no-show-signature", pattern, revisions, "--")
    found: dict[UUID, str] = {}
    for record in output.decode(errors="replace").split("\0"):
        sha, _, text = record.partition("\n")
        step = messages.step_of(text)
        if step is not None:
            found.setdefault(step, sha)
    return found
