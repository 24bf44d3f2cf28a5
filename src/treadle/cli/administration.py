"""What all of `treadle admin` shares: work on the deployment of the settings, and ways to show what came of it."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

from treadle import factory, logs
from treadle.cli import output
from treadle.cli.service import key_lines
from treadle.cli.steps import read_text
from treadle.domain.errors import InvalidInput
from treadle.factory import Parts
from treadle.services.audit import OPERATOR, Door, origin
from treadle.settings import Settings

T = TypeVar("T")
Value = str | int | float | bool | None
Record = Mapping[str, Value]

_SAID: Final = {None: "", True: "yes", False: "no"}


def do(work: Callable[[Parts], Awaitable[T]]) -> T:
    """Does it on the database itself; no service need run."""
    settings = Settings.load(os.environ)
    logs.configure(settings)  # beside the result, not in it

    async def assembled() -> T:
        async with factory.assemble(settings, tells_others=False) as parts:
            for line in key_lines(parts, ""):  # an empty database has just got its first admin
                output.note(line)
            return await work(parts)

    with origin(Door.CLI, actor=OPERATOR):
        return asyncio.run(assembled())


def show_one(record: Record, *, is_json: bool) -> None:
    """An object, or a table of one row."""
    if is_json:
        output.as_json(record)
    else:
        show_many([record], is_json=False)


def show_many(records: Sequence[Record], *, is_json: bool) -> None:
    """A list, or a table; nothing when there are none."""
    if is_json:
        output.as_json(list(records))
    elif records:
        head = [name.upper() for name in records[0]]
        output.table(head, [[_cell(value) for value in record.values()] for record in records])


def show_fields(record: Record, *, is_json: bool) -> None:
    """An object, or a line for each of its fields: for records that no row can hold."""
    if is_json:
        output.as_json(record)
    else:
        output.table(("FIELD", "VALUE"), [[name, _cell(value)] for name, value in record.items()])


def show_text(name: str, text: str | None, *, is_json: bool) -> None:
    """A long text as it is; nothing when there is none."""
    if is_json:
        output.as_json({name: text})
    elif text:
        for each in text.splitlines():
            output.line(each)


def given_text(text: str | None, file: Path | None, *, is_cleared: bool) -> str | None:
    """What `--text`, `--file` and `--clear` say: a new text, an empty one for --clear, None without any of them. Raises
    InvalidInput, ConfigurationError."""
    if sum((text is not None, file is not None, is_cleared)) > 1:
        raise InvalidInput({"--file": ["give one of --file, --text and --clear"]}, "The options contradict.")
    if is_cleared:
        return ""
    found = read_text(file.expanduser()) if file is not None else text
    if found is not None and not found.strip():
        raise InvalidInput({"--file": ["is empty; --clear takes away what there is"]}, "There is no text.")
    return found


def _cell(value: Value) -> str:
    return _SAID[value] if value is None or isinstance(value, bool) else str(value)
