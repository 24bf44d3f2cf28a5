"""A store, or a place for bytes, that does not answer for a while is no reason to lose a run: what a claimed run asks
of them is asked again for as long as its lease surely holds."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import structlog

from treadle.domain.errors import ConfigurationError, LeaseLost, Unavailable
from treadle.domain.events import Draft, Event
from treadle.domain.identity import Organization, Role, User
from treadle.domain.repository import Repository, SandboxStatus, SetupSandbox, SetupStatus
from treadle.domain.run import Artifact, Checkpoint, Run, StoredFile
from treadle.domain.states import RunStatus
from treadle.ports import BlobEntry, Blobs, Fence, Pulse, StepUpdate, Store
from treadle.ports.trace import Mark
from treadle.ports.trust import SealedVariable

T = TypeVar("T")

log = structlog.get_logger(__name__)

#: Pause before the same is asked again, in seconds.
PAUSE_SECONDS = 0.5

#: How long bytes are tried to be read or written anew, in seconds; the lease is renewed meanwhile.
BLOB_SECONDS = 120.0

#: A worker that cannot renew its lease stops after this share of it: ending an engine takes time too.
SAFE_SHARE = 0.8


def now_on_this_machine() -> float:
    """Seconds since it started. Goes on while it sleeps, as leases do, and does not jump when its clock is set."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Hold:
    """Until when a worker may be sure of its lease, whatever other machines' clocks say."""

    def __init__(self, lease_seconds: float, asked: float) -> None:
        """`asked`: when the claim was asked for, `now_on_this_machine`; the lease began no earlier than that."""
        self._seconds = lease_seconds * SAFE_SHARE
        self._until = asked + self._seconds

    def renew(self, asked: float) -> None:
        """A ping that was sent then has succeeded."""
        self._until = max(self._until, asked + self._seconds)

    @property
    def remaining(self) -> float:
        """Seconds; 0 and less when another worker may have the run."""
        return self._until - now_on_this_machine()

    async def patiently(self, work: Callable[[], Awaitable[T]], *, seconds: float | None = None) -> T:
        """`work`, again while it raises Unavailable and the lease holds, for at most `seconds`. Raises the last
        one."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds if seconds is not None else None
        while True:
            try:
                return await work()
            except Unavailable as error:
                if self.remaining <= PAUSE_SECONDS or (deadline is not None and loop.time() >= deadline):
                    raise
                log.warning("trying again", error=error.message)
            await asyncio.sleep(PAUSE_SECONDS)


class PatientStore:
    """What a claimed run asks of the store."""

    def __init__(self, store: Store, hold: Hold) -> None:
        self._store = store
        self._hold = hold

    async def ping(self, fence: Fence, now: datetime) -> Pulse:
        return await self._hold.patiently(lambda: self._store.ping(fence, now))

    async def record(
        self,
        fence: Fence,
        events: Sequence[Draft],
        now: datetime,
        *,
        step: StepUpdate | None = None,
        has_diff: bool = False,
        write: int,
    ) -> int:
        """`write` makes it safe to ask again when the answer was lost."""
        work = partial(self._store.record, fence, events, now, step=step, has_diff=has_diff, write=write)
        return await self._hold.patiently(work)

    async def finish(
        self,
        fence: Fence,
        status: RunStatus,
        failure_details: str | None,
        now: datetime,
        *,
        is_after_steps: bool = False,
    ) -> RunStatus:
        """What became of it: New where a follow-up waits."""
        return await self._end_claim(
            fence,
            lambda: self._store.finish(fence, status, failure_details, now, is_after_steps=is_after_steps),
        )

    async def release(self, fence: Fence, now: datetime) -> None:
        async def work() -> RunStatus:
            await self._store.release(fence, now)
            return RunStatus.NEW

        await self._end_claim(fence, work)

    async def _end_claim(self, fence: Fence, work: Callable[[], Awaitable[RunStatus]]) -> RunStatus:
        """An end whose answer was lost may have happened: then the lease is gone because of it."""
        is_unsure = False

        async def once() -> RunStatus:
            nonlocal is_unsure
            try:
                return await work()
            except Unavailable:
                is_unsure = True
                raise
            except LeaseLost:
                run = await self._store.get_run_by_id(fence.run_id) if is_unsure else None
                if run is None or run.lease != fence.lease or run.status is RunStatus.RUNNING:
                    raise
                return run.status

        return await self._hold.patiently(once)

    async def save_checkpoint(self, fence: Fence, checkpoint: Checkpoint) -> None:
        await self._hold.patiently(lambda: self._store.save_checkpoint(fence, checkpoint))

    async def checkpoint(self, run_id: int) -> Checkpoint | None:
        return await self._hold.patiently(lambda: self._store.checkpoint(run_id))

    async def artifacts(self, run_id: int) -> Sequence[Artifact]:
        return await self._hold.patiently(lambda: self._store.artifacts(run_id))

    async def add_artifact(self, fence: Fence, artifact: Artifact) -> None:
        await self._hold.patiently(lambda: self._store.add_artifact(fence, artifact))

    async def run_secrets(self, run_id: int) -> Mapping[str, str]:
        return await self._hold.patiently(lambda: self._store.run_secrets(run_id))

    async def put_run_secrets(
        self,
        run_id: int,
        secrets: Mapping[str, str | None],
        event: Draft | None,
        now: datetime,
        *,
        instead_of: Mapping[str, str] | None = None,
    ) -> None:
        await self._hold.patiently(
            lambda: self._store.put_run_secrets(run_id, secrets, event, now, instead_of=instead_of)
        )

    async def get_file(self, file_id: UUID, organization_id: int, user_id: int | None) -> StoredFile:
        return await self._hold.patiently(lambda: self._store.get_file(file_id, organization_id, user_id))

    async def get_run_by_id(self, run_id: int) -> Run:
        return await self._hold.patiently(lambda: self._store.get_run_by_id(run_id))

    async def organization(self, organization_id: int) -> Organization:
        return await self._hold.patiently(lambda: self._store.organization(organization_id))

    async def month_cost(self, organization_id: int, now: datetime) -> float:
        return await self._hold.patiently(lambda: self._store.month_cost(organization_id, now))

    async def outline(self, run_id: int) -> Sequence[Mark]:
        return await self._hold.patiently(lambda: self._store.outline(run_id))

    async def events(self, run_id: int, *, after: int = 0, limit: int = 1000) -> Sequence[Event]:
        return await self._hold.patiently(lambda: self._store.events(run_id, after=after, limit=limit))

    async def repository_environment(self, repository_id: int) -> Sequence[SealedVariable]:
        return await self._hold.patiently(lambda: self._store.repository_environment(repository_id))

    async def member(self, organization_id: int, user_id: int) -> tuple[User, Role]:
        return await self._hold.patiently(lambda: self._store.member(organization_id, user_id))

    async def repository(self, organization_id: int, repository_id: int) -> Repository:
        return await self._hold.patiently(lambda: self._store.repository(organization_id, repository_id))

    async def set_setup(
        self, repository_id: int, status: SetupStatus, *, commands: str | None = None, fence: Fence | None = None
    ) -> None:
        work = partial(self._store.set_setup, repository_id, status, commands=commands, fence=fence)
        await self._hold.patiently(work)

    async def add_sandbox(self, fence: Fence, repository_id: int, digest: str, now: datetime) -> SetupSandbox:
        return await self._hold.patiently(lambda: self._store.add_sandbox(fence, repository_id, digest, now))

    async def finish_sandbox(
        self,
        fence: Fence,
        sandbox_id: int,
        status: SandboxStatus,
        now: datetime,
        *,
        exit_code: int | None,
        log_blob: str | None,
    ) -> None:
        work = partial(
            self._store.finish_sandbox, fence, sandbox_id, status, now, exit_code=exit_code, log_blob=log_blob
        )
        await self._hold.patiently(work)


class PatientBlobs:
    """What a claimed run asks of the place for bytes."""

    def __init__(self, blobs: Blobs, hold: Hold) -> None:
        self._blobs = blobs
        self._hold = hold

    async def put(self, key: str, data: bytes | Path) -> int:
        return await self._hold.patiently(lambda: self._blobs.put(key, data), seconds=BLOB_SECONDS)

    async def get(self, key: str) -> bytes:
        """Raises NotFound."""
        return await self._hold.patiently(lambda: self._blobs.get(key), seconds=BLOB_SECONDS)

    async def download(self, key: str, target: Path) -> None:
        """Into a new file. Raises NotFound, OSError."""
        await self._hold.patiently(lambda: self._download(key, target), seconds=BLOB_SECONDS)

    async def entries(self, prefix: str) -> Sequence[BlobEntry]:
        """Once. For a few."""
        return [entry async for entry in self._blobs.entries(prefix)]

    async def delete(self, key: str) -> None:
        """Once, like `keep_only`."""
        try:
            await self._blobs.delete(key)
        except ConfigurationError as error:
            log.warning("bytes could not be removed", key=key, error=error.message)

    async def keep_only(self, prefix: str, keys: Collection[str]) -> None:
        """Removes what else is below `prefix`. Once: what is left behind is found by `treadle prune`."""
        try:
            for key in [entry.key async for entry in self._blobs.entries(prefix) if entry.key not in keys]:
                await self._blobs.delete(key)
        except ConfigurationError as error:
            log.warning("bytes could not be removed", prefix=prefix, error=error.message)

    async def _download(self, key: str, target: Path) -> None:
        stream: AsyncIterator[bytes] = self._blobs.stream(key)
        with target.open("wb") as file:
            async for chunk in stream:
                await asyncio.to_thread(file.write, chunk)
