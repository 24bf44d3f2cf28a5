"""What the commands do with scripts: run one here, through a service's API, and check one."""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from treadle.cli import interrupts, output
from treadle.cli.failures import Stopped
from treadle.cli.output import FAILED
from treadle.cli.remote import connected
from treadle.cli.script_calls import RemoteCalls
from treadle.cli.script_journal import Journal, forgotten, kept
from treadle.cli.steps import read_text
from treadle.domain.errors import InvalidInput, TooLarge
from treadle.ports.scripting import (
    MAX_SCRIPT_BYTES,
    MAX_SCRIPT_INPUTS_BYTES,
    Execution,
    JsonObject,
    ScriptEnd,
    ScriptFailure,
    ScriptLine,
    ScriptOutcome,
)
from treadle.scripting.host import StarlarkHost

_GO_ON: Final = "The same command with the same --journal goes on from here; runs that were started go on meanwhile."


class Scripts:
    """One command's dealings with a script."""

    def __init__(self, path: Path, *, is_json: bool) -> None:
        self._path = path
        self._is_json = is_json

    def check(self) -> None:
        """Raises Stopped for a script that cannot run."""
        failure = interrupts.run(StarlarkHost().check(_read(self._path, MAX_SCRIPT_BYTES), str(self._path)))
        if self._is_json:
            output.as_json({"ok": failure is None, "failure": _failure_json(failure)})
        if failure is not None:
            self._refuse(failure)

    def run(self, url: str, key: str | None, *, inputs: JsonObject, journal: Path | None) -> None:
        """Raises Stopped unless the script ends well."""
        source = _read(self._path, MAX_SCRIPT_BYTES)
        with kept(journal) if journal is not None else nullcontext(forgotten()) as found:
            try:
                outcome = interrupts.run(self._execute(url, key, source, inputs, found))
            except Stopped:
                if journal is not None:
                    output.note(_GO_ON)
                raise
            except Exception as error:
                if journal is not None:
                    error.add_note(_GO_ON)
                raise
        if self._is_json:
            output.as_json(
                {
                    "status": str(outcome.end),
                    "output": outcome.output,
                    "failure": _failure_json(outcome.failure),
                    "calls": outcome.calls,
                    "steps": outcome.steps,
                }
            )
        elif outcome.end == ScriptEnd.SUCCESS and outcome.output is not None:
            output.as_json(outcome.output)
        if outcome.failure is not None:
            self._refuse(outcome.failure)

    async def _execute(
        self, url: str, key: str | None, source: str, inputs: JsonObject, journal: Journal
    ) -> ScriptOutcome:
        async def tell(line: ScriptLine) -> None:
            (output.note if self._is_json else output.line)(line.text)
            journal.print(line.number)

        execution = Execution(source, inputs, name=str(self._path), journal=journal.answers, printed=journal.printed)
        async with connected(url, key) as client:
            return await StarlarkHost().run(execution, RemoteCalls(client, journal), tell)

    def _refuse(self, failure: ScriptFailure) -> None:
        place = f"{self._path}:{failure.line}" if failure.line is not None else str(self._path)
        output.error(f"{place}: {failure.message}", failure.hint)
        for function, line in failure.trace[:-1]:
            output.note(f"  called from {self._path}:{line}, {function}")
        raise Stopped(FAILED)


def inputs_of(given: Sequence[str], file: Path | None) -> JsonObject:
    """Those of the file, and over them those of the command line, which are texts. Raises InvalidInput."""
    found: JsonObject = {}
    if file is not None:
        try:
            read = json.loads(_read(file, MAX_SCRIPT_INPUTS_BYTES))
        except (ValueError, RecursionError):
            read = None
        if not isinstance(read, dict):
            raise InvalidInput({f"--inputs-file {file}": ["must hold a JSON object"]}, "The inputs cannot be read.")
        found = read
    faults = {f"--input {one}": ["is not NAME=VALUE"] for one in given if not one.partition("=")[0] or "=" not in one}
    if faults:
        raise InvalidInput(faults, "The inputs cannot be read.")
    return found | {name: value for name, _, value in (one.partition("=") for one in given)}


def _read(path: Path, most_bytes: int) -> str:
    if path.is_file() and path.stat().st_size > most_bytes:
        raise TooLarge(f"{path} is larger than {most_bytes >> 10:,} KiB.")
    return read_text(path)


def _failure_json(failure: ScriptFailure | None) -> JsonObject | None:
    if failure is None:
        return None
    return {
        "fault": str(failure.fault),
        "message": failure.message,
        "hint": failure.hint,
        "line": failure.line,
        "column": failure.column,
    }
