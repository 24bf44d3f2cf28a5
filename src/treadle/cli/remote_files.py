"""What the commands do with files of a service."""

from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Final

from treadle import AsyncClient, StoredFile
from treadle.cli import output
from treadle.cli.downloads import save
from treadle.cli.lines import when
from treadle.cli.remote import work_with

_HEAD: Final = ("ID", "NAME", "TYPE", "BYTES", "CREATED")


class RemoteFiles:
    """One command's dealings with a service."""

    def __init__(self, url: str, key: str | None, *, is_json: bool) -> None:
        self._url = url
        self._key = key
        self._is_json = is_json

    def upload(self, paths: Sequence[Path]) -> None:
        async def work(client: AsyncClient) -> None:
            self._print([await client.files.upload(path) for path in paths])

        self._do(work)

    def list(self) -> None:
        async def work(client: AsyncClient) -> None:
            self._print(await client.files.list())

        self._do(work)

    def get(self, file_id: str, to: Path | None) -> None:
        async def work(client: AsyncClient) -> None:
            file = await client.files.get(file_id)
            save(await client.files.download(file.id), file.name, to)

        self._do(work)

    def remove(self, file_ids: Sequence[str]) -> None:
        async def work(client: AsyncClient) -> None:
            for file_id in file_ids:
                await client.files.delete(file_id)

        self._do(work)

    def _print(self, files: Sequence[StoredFile]) -> None:
        if self._is_json:
            output.as_json([_as_json(file) for file in files])
            return
        rows = [(str(file.id), file.name, file.content_type, str(file.size), when(file.date_created)) for file in files]
        output.table(_HEAD, rows)

    def _do(self, work: Callable[[AsyncClient], Coroutine[object, object, None]]) -> None:
        work_with(self._url, self._key, work)


def _as_json(file: StoredFile) -> dict[str, object]:
    return {
        "id": str(file.id),
        "name": file.name,
        "contentType": file.content_type,
        "size": file.size,
        "sha256": file.sha256,
        "dateCreated": when(file.date_created),
    }
