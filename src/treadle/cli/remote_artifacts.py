"""What the commands do with what runs of a service leave behind."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Final

from treadle import AsyncClient
from treadle.cli import output
from treadle.cli.downloads import save
from treadle.cli.lines import when
from treadle.cli.remote import find, work_with

_HEAD: Final = ("NAME", "TYPE", "BYTES", "CREATED")


class RemoteArtifacts:
    """One command's dealings with a service."""

    def __init__(self, url: str, key: str | None, *, is_json: bool) -> None:
        self._url = url
        self._key = key
        self._is_json = is_json

    def list(self, beginning: str) -> None:
        async def work(client: AsyncClient) -> None:
            process = await find(client, beginning)
            found = await client.processes.artifacts(process.id)
            if self._is_json:
                output.as_json(
                    [
                        {
                            "name": artifact.name,
                            "contentType": artifact.content_type,
                            "size": artifact.size,
                            "dateCreated": when(artifact.date_created),
                        }
                        for artifact in found
                    ]
                )
                return
            output.table(
                _HEAD, [(each.name, each.content_type, str(each.size), when(each.date_created)) for each in found]
            )
            if not found and output.is_terminal():
                output.note("It has left nothing so far.")

        self._do(work)

    def get(self, beginning: str, name: str, to: Path | None) -> None:
        async def work(client: AsyncClient) -> None:
            process = await find(client, beginning)
            save(await client.processes.artifact(process.id, name), name, to)

        self._do(work)

    def _do(self, work: Callable[[AsyncClient], Coroutine[object, object, None]]) -> None:
        work_with(self._url, self._key, work)
