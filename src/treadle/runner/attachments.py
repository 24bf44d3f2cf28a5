"""Attached files, laid out for the engine to read."""

from collections.abc import Collection, Mapping
from pathlib import Path, PurePath
from uuid import UUID

from treadle.domain.errors import NotFound, WorkspaceError
from treadle.domain.run import Run
from treadle.runner.patience import PatientBlobs, PatientStore
from treadle.services.files import blob_key


async def mount(store: PatientStore, blobs: PatientBlobs, run: Run, directory: Path) -> Mapping[UUID, str]:
    """Writes the run's files, and those of its steps, into `directory`, read-only; their names there, each once, in the
    order of the requests. One that is needed no more, as the steps that it was for are done, may be gone."""
    to_do = run.steps_to_do
    needed = {file_id for step in to_do for file_id in step.file_ids}
    if run.first_step == 1:
        needed.update(run.file_ids)
    names: dict[UUID, str] = {}
    for file_id in dict.fromkeys((*run.file_ids, *(one for step in run.steps for one in step.file_ids))):
        try:
            stored = await store.get_file(file_id, run.organization_id, None)
            name = _free_name(stored.name, names.values())
            await blobs.download(blob_key(run.organization_uuid, file_id), directory / name)
        except NotFound:
            if file_id not in needed:
                continue
            raise WorkspaceError(
                f"The attached file {file_id} is gone.", hint="Upload it again and start the run anew."
            ) from None
        except OSError as error:
            raise WorkspaceError(f"The attached file {file_id} could not be written: {error.strerror}.") from error
        (directory / name).chmod(0o444)
        names[file_id] = name
    return names


def _free_name(wanted: str, taken: Collection[str]) -> str:
    """`wanted`, with a number before its suffix when that name is taken."""
    name, number = wanted, 1
    while name in taken:
        number += 1
        path = PurePath(wanted)
        name = f"{path.stem}-{number}{path.suffix}"
    return name
