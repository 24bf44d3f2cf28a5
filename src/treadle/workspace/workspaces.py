"""Makes workspaces: mirror, clone, branch; and sweeps up what a killed process left.

    <root>/mirrors/<organization>/<hash>.git    bare mirrors, with a lock file beside each
    <root>/runs/<run>/{git,code,home,files}     the service's git-dir, the work tree, the agent's home, attachments
    <root>/runs/<run>.lock                      held as long as the run lives, so that nobody else sweeps it up
    <root>/known_hosts/<organization>           the SSH hosts seen
    /dev/shm/treadle-<uid>-<hash>/<run>         the engine's own state, and the sockets of SSH agents

An engine's state may hold OAuth tokens that it refreshed itself. On a file system in memory they never reach a disk, so
no backup and no forgotten directory holds them. Without one, the state is in the run's directory.
"""

import asyncio
import hashlib
import os
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import anyio

from treadle.domain.errors import BranchNotFound, GitError, HostRefused, WorkspaceError
from treadle.domain.git_url import GitLocation, check_branch, check_url, parse
from treadle.domain.run import STEP_TRAILER
from treadle.ports import OpenGitCredentials, Prepared, WorkspaceRequest
from treadle.workspace import index_file, messages
from treadle.workspace.access import AccessRules
from treadle.workspace.agent_git import AgentGit
from treadle.workspace.delivery import Delivery
from treadle.workspace.git import Git, base_environment
from treadle.workspace.locks import FileLock
from treadle.workspace.memory import PrivateMemory
from treadle.workspace.mirrors import Mirrors, Snapshot
from treadle.workspace.refs import HEADS, REMOTE, TAGS, make_git_dir, write_branch
from treadle.workspace.remote import Remote
from treadle.workspace.submodules import Submodules
from treadle.workspace.workspace import GitWorkspace, Place

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - looked at before it is used, and used with mode 0700

#: How long a run waits for another process on this machine to leave the run's directory, in seconds.
TAKEOVER_SECONDS = 30.0

#: Where Git, SSH and a shell are looked for.
SEARCH_PATH = f"/usr/local/bin:{os.defpath}:/run/current-system/sw/bin"

_PRIVATE = 0o700


@dataclass(frozen=True, slots=True)
class _Clone:
    """What a prepared clone was made from."""

    snapshot: Snapshot
    source: str
    work: str | None  # None: the remote has no such branch yet


class GitWorkspaces:
    """`environment`: PATH, and what Git is to know of the operator's network (proxies, certificates).

    Where private hosts are not allowed, HTTP redirects are not followed: see `treadle.workspace.access`.
    """

    def __init__(
        self,
        root: Path,
        *,
        environment: Mapping[str, str] | None = None,
        command_seconds: float = 600,
        allow_local: bool = False,
        allow_private_hosts: bool = False,
        submodules: bool = False,
        shared_memory: Path = SHARED_MEMORY,
    ) -> None:
        self._root = root
        given = {"PATH": SEARCH_PATH} if environment is None else environment
        self._git = Git(
            base_environment(given, allow_local=allow_local, follow_redirects=allow_private_hosts), command_seconds
        )
        digest = hashlib.sha256(os.fsencode(root.absolute())).hexdigest()[:12]
        memory = PrivateMemory(shared_memory, digest)
        self._memory = memory if memory.is_usable() else None
        self._allow_local = allow_local
        self._with_submodules = submodules
        self._rules = AccessRules(
            known_hosts=root / "known_hosts",
            memory=self._memory,
            allow_local=allow_local,
            allow_private_hosts=allow_private_hosts,
            seconds=command_seconds,
        )
        self._mirrors = Mirrors(root / "mirrors", self._git)

    async def prepare(self, request: WorkspaceRequest, credentials: OpenGitCredentials) -> GitWorkspace:
        """See the port. A workspace that this process, or another that died, left for the same run is removed first."""
        location = self._location(request)
        runs = self._root / "runs"
        runs.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        place = self._place(request.run_uuid)
        try:
            lock = await FileLock.wait(runs / f"{request.run_uuid}.lock", TAKEOVER_SECONDS)
        except TimeoutError:
            raise WorkspaceError("Another process on this machine still works on this run.") from None
        try:
            await place.remove()
            for folder in (place.root, place.code, place.home, place.files):
                folder.mkdir(mode=_PRIVATE)
            if self._memory is not None:
                self._memory.make(place.config.name)
            else:
                place.config.mkdir(mode=_PRIVATE)
            return await self._clone(request, location, credentials, place, lock)
        except BaseException:
            await _to_the_end(_abandon(place, lock))
            raise

    async def sweep(self, keep: frozenset[UUID]) -> None:
        """A run that a process on this machine still holds is left alone, too."""
        runs = self._root / "runs"
        names = {path.name.removesuffix(".lock") for path in _listed(runs)}
        if self._memory is not None:
            self._memory.sweep()
            names |= {path.name for path in _listed(self._memory.root)}
        for name in names - {str(uuid) for uuid in keep}:
            if not _is_uuid(name) or not runs.is_dir():
                continue
            lock = FileLock.take(runs / f"{name}.lock")
            if lock is not None:
                await _abandon(self._place(UUID(name)), lock)

    # ---- the parts of a workspace ------------------------------------------------------------------------------------

    def _location(self, request: WorkspaceRequest) -> GitLocation:
        if fault := check_url(request.git_url, allow_local=True):
            raise GitError(fault)
        location = parse(request.git_url)
        if location.is_local and not self._allow_local:
            raise HostRefused(
                "Local repositories are not allowed here.", hint="TREADLE_ALLOW_LOCAL_REPOSITORIES=1 allows them."
            )
        for branch in (request.branch_source, request.branch_work):
            if fault := check_branch(branch):
                raise GitError(fault)
        return location

    def _place(self, run: UUID) -> Place:
        root = self._root / "runs" / str(run)
        return Place(root, self._memory.root / str(run) if self._memory is not None else root / "config")

    async def _clone(
        self,
        request: WorkspaceRequest,
        location: GitLocation,
        credentials: OpenGitCredentials,
        place: Place,
        lock: FileLock,
    ) -> GitWorkspace:
        remote = Remote(location, request.organization_uuid, credentials, self._rules)
        clone = _choose(request, await self._mirrors.fetch(remote))
        snapshot, head = clone.snapshot, clone.work or clone.source
        name, email = messages.identity(request.author_name, request.author_email)
        who = {
            f"GIT_{role}_{what}": value
            for role in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", name), ("EMAIL", email))
        }
        git = self._git.at(place.git, place.code).with_environment(who)
        make_git_dir(place.git, f"ref: {HEADS}{request.branch_work}", snapshot.objects, hash_bytes=snapshot.hash_bytes)
        write_branch(place.git, request.branch_work, head)
        await git.run("read-tree", "-m", "-u", head)
        index = place.git / "index"
        await anyio.to_thread.run_sync(index_file.settle, index, place.code, snapshot.hash_bytes)
        submodules = index_file.submodules(index, snapshot.hash_bytes)
        if self._with_submodules and submodules:
            await Submodules(self._mirrors, git, place.root / "modules").check_out(remote, head, place.code, submodules)
        agent = AgentGit(
            work_tree=place.code,
            branch=request.branch_work,
            url=location.url,
            name=name,
            email=email,
            objects=(place.git / "objects", snapshot.objects),
            hash_bytes=snapshot.hash_bytes,
        )
        refs = _agent_refs(snapshot.refs)
        await agent.make(head, refs, index)
        prepared = Prepared(
            source_sha=clone.source,
            work_sha=head,
            is_new_branch=clone.work is None,
            is_warm=snapshot.is_warm,
            trailers=await _trailers(git, clone.source, clone.work),
        )
        return GitWorkspace(
            place,
            prepared,
            git=git,
            delivery=Delivery(git, remote, request.branch_work),
            agent=agent,
            refs=refs,
            submodules=submodules,
            lock=lock,
        )


