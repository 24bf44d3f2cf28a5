"""The uncommitted work of a step that did not finish, put back for the step that a resume added behind it."""

from treadle.domain.errors import GitError, NotFound
from treadle.domain.events import Draft, EventType, JsonObject
from treadle.domain.run import Run, Step
from treadle.domain.states import StepStatus
from treadle.ports import Workspace
from treadle.runner.artifacts import partial_work_of
from treadle.runner.patience import PatientBlobs, PatientStore
from treadle.services.progress import Progress


async def restore(
    run: Run, step: Step, workspace: Workspace, store: PatientStore, blobs: PatientBlobs, progress: Progress
) -> bool:
    """Whether there was any and it is back. Work that does not fit any more, as the branch moved on, stays the artifact
    that it is, and an event says so."""
    before = next((one for one in run.steps if one.position == step.position - 1), None)
    if not step.is_follow_up or before is None or before.status is not StepStatus.FAILED:
        return False
    name = partial_work_of(before.position)
    blob = next((artifact.blob for artifact in await store.artifacts(run.id) if artifact.name == name), None)
    if blob is None:
        return False
    said: JsonObject = {"name": name}
    try:
        await workspace.apply(await blobs.get(blob))
    except NotFound:
        return False
    except GitError as error:
        await workspace.undo()
        said = {"name": name, "reason": error.message}
    await progress.note(Draft(EventType.WORKSPACE_WORK_RESTORED, said, step.position))
    return "reason" not in said
