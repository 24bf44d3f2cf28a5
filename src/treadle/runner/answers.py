"""What becomes of the answer of a run that was made for it."""

from treadle.domain.errors import NotFound, StepUnsuccessful
from treadle.domain.events import Draft, EventType
from treadle.domain.repository import SetupStatus
from treadle.domain.run import Run, RunPurpose
from treadle.domain.setup_commands import commands_in
from treadle.runner.patience import PatientStore
from treadle.services.progress import Progress


async def store_setup_commands(store: PatientStore, progress: Progress, run: Run) -> None:
    """Keeps the commands that a run of that purpose answered with; nothing for other runs. For when its last step is
    done. Raises StepUnsuccessful when there are none in the answer, LeaseLost."""
    if run.purpose is not RunPurpose.SETUP_COMMANDS:
        return
    await progress.record()
    answer = (await store.get_run_by_id(run.id)).result
    commands = commands_in(progress.clean(answer or ""))
    if commands is None:
        raise StepUnsuccessful(
            "The answer holds no setup commands.",
            hint="Ask for them again with more about the project, or set them with `treadle admin repo setup set`.",
        )
    if run.repository_id is None:
        raise StepUnsuccessful("The repository is not registered, so there is nowhere to keep its setup commands.")
    try:
        await store.set_setup(run.repository_id, SetupStatus.READY, commands=commands, fence=progress.fence)
    except NotFound:
        raise StepUnsuccessful("The repository is not registered any more.") from None
    stored: dict[str, str | int] = {"repository": run.repository_id, "lines": len(commands.splitlines())}
    await progress.record(Draft(EventType.SETUP_COMMANDS_STORED, stored))
