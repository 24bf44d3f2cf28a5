"""What setup commands left, kept to be put back into another workspace.

Packed and unpacked by `tar` in the sandbox: nothing that a command left, such as a link to somewhere else, is followed
by the service itself, which sees a stream of bytes. Names are those inside the sandbox, from its root on.
"""

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import structlog

from treadle import command
from treadle.domain.errors import ConfigurationError, NotFound
from treadle.ports import Box, Sandbox, Workspace
from treadle.runner.patience import PatientBlobs

log = structlog.get_logger(__name__)

#: How many results of setup commands are kept for a repository, the newest ones: branches differ in their lock files.
KEPT_RESULTS = 4

#: Longest time for packing a result, and for unpacking one, in seconds.
ARCHIVE_SECONDS = 600.0

_PACK = ("tar", "--create", "--format=posix", "--file=-", "--directory=/", "--null", "--files-from=-")
_UNPACK = ("tar", "--extract", "--directory=/", "--preserve-permissions", "--no-same-owner")
#: What was unpacked in part must not be in the commands' way. The agent's own .git is as new as the workspace.
_CLEAR = ("/bin/sh", "-c", 'git clean -ffdxq; find "$HOME" -mindepth 1 -delete')


class SetupArchive:
    """The results of one repository's setup commands. `prefix`: of their keys; `environment`: of the commands here;
    `max_bytes`: of the largest that is kept, 0 for none."""

    def __init__(
        self,
        sandbox: Sandbox,
        blobs: PatientBlobs,
        *,
        prefix: str,
        environment: Mapping[str, str],
        max_bytes: int,
    ) -> None:
        self._sandbox = sandbox
        self._blobs = blobs
        self._prefix = prefix
        self._environment = environment
        self._max_bytes = max_bytes

    async def restore(self, workspace: Workspace, box: Box, digest: str) -> bool:
        """Whether there was a result of that digest, and it is in the workspace now; else nothing of it is."""
        if not self._max_bytes:
            return False
        with _scratch(workspace) as archive:
            try:
                await self._blobs.download(self._key(digest), archive)
                done = await self._run((*_UNPACK, f"--file={archive}"), replace(box, readable=(*box.readable, archive)))
            except NotFound:
                return False
            except (ConfigurationError, command.CommandError, OSError) as error:
                said = str(error)
            else:
                if done.exit_code == 0:
                    return True
                said = done.stderr
        log.warning("a kept result of setup commands cannot be used", digest=digest, said=said)
        try:
            await self._run(_CLEAR, box)
        except command.CommandError as error:
            log.warning("it could not be cleared away", said=error.message)
        return False

    async def keep(self, workspace: Workspace, box: Box, digest: str) -> bool:
        """Packs what is in the work tree and in no commit, and the home. Whether it is kept: not when it is too large
        or cannot be read."""
        if not self._max_bytes:
            return False
        names = _listed(await workspace.unversioned(), self._sandbox.layout(box).work_tree)
        names += os.fsencode(self._sandbox.layout(box).home)[1:] + b"\0"
        with _scratch(workspace) as archive:
            try:
                if fault := await self._pack(names, box, archive):
                    log.warning("the result of setup commands is not kept", said=fault)
                    return False
                await self._blobs.put(self._key(digest), archive)
                await self._forget_old()
            except (ConfigurationError, command.CommandError, OSError) as error:
                log.warning("the result of setup commands could not be kept", said=str(error))
                return False
        return True

    async def _pack(self, names: bytes, box: Box, archive: Path) -> str | None:
        """Why there is no whole archive; None when there is."""
        argv, environment = self._sandbox.wrap(_PACK, self._environment, box)
        size = 0
        try:
            async with (
                asyncio.timeout(ARCHIVE_SECONDS),
                command.spawn(argv, environment=environment, cwd=box.work_tree, stdin=names) as tar,
            ):
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
                with os.fdopen(os.open(archive, flags, 0o600), "wb") as file:
                    async for chunk in tar.chunks():
                        size += len(chunk)
                        if size > self._max_bytes:
                            return f"it is larger than {self._max_bytes} bytes"
                        await asyncio.to_thread(file.write, chunk)
                return tar.stderr if await tar.wait() != 0 else None
        except TimeoutError:
            return f"it took longer than {ARCHIVE_SECONDS:g} s"

    async def _run(self, argv: Sequence[str], box: Box) -> command.Completed:
        wrapped, environment = self._sandbox.wrap(argv, self._environment, box)
        return await command.run(wrapped, environment=environment, cwd=box.work_tree, seconds=ARCHIVE_SECONDS)

    async def _forget_old(self) -> None:
        entries = sorted(await self._blobs.entries(self._prefix), key=lambda entry: entry.date_modified)
        for entry in entries[:-KEPT_RESULTS]:
            await self._blobs.delete(entry.key)

    def _key(self, digest: str) -> str:
        return f"{self._prefix}/{digest}.tar"


def _listed(names: Sequence[bytes], directory: Path) -> bytes:
    """As `tar --null --files-from` takes them, relative to the root."""
    prefix = os.fsencode(directory)[1:] + b"/"
    return b"".join(prefix + name + b"\0" for name in names)


@contextmanager
def _scratch(workspace: Workspace) -> Iterator[Path]:
    """The place of a file that goes with the workspace."""
    path = workspace.box.home.parent / "setup.tar"
    path.unlink(missing_ok=True)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