def _choose(request: WorkspaceRequest, snapshot: Snapshot) -> _Clone:
    """Finds the branches. Raises BranchNotFound, GitError."""
    if not any(name.startswith(HEADS) for name in snapshot.refs):
        raise BranchNotFound(
            f"The repository {request.git_url} is empty: it has no branch '{request.branch_source}'.",
            hint="Push a first commit to it.",
        )
    source, work = snapshot.branch(request.branch_source), snapshot.branch(request.branch_work)
    if source is None:
        raise BranchNotFound(f"The repository {request.git_url} has no branch '{request.branch_source}' to begin from.")
    if work is None:
        for ref in snapshot.refs:
            branch = ref.removeprefix(HEADS)
            if ref.startswith(HEADS) and (
                branch.startswith(f"{request.branch_work}/") or request.branch_work.startswith(f"{branch}/")
            ):
                raise GitError(
                    f"The branch '{request.branch_work}' cannot be made: the repository has one named '{branch}'.",
                    hint="Choose another name for the work branch.",
                )
    return _Clone(snapshot, source, work)


def _agent_refs(refs: Mapping[str, str]) -> dict[str, str]:
    """As a clone has them: the remote's branches, and the tags."""
    found = {REMOTE + name.removeprefix(HEADS): sha for name, sha in refs.items() if name.startswith(HEADS)}
    return found | {name: sha for name, sha in refs.items() if name.startswith(TAGS)}


async def _trailers(git: Git, source: str, work: str | None) -> Mapping[UUID, str]:
    """The steps that have a commit on the work branch, each with its newest."""
    if work is None or work == source:
        return {}
    pattern = f"--grep=^{STEP_TRAILER}: "
    output = await git.out("log", "-z", "--format=%H%n%B", "--no-show-signature", pattern, f"{source}..{work}", "--")
    found: dict[UUID, str] = {}
    for record in output.decode(errors="replace").split("\0"):
        sha, _, text = record.partition("\n")
        step = messages.step_of(text)
        if step is not None:
            found.setdefault(step, sha)
    return found


# ---- directories -----------------------------------------------------------------------------------------------------


async def _abandon(place: Place, lock: FileLock) -> None:
    await place.remove()
    lock.remove()


async def _to_the_end(work: Coroutine[object, object, None]) -> None:
    """Awaits it even when cancelled meanwhile; the cancellation is passed on afterwards."""
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        raise cancelled
    task.result()


def _listed(directory: Path) -> list[Path]:
    try:
        return list(directory.iterdir())
    except OSError:
        return []


def _is_uuid(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False
