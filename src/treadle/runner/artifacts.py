"""Bytes that a run leaves: its diff, and the uncommitted work of a step that failed."""

from pathlib import Path

from treadle.domain.events import Draft, EventType
from treadle.domain.run import Artifact, Run
from treadle.ports import Clock, Workspace
from treadle.runner.patience import PatientBlobs, PatientStore
from treadle.services.progress import Progress

DIFF_JSON = "diff.json"
DIFF_PATCH = "diff.patch"

JSON = "application/json"
PATCH = "text/x-diff"


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
        await self.keep(DIFF_JSON, JSON, json_path)
        await self.keep(DIFF_PATCH, PATCH, patch_path)
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

    async def keep_partial_work(self, workspace: Workspace, step: int | None) -> str | None:
        """The uncommitted work, as a patch that `git apply` takes; the artifact's name. None where there is none."""
        patch = await workspace.patch()
        if not patch:
            return None
        name = partial_work_of(step) if step else "partial-work.patch"
        size = await self.keep(name, PATCH, patch)
        await self._progress.note(Draft(EventType.ARTIFACT_KEPT, {"name": name, "size": size}, step))
        return name
