"""Attached files, laid out for the engine to read."""

from pathlib import Path, PurePath

from treadle.domain.errors import NotFound, WorkspaceError
from treadle.domain.run import Run
from treadle.runner.patience import PatientBlobs, PatientStore
from treadle.services.files import blob_key


async def mount(store: PatientStore, blobs: PatientBlobs, run: Run, directory: Path) -> list[str]:
    """Writes the run's files into `directory`, read-only; their names there, each once, in the order of the request."""
    names: list[str] = []
    for file_id in run.file_ids:
        try:
            stored = await store.get_file(file_id, run.organization_id, None)
            name = _free_name(stored.name, names)
            await blobs.download(blob_key(run.organization_uuid, file_id), directory / name)
        except NotFound:
            raise WorkspaceError(
                f"The attached file {file_id} is gone.", hint="Upload it again and start the run anew."
            ) from None
        except OSError as error:
            raise WorkspaceError(f"The attached file {file_id} could not be written: {error.strerror}.") from error
        (directory / name).chmod(0o444)
        names.append(name)
    return names


def _free_name(wanted: str, taken: list[str]) -> str:
    """`wanted`, with a number before its suffix when that name is taken."""
    name, number = wanted, 1
    while name in taken:
        number += 1
        path = PurePath(wanted)
        name = f"{path.stem}-{number}{path.suffix}"
    return name
