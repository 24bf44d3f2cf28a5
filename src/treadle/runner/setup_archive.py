"""What setup commands left, kept to be put back into another workspace.

Packed and unpacked by `tar` in the sandbox: nothing that a command left, such as a link to somewhere else, is followed
by the service itself, which sees a stream of bytes. Names are those inside the sandbox, from its root on. It is kept
sealed: commands write the repository's secrets where their tools look for them.
"""

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final
from uuid import UUID

import structlog

from treadle import command
from treadle.domain.errors import ConfigurationError, NotFound, SealBroken
from treadle.ports import Box, Sandbox, Vault, Workspace
from treadle.runner.patience import PatientBlobs
from treadle.services.setup_results import setup_result, setup_results_of
from treadle.vault import ArchiveSealer, open_archive

log = structlog.get_logger(__name__)

#: How many results of setup commands are kept for a repository, the newest ones: branches differ in their lock files.
KEPT_RESULTS = 4

#: Longest time for packing a result, and for unpacking one, in seconds.
ARCHIVE_SECONDS = 600.0

#: What the seals are bound to, with the repository and the digest.
_TABLE: Final = "setup_results"

_PACK = ("tar", "--create", "--format=posix", "--file=-", "--directory=/", "--null", "--files-from=-")
_UNPACK = ("tar", "--extract", "--directory=/", "--preserve-permissions", "--no-same-owner")
#: What was unpacked in part must not be in the commands' way. The agent's own .git is as new as the workspace.
_CLEAR = ("/bin/sh", "-c", 'git clean -ffdxq; find "$HOME" -mindepth 1 -delete')


class SetupArchive:
    """The results of one repository's setup commands. `environment`: of the commands here; `max_bytes`: of the largest
    that is kept, 0 for none."""

    def __init__(
        self,
        sandbox: Sandbox,
        blobs: PatientBlobs,
        vault: Vault,
        *,
        organization_uuid: UUID,
        repository_uuid: UUID,
        environment: Mapping[str, str],
        max_bytes: int,
    ) -> None:
        self._sandbox = sandbox
        self._blobs = blobs
        self._vault = vault
        self._organization_uuid = organization_uuid
        self._repository_uuid = repository_uuid
        self._environment = environment
        self._max_bytes = max_bytes

    async def restore(self, workspace: Workspace, box: Box, digest: str) -> bool:
        """Whether there was a result of that digest, and it is in the workspace now; else nothing of it is."""
        if not self._max_bytes:
            return False
        with _scratch(workspace) as archive:
            try:
                await self._fetch(workspace, digest, archive)
                done = await self._run((*_UNPACK, f"--file={archive}"), replace(box, readable=(*box.readable, archive)))
            except NotFound:
                return False
            except (ConfigurationError, SealBroken, command.CommandError, OSError) as error:
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
        key = self._key(digest)
        with _scratch(workspace) as archive:
            try:
                fault = await self._pack(names, box, archive, digest)
                if fault is None and self._key(digest) != key:
                    fault = "the key that seals it was replaced meanwhile"
                if fault is not None:
                    log.warning("the result of setup commands is not kept", said=fault)
                    return False
                await self._blobs.put(key, archive)
                await self._forget_old()
            except (ConfigurationError, command.CommandError, OSError) as error:
                log.warning("the result of setup commands could not be kept", said=str(error))
                return False
        return True

    async def _fetch(self, workspace: Workspace, digest: str, archive: Path) -> None:
        """Opened. Raises NotFound, SealBroken."""
        with _scratch(workspace, "setup.sealed") as sealed:
            await self._blobs.download(self._key(digest), sealed)
            with sealed.open("rb") as source, _new(archive) as target:
                await asyncio.to_thread(
                    open_archive,
                    source,
                    target,
                    self._vault,
                    organization=self._organization_uuid,
                    table=_TABLE,
                    row=self._row(digest),
                )

    async def _pack(self, names: bytes, box: Box, archive: Path, digest: str) -> str | None:
        """Why there is no whole archive; None when there is."""
        try:
            with self._sandbox.enclose(_PACK, self._environment, box) as packing:
                async with (
                    asyncio.timeout(ARCHIVE_SECONDS),
                    command.spawn(packing.argv, environment=packing.environment, cwd=box.work_tree, stdin=names) as tar,
                ):
                    return await self._write(archive, digest, tar)
        except TimeoutError:
            return f"it took longer than {ARCHIVE_SECONDS:g} s"

    async def _write(self, archive: Path, digest: str, tar: command.Running) -> str | None:
        """The same, of what `tar` says; sealed."""
        size = 0
        with _new(archive) as file:
            sealer = ArchiveSealer(
                file, self._vault, organization=self._organization_uuid, table=_TABLE, row=self._row(digest)
            )
            async for chunk in tar.chunks():
                size += len(chunk)
                if size > self._max_bytes:
                    return f"it is larger than {self._max_bytes} bytes"
                await asyncio.to_thread(sealer.write, chunk)
            await asyncio.to_thread(sealer.close)
        return tar.stderr if await tar.wait() != 0 else None

    async def _run(self, argv: Sequence[str], box: Box) -> command.Completed:
        with self._sandbox.enclose(argv, self._environment, box) as enclosed:
            return await command.run(
                enclosed.argv, environment=enclosed.environment, cwd=box.work_tree, seconds=ARCHIVE_SECONDS
            )

    async def _forget_old(self) -> None:
        entries = sorted(
            await self._blobs.entries(setup_results_of(self._repository_uuid)), key=lambda entry: entry.date_modified
        )
        for entry in entries[:-KEPT_RESULTS]:
            await self._blobs.delete(entry.key)

    def _key(self, digest: str) -> str:
        return setup_result(self._repository_uuid, digest, self._vault.key_id)

    def _row(self, digest: str) -> str:
        return f"{self._repository_uuid}/{digest}"


def _listed(names: Sequence[bytes], directory: Path) -> bytes:
    """As `tar --null --files-from` takes them, relative to the root."""
    prefix = os.fsencode(directory)[1:] + b"/"
    return b"".join(prefix + name + b"\0" for name in names)


def _new(path: Path) -> BinaryIO:
    """A file that was not there, to be written."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o600), "wb")


@contextmanager
def _scratch(workspace: Workspace, name: str = "setup.tar") -> Iterator[Path]:
    """The place of a file that goes with the workspace."""
    path = workspace.box.home.parent / name
    path.unlink(missing_ok=True)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
