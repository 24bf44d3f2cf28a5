"""Bytes that a run leaves: its diff, and the uncommitted work of a step that failed."""

import asyncio
import hashlib
from pathlib import Path

import structlog

from treadle.domain.diff_contents import contents_name, diff_name, pack
from treadle.domain.errors import LeaseLost, TreadleError
from treadle.domain.events import Draft, EventType
from treadle.domain.patch_mask import masked
from treadle.domain.run import Artifact, Run
from treadle.ports import Clock, DiffSummary, Workspace
from treadle.runner.patience import PatientBlobs, PatientStore
from treadle.services.progress import Progress

log = structlog.get_logger(__name__)

DIFF_JSON = "diff.json"
DIFF_PATCH = "diff.patch"

JSON = "application/json"
PATCH = "text/x-diff"
CONTENTS = "application/octet-stream"


def partial_work_of(step: int) -> str:
    """The name of what a failed step left uncommitted."""
    return f"partial-work-step-{step}.patch"


class Artifacts:
    """Keeps one run's artifacts."""

    def __init__(self, store: PatientStore, blobs: PatientBlobs, progress: Progress, clock: Clock, run: Run) -> None:
        self._store = store
        self._blobs = blobs
        self._progress = progress
        self._clock = clock
        self._run = run
        self.is_diff_current = False

    async def keep(self, name: str, content_type: str, data: bytes | Path) -> int:
        """Stores `data` under `name`, replacing an earlier one; its size in bytes."""
        # The lease is part of the key: a worker that lost it must not overwrite the bytes of the one that has it.
        key = f"runs/{self._run.uuid}/artifacts/{self._progress.fence.lease}-{name}"
        size = await self._blobs.put(key, data)
        artifact = Artifact(self._run.id, name, content_type, size, key, self._clock.now())
        await self._store.add_artifact(self._progress.fence, artifact)
        return size

    async def keep_diff(self, workspace: Workspace, step: int | None) -> None:
        """The diff of source and work branch as it is now."""
        self.is_diff_current = False
        directory = workspace.box.home.parent
        json_path, patch_path = directory / DIFF_JSON, directory / DIFF_PATCH
        summary = await workspace.write_diff(json_path, patch_path)
        meanwhile = asyncio.create_task(self._keep_contents(workspace, summary, json_path, None))
        try:
            await self.keep(DIFF_JSON, JSON, json_path)
            await self.keep(DIFF_PATCH, PATCH, patch_path)
            await meanwhile
        finally:
            meanwhile.cancel()
            await asyncio.gather(meanwhile, return_exceptions=True)
        ready = Draft(
            EventType.DIFF_READY,
            {
                "files": summary.files,
                "additions": summary.additions,
                "deletions": summary.deletions,
                "patchBytes": summary.patch_bytes,
            },
            step,
        )
        await self._progress.record(ready, has_diff=True)
        self.is_diff_current = True
        if step is not None and sum(each.is_commitable for each in self._run.steps) > 1:
            await self._keep_step_diff(workspace, step)

    async def _keep_step_diff(self, workspace: Workspace, step: int) -> None:
        """What the step alone changed: its commit is the last one."""
        directory = workspace.box.home.parent
        json_path, patch_path = directory / "step.json", directory / "step.patch"
        try:
            summary = await workspace.write_diff(json_path, patch_path, of_last_commit=True)
            await self.keep(diff_name(step), JSON, json_path)
            await self._keep_contents(workspace, summary, json_path, step)
        except LeaseLost:
            raise
        except (TreadleError, OSError) as error:
            log.warning("the step's own diff could not be kept", step=step, error=str(error))

    async def _keep_contents(
        self, workspace: Workspace, summary: DiffSummary, json_path: Path, step: int | None
    ) -> None:
        """Text around the hunks, and pictures. The diff is good without them."""
        if not summary.wanted:
            return
        try:
            contents = await workspace.contents(summary.wanted)
            digest = await asyncio.to_thread(_sha256, json_path)
            await self.keep(contents_name(step), CONTENTS, pack(digest, contents))
        except LeaseLost:
            raise
        except (TreadleError, OSError) as error:
            log.warning("what is around the diff could not be kept", step=step, error=str(error))

    async def keep_partial_work(self, workspace: Workspace, step: int | None) -> str | None:
        """The uncommitted work without the run's secrets, as a patch that `git apply` takes; the artifact's name. None
        where there is none."""
        patch = await asyncio.to_thread(masked, await workspace.patch(), self._progress.clean)
        if not patch:
            return None
        name = partial_work_of(step) if step else "partial-work.patch"
        size = await self.keep(name, PATCH, patch)
        await self._progress.note(Draft(EventType.ARTIFACT_KEPT, {"name": name, "size": size}, step))
        return name


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
