"""What `treadle script` does with scripts that are stored on a service."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Final

from treadle import AsyncClient, ScriptRun, ScriptRunStatus
from treadle.cli import output
from treadle.cli.failures import Stopped
from treadle.cli.lines import when
from treadle.cli.output import FAILED
from treadle.cli.remote import work_with
from treadle.cli.steps import read_text
from treadle.ports.scripting import JsonObject

_HEAD: Final = ("ID", "NAME", "VERSION", "CHANGED", "DESCRIPTION")
_RUNS_HEAD: Final = ("ID", "SCRIPT", "VERSION", "STATUS", "BEGAN", "DETAIL")

#: Seconds between two looks at a run.
_LOOK: Final = 1.0


class StoredScripts:
    """One command's dealings with a service."""

    def __init__(self, url: str, key: str | None, *, is_json: bool) -> None:
        self._url = url
        self._key = key
        self._is_json = is_json

    def save(self, name: str, file: Path, description: str | None, if_version: int | None) -> None:
        async def work(client: AsyncClient) -> None:
            source = read_text(file)
            saved = await client.scripts.save(name, source, description=description, if_version=if_version)
            if self._is_json:
                output.as_json(dict(saved.raw))
                return
            output.note(f"{saved.name} is stored, version {saved.version}.")

        self._do(work)

    def list(self) -> None:
        async def work(client: AsyncClient) -> None:
            found = await client.scripts.list()
            if self._is_json:
                output.as_json([dict(each.raw) for each in found])
                return
            rows = [
                (str(each.id), each.name, str(each.version), when(each.date_updated), each.description or "")
                for each in found
            ]
            output.table(_HEAD, rows)

        self._do(work)

    def show(self, script: str, version: int | None) -> None:
        async def work(client: AsyncClient) -> None:
            found = await client.scripts.get(script, version=version)
            if self._is_json:
                output.as_json(dict(found.raw))
                return
            for line in (found.source or "").splitlines():
                output.line(line)

        self._do(work)

    def remove(self, script: str) -> None:
        async def work(client: AsyncClient) -> None:
            await client.scripts.remove(script)
            output.note(f"{script} is removed; its runs stay.")

        self._do(work)

    def start(self, script: str, inputs: JsonObject, version: int | None, *, is_waiting: bool) -> None:
        """Raises Stopped where it waits for one that does not end well."""

        async def work(client: AsyncClient) -> None:
            run = await client.scripts.start(script, inputs, version=version)
            if not is_waiting:
                self._tell(
                    run, f"Run {run.id} of {run.name}; `treadle script logs {run.id} --follow` shows what it says."
                )
                return
            async for line in client.scripts.follow(run.id, poll=_LOOK):
                (output.note if self._is_json else output.line)(line.text)
            ended = await client.scripts.wait(run.id, poll=_LOOK)
            if self._is_json or (ended.status is ScriptRunStatus.SUCCESS and ended.outputs is not None):
                output.as_json(dict(ended.raw) if self._is_json else ended.outputs)
            if ended.status is not ScriptRunStatus.SUCCESS:
                output.error(ended.failure_details or f"The run of the script was {ended.status}.")
                raise Stopped(FAILED)

        self._do(work)

    def runs(self, script: str | None, limit: int) -> None:
        async def work(client: AsyncClient) -> None:
            found = await client.scripts.runs(script, limit=limit)
            if self._is_json:
                output.as_json([dict(each.raw) for each in found])
                return
            output.table(_RUNS_HEAD, [_row(each) for each in found])

        self._do(work)

    def logs(self, run: int, *, is_followed: bool) -> None:
        async def work(client: AsyncClient) -> None:
            scripts = client.scripts
            lines = scripts.follow(run, poll=_LOOK) if is_followed else scripts.log(run)
            async for line in lines:
                if self._is_json:
                    shown = {"number": line.number, "text": line.text, "date": line.date.isoformat()}
                    output.as_json(shown, indent=False)
                else:
                    output.line(line.text)

        self._do(work)

    def kill(self, run: int) -> None:
        async def work(client: AsyncClient) -> None:
            killed = await client.scripts.kill(run)
            self._tell(killed, f"Run {killed.id} of {killed.name} is killed; the runs that it started go on.")

        self._do(work)

    def _tell(self, run: ScriptRun, said: str) -> None:
        if self._is_json:
            output.as_json(dict(run.raw))
        else:
            output.note(said)

    def _do(self, work: Callable[[AsyncClient], Coroutine[object, object, None]]) -> None:
        work_with(self._url, self._key, work)


def _row(run: ScriptRun) -> tuple[str, ...]:
    detail = run.failure_details or ""
    if not run.is_finished and run.waits_for is not None:
        detail = f"waits for {run.waits_for.get('run')}"
    return (
        str(run.id),
        run.name,
        str(run.version or ""),
        str(run.status),
        when(run.date_created),
        detail.partition("\n")[0],
    )
