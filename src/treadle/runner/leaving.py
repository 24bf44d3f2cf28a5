"""The one place where a claimed run ends on this worker, however it ends."""

import asyncio
import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum, auto
from pathlib import Path

import structlog

from treadle import telemetry
from treadle.domain.errors import ConfigurationError, LeaseLost, TreadleError
from treadle.domain.run import Run
from treadle.domain.states import RunStatus
from treadle.ports import Clock, Queue, Workspace
from treadle.runner.artifacts import Artifacts
from treadle.runner.checkpoints import Checkpoints
from treadle.runner.limits import Limits
from treadle.runner.patience import PatientBlobs, PatientStore
from treadle.runner.step import undone
from treadle.services.progress import Progress

log = structlog.get_logger(__name__)

#: Longest time, in seconds, for keeping what a stopped run leaves; a kill must be over within five.
LEAVING_SECONDS = 2.0

#: How long a store that was away too long is asked to take the run back, in seconds; the slot has nothing else to do
#: meanwhile. A run that nobody hands back has lost a worker, of which it may lose only so many.
HAND_BACK_SECONDS = 3600.0


#: A worker's disk with less space than this is full: nothing more can be written down. A run whose workspace took as
#: much of it has filled it.
FULL_BYTES = 1 << 20


class End(Enum):
    """What becomes of the claim."""

    SUCCESS = auto()
    FAILED = auto()
    KILLED = auto()
    RELEASED = auto()
    AWAY = auto()  # the store or the bytes could not be reached: handed back as soon as that can be said
    LOST = auto()


@dataclass(frozen=True, slots=True)
class Ending:
    end: End
    details: str | None = None
    is_after_steps: bool = False  # all that were to do are done


#: Of a run that was stopped because nothing could be written down: handed back, it would only fill the disk again.
_FILLED = (
    "The run filled the disk of its worker, so that nothing could be written down any more. "
    "Let it write less, or give the worker a larger disk."
)

_STATUS = {End.SUCCESS: RunStatus.SUCCESS, End.FAILED: RunStatus.FAILED, End.KILLED: RunStatus.KILLED}


class Leaving:
    """Puts one run down, when its work has stopped."""

    def __init__(
        self,
        run: Run,
        store: PatientStore,
        blobs: PatientBlobs,
        progress: Progress,
        queue: Queue,
        clock: Clock,
        limits: Limits,
    ) -> None:
        self._run = run
        self._store = store
        self._blobs = blobs
        self._progress = progress
        self._fence = progress.fence
        self._queue = queue
        self._clock = clock
        self._limits = limits

    async def leave(self, ending: Ending, workspace: Workspace | None, position: int | None) -> None:
        """Keeps what is to be kept, removes the workspace, and only then says that the run is over. `position`: of the
        step that was worked on."""
        if workspace is not None:
            ending = await self._clear_away(ending, workspace, position)
        try:
            await self._conclude(ending)
        except LeaseLost:
            telemetry.count(telemetry.LEASES_LOST)
            log.warning("the lease was lost before the run could be concluded")
        except ConfigurationError as error:  # away for now, or the operator's to mend
            log.warning("the run could not be concluded", error=error.message)
            await self._hand_back()

    async def _clear_away(self, ending: Ending, workspace: Workspace, position: int | None) -> Ending:
        try:
            if ending.end in {End.FAILED, End.KILLED}:
                kept = await self._keep_partial_work(workspace, position)
                ending = replace(ending, details=" ".join(said for said in (ending.details, kept) if said))
        except LeaseLost:
            ending = Ending(End.LOST)
        finally:
            tree = workspace.box.work_tree
            free = _free_bytes(tree)
            try:
                await workspace.remove()
            except (TreadleError, OSError):  # the run is over all the same; the next start of a worker sweeps
                log.exception("the workspace could not be removed")
        if ending.end is End.AWAY and free < FULL_BYTES <= _free_bytes(tree) - free:
            log.warning("the run filled the disk", free_bytes=free)
            ending = replace(ending, end=End.FAILED, details=_FILLED)
        return ending

    async def _keep_partial_work(self, workspace: Workspace, position: int | None) -> str | None:
        """A sentence that says where it is; None where there was none, or it could not be kept."""
        artifacts = Artifacts(self._store, self._blobs, self._progress, self._clock, self._run)
        name = None
        try:
            async with asyncio.timeout(LEAVING_SECONDS):
                name = await artifacts.keep_partial_work(workspace, position)
                if paths := await workspace.restore_submodules():
                    await self._progress.note(undone(paths, position))
        except (TreadleError, OSError, TimeoutError) as error:
            if isinstance(error, LeaseLost):
                raise
            log.warning("the partial work could not be kept", error=str(error))
        if name is None:
            return None
        whose = f" of step {position}" if position is not None else ""
        return f"The uncommitted work{whose} is kept as the artifact {name}."

    async def _conclude(self, ending: Ending) -> None:
        if ending.end is End.LOST:
            telemetry.count(telemetry.LEASES_LOST)
        elif ending.end is End.AWAY:
            await self._hand_back()
        elif ending.end is End.RELEASED:
            await self._release()
        else:
            await self._finish(_STATUS[ending.end], ending)

    async def _finish(self, status: RunStatus, ending: Ending) -> None:
        await self._progress.record()
        clean = self._progress.clean(ending.details) if ending.details is not None else None
        became = await self._store.finish(
            self._fence, status, clean, self._clock.now(), is_after_steps=ending.is_after_steps
        )
        if became is RunStatus.NEW:
            log.info("a follow-up waits; the run goes back to the queue")
            await self._queue.announce(self._run.id)
            return
        telemetry.count(telemetry.RUNS_FINISHED, status=became)
        await Checkpoints(self._store, self._blobs, self._progress, self._run).settle()

    async def _release(self) -> None:
        """For another worker to take at once."""
        await self._progress.record()
        await self._store.release(self._fence, self._clock.now())
        await self._queue.announce(self._run.id)

    async def _hand_back(self) -> None:
        """Releases it as soon as the store answers, so that the outage does not count as a lost worker's. If it is away
        for long, or another worker was faster, there is nothing to do."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + HAND_BACK_SECONDS
        while loop.time() < deadline:
            try:
                await self._release()
            except LeaseLost:
                telemetry.count(telemetry.LEASES_LOST)
                return
            except ConfigurationError:
                await self._clock.sleep(self._limits.poll)
            else:
                log.info("the run was handed back")
                return


def _free_bytes(path: Path) -> int:
    """Of the file system where it is, or was."""
    for place in (path, *path.parents):
        with suppress(OSError):
            return shutil.disk_usage(place).free
    return 0
