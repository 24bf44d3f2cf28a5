"""A push, and what may happen to it: the branch moved, the remote said no, the answer was lost."""

import re
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from treadle.command import Completed
from treadle.domain.errors import GitError, GitTimedOut, PushRejected, RebaseConflict
from treadle.workspace.clone import Start, find_trailers
from treadle.workspace.failures import remarks, remote_failure
from treadle.workspace.git import Git, last_line
from treadle.workspace.refs import HEADS, read_branch, write_branch
from treadle.workspace.remote import Remote

#: How long the question may take whether a push was taken whose answer was lost, in seconds.
ASK_SECONDS = 30.0

#: How often a push is tried again after the last of the usual pauses: the step's work is done and paid for.
MORE_PUSHES = 12

_REJECTED = re.compile(r"^!\t[^\t]*\t\[(remote rejected|rejected|remote failure)\] ?(?:\((.*)\))?$", re.MULTILINE)
#: The branch is not where it was; the last four are said when it moves during the push itself.
_MOVED = re.compile(
    r"fetch first|non-fast-forward|stale info|failed to update ref|cannot lock ref|incorrect old value"
    r"|reference already exists"
)
_TIP = "refs/treadle/tip"


@dataclass(frozen=True, slots=True)
class Delivered:
    """`pushed`: the step's commit as it is on the remote; `tip`: the branch's newest there, which may follow it."""

    pushed: str
    tip: str


class Delivery:
    """Pushes one branch from a git-dir that has it checked out. Never forces. `permit` is asked right before each
    push, and raises LeaseLost to forbid it."""

    def __init__(self, git: Git, remote: Remote, branch: str) -> None:
        self._git = git
        self._remote = remote
        self._branch = branch

    async def push(self, head: str, base: str, permit: Callable[[], Awaitable[None]]) -> Delivered:
        """`base`: what of `head` is on the remote already. If the branch moved, what is above `base` is rebased, once,
        and checked out. Raises PushRejected, RebaseConflict, GitError; `head` is then checked out as before, also when
        it is cancelled."""
        rejection = await self._push(head, permit)
        if rejection is None:
            return Delivered(head, head)
        tip = await self._fetch_tip() if _MOVED.search(rejection.reason) else None
        if tip is None:
            raise self._refusal(rejection)
        if await self._is_ancestor(head, tip):  # an earlier push was taken, and somebody went on from there
            await self._check_out(tip)
            return Delivered(head, tip)
        earlier = await self._same_step(head, base, tip)
        if earlier is not None:
            await self._check_out(tip)
            return Delivered(earlier, tip)
        rebased = await self._rebase(head, base, tip)
        try:
            rejection = await self._push(rebased, permit)
        except BaseException:
            await self._check_out(head)
            raise
        if rejection is not None:
            await self._check_out(head)
            raise self._refusal(rejection)
        return Delivered(rebased, rebased)

    async def _push(self, sha: str, permit: Callable[[], Awaitable[None]]) -> "_Rejection | None":
        return await self._remote.patiently(lambda: self._push_once(sha, permit), more=MORE_PUSHES)

    async def _push_once(self, sha: str, permit: Callable[[], Awaitable[None]]) -> "_Rejection | None":
        arguments = ("push", "--porcelain", "--no-verify", "--recurse-submodules=no", "--no-follow-tags", "--")
        await permit()
        try:
            done, credentials = await self._remote.attempt(
                self._git, *arguments, self._remote.url, f"{sha}:{HEADS}{self._branch}"
            )
        except GitTimedOut:
            if await self._was_taken(sha):
                return None
            raise
        if done.exit_code == 0:
            return None
        rejection = _rejection(done)
        if rejection is not None and not rejection.is_lost:
            return rejection
        if await self._was_taken(sha):
            return None
        raise remote_failure(done.stderr, self._remote.location, credentials)

    async def _was_taken(self, sha: str) -> bool:
        """Whether the remote has it although it did not say so. What cannot be asked counts as not taken: the push's
        own failure is the better story."""
        try:
            return await self._remote.branch(self._git, self._branch, seconds=ASK_SECONDS) == sha
        except GitError:
            return False

    async def _fetch_tip(self) -> str | None:
        """The branch as it is now; None when it is gone."""
        if await self._remote.branch(self._git, self._branch) is None:
            return None
        options = ("--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head")
        refspec = f"+{HEADS}{self._branch}:{_TIP}"
        await self._remote.run(self._git, "fetch", *options, "--", self._remote.url, refspec)
        return (await self._git.out("rev-parse", "--verify", _TIP)).decode().strip()

    async def _is_ancestor(self, old: str, new: str) -> bool:
        done = await self._git.run("merge-base", "--is-ancestor", old, new, accepted=(0, 1))
        return done.exit_code == 0

    async def _same_step(self, head: str, base: str, tip: str) -> str | None:
        """The commit of the same step that the remote has by now: a push that its worker did not live to see the end
        of may be taken after the next worker has looked at the branch. A step is committed once: that commit counts."""
        ours = await find_trailers(self._git, Start(base, head))
        theirs = await find_trailers(self._git, Start(base, tip))
        found = [theirs.get(step) for step, sha in ours.items() if sha == head]
        return found[0] if found else None

    async def _rebase(self, head: str, base: str, tip: str) -> str:
        # A commit that turns out empty is kept: its trailer says that the step is done.
        options = ("--quiet", "--no-stat", "--no-verify", "--empty=keep", "--no-autosquash", "--no-update-refs")
        try:
            done = await self._git.run("rebase", *options, "--onto", tip, base, accepted=None)
            conflicts = await self._git.out("diff", "--name-only", "--diff-filter=U", "-z") if done.exit_code else b""
        except BaseException:
            await self._check_out(head)
            raise
        if done.exit_code == 0 and self._git.directory is not None:
            rebased = read_branch(self._git.directory, self._branch)
            if rebased is not None:
                return rebased
        await self._check_out(head)
        paths = [path.decode(errors="replace") for path in conflicts.split(b"\0") if path]
        where = f" in {', '.join(paths[:10])}" if paths else f": {last_line(done.stderr)}"
        raise RebaseConflict(
            f"The branch '{self._branch}' moved on the remote, and the step's work conflicts with it{where}."
        )

    async def _check_out(self, sha: str) -> None:
        """The branch at `sha`, whatever state a rebase was left in."""
        directory = self._git.directory
        if directory is None:
            raise RuntimeError("a delivery needs a git-dir")
        for name in ("rebase-merge", "rebase-apply"):
            shutil.rmtree(directory / name, ignore_errors=True)
        (directory / "index.lock").unlink(missing_ok=True)
        (directory / "HEAD").write_text(f"ref: {HEADS}{self._branch}\n")
        write_branch(directory, self._branch, sha)
        await self._git.run("reset", "--quiet", "--hard", sha)

    def _refusal(self, rejection: "_Rejection") -> PushRejected:
        said = f" It said: {rejection.remarks}" if rejection.remarks else ""
        return PushRejected(
            f"The remote rejected the push to the branch '{self._branch}': {rejection.reason}.{said}",
            hint="Check the branch's protection rules and the hooks of the repository.",
        )


@dataclass(frozen=True, slots=True)
class _Rejection:
    reason: str
    remarks: str
    is_lost: bool  # the remote did not report how it went


def _rejection(done: Completed) -> _Rejection | None:
    match = _REJECTED.search(done.stdout.decode(errors="replace"))
    if match is None:
        return None
    return _Rejection(match[2] or match[1], remarks(done.stderr), match[1] == "remote failure")
