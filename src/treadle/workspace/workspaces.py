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
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from uuid import UUID

import anyio

from treadle.domain.errors import GitError, HostRefused, Unavailable
from treadle.domain.git_url import GitLocation, check_branch, check_url, parse
from treadle.ports import OpenGitCredentials, Prepared, WorkspaceRequest
from treadle.workspace import messages
from treadle.workspace.access import AccessRules
from treadle.workspace.agent_git import AgentGit
from treadle.workspace.clone import Clone, find_trailers
from treadle.workspace.delivery import Delivery
from treadle.workspace.git import Git, base_environment
from treadle.workspace.locks import FileLock
from treadle.workspace.memory import PrivateMemory
from treadle.workspace.mirrors import Loans, Mirrors
from treadle.workspace.place import Place
from treadle.workspace.refs import HEADS, REMOTE, TAGS
from treadle.workspace.remote import Remote
from treadle.workspace.submodules import Submodule, Submodules
from treadle.workspace.workspace import GitWorkspace

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - looked at before it is used, and used with mode 0700

#: How long a run waits for another process on this machine to leave the run's directory, in seconds.
TAKEOVER_SECONDS = 30.0

#: Where Git, SSH and a shell are looked for.
SEARCH_PATH = f"/usr/local/bin:{os.defpath}:/run/current-system/sw/bin"

_PRIVATE = 0o700


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
        retry_seconds: tuple[float, ...] = (),
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
        self._retry_seconds = retry_seconds
        self._rules = AccessRules(
            known_hosts=root / "known_hosts",
            memory=self._memory,
            allow_local=allow_local,
            allow_private_hosts=allow_private_hosts,
            seconds=command_seconds,
        )
        self._mirrors = Mirrors(root / "mirrors", self._git)

    async def prepare(self, request: WorkspaceRequest, credentials: OpenGitCredentials) -> GitWorkspace:
        """See the port. A workspace that this process, or another that died, left for the same run is removed first.
        Unavailable while another one that lives has it."""
        location = self._location(request)
        runs = self._root / "runs"
        runs.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        place = self._place(request.run_uuid)
        try:
            lock = await FileLock.wait(runs / f"{request.run_uuid}.lock", TAKEOVER_SECONDS)
        except TimeoutError:
            # One that was stopped, and lost the run meanwhile: that is no fault of the run.
            raise Unavailable("Another process on this machine still works on this run.") from None
        loans = Loans()
        try:
            await place.remove()
            for folder in (place.root, place.code, place.home, place.files):
                folder.mkdir(mode=_PRIVATE)
            if self._memory is not None:
                self._memory.make(place.config.name)
            else:
                place.config.mkdir(mode=_PRIVATE)
            return await self._clone(request, location, credentials, place, lock, loans)
        except BaseException:
            try:
                await _to_the_end(_abandon(place, lock))
            finally:
                loans.release()
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
        loans: Loans,
    ) -> GitWorkspace:
        remote = Remote(location, request.organization_uuid, credentials, self._rules, self._retry_seconds)
        name, email = messages.identity(request.author_name, request.author_email)
        git = self._git.at(place.git, place.code).with_environment(_identity(name, email))
        clone = Clone(git, request.branch_work)
        guess = await self._mirrors.peek(remote, loans)
        snapshot, start = await clone.check_out_beside(request, guess, lambda: self._mirrors.fetch(remote, loans))
        followed: Sequence[Submodule] = ()
        if self._with_submodules and clone.submodules:
            submodules = Submodules(self._mirrors, loans, git, place.modules, place.code)
            followed = await submodules.check_out(remote, start.head, clone.submodules)
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
        await agent.make(start.head, refs, place.git / "index")
        prepared = Prepared(
            source_sha=start.source,
            work_sha=start.head,
            is_new_branch=start.work is None,
            is_warm=snapshot.is_warm,
            trailers=await find_trailers(git, start),
        )
        return GitWorkspace(
            place,
            prepared,
            git=git,
            delivery=Delivery(git, remote, request.branch_work),
            agent=agent,
            refs=refs,
            submodules=clone.submodules,
            followed=followed,
            lock=lock,
            loans=loans,
        )


def _identity(name: str, email: str) -> Mapping[str, str]:
    """Author and committer, as Git is told."""
    fields = {"NAME": name, "EMAIL": email}
    return {f"GIT_{role}_{field}": text for role in ("AUTHOR", "COMMITTER") for field, text in fields.items()}


def _agent_refs(refs: Mapping[str, str]) -> dict[str, str]:
    """As a clone has them: the remote's branches, and the tags."""
    found = {REMOTE + name.removeprefix(HEADS): sha for name, sha in refs.items() if name.startswith(HEADS)}
    return found | {name: sha for name, sha in refs.items() if name.startswith(TAGS)}


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
