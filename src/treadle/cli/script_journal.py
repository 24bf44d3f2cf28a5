"""What the calls of a script were answered, in a file: a script that was ended goes on from there."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path
from typing import Final
from uuid import uuid4

from treadle.domain.errors import ConfigurationError
from treadle.ports.scripting import Answer, JsonObject, JsonValue

_HINT: Final = "--journal names a file of this command's own, or one that is not there yet."


class Journal:
    """`id`: of the script's run, for keys that are the same in every execution. Made by `kept` and `forgotten`."""

    def __init__(self, identifier: str, file: BufferedRandom | None = None) -> None:
        self.id = identifier
        self.answers: list[Answer] = []
        self.printed = 0
        self._file = file

    def answer(self, answer: Answer) -> None:
        """Durable on return."""
        entry: JsonObject = {
            "call": answer.number,
            "name": answer.name,
            "digest": answer.digest,
            "result": answer.result,
        }
        self._append(entry, is_durable=True)

    def print(self, number: int) -> None:
        """That many lines have been shown."""
        self._append({"printed": number}, is_durable=False)

    def _append(self, entry: JsonObject, *, is_durable: bool) -> None:
        if self._file is None:
            return
        self._file.write(json.dumps(entry).encode() + b"\n")
        self._file.flush()
        if is_durable:
            os.fsync(self._file.fileno())

    def read(self, lines: list[bytes]) -> None:
        """Takes in what earlier executions wrote. Raises ValueError and KeyError for what is no journal."""
        for line in lines:
            match json.loads(line):
                case {"call": int(number), "name": str(name), "digest": str(digest), "result": result}:
                    self.answers.append(Answer(number, name, digest, result))
                case {"printed": int(number)}:
                    self.printed = number
                case _:
                    raise ValueError("no entry of a journal")


def forgotten() -> Journal:
    """One that ends with the command."""
    return Journal(uuid4().hex)


@contextmanager
def kept(path: Path) -> Iterator[Journal]:
    """The one in a file, made if there is none, and nobody else's meanwhile. A last line that is not whole, because the
    machine went down while it was written, is dropped. Raises ConfigurationError."""
    with _opened(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigurationError(
                f"The journal {path} is in use.", hint="Another command runs this script."
            ) from None
        content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        journal = _taken_up(path, file, whole.splitlines()) if content else _begun(file)
        if content:
            file.truncate(len(whole))
            file.seek(len(whole))
        yield journal


def _opened(path: Path) -> BufferedRandom:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(f"The journal {path} cannot be opened: {error.strerror}.", hint=_HINT) from None
    return os.fdopen(descriptor, "r+b")


def _begun(file: BufferedRandom) -> Journal:
    identifier = uuid4().hex
    file.write(json.dumps({"journal": identifier}).encode() + b"\n")
    file.flush()
    os.fsync(file.fileno())
    return Journal(identifier, file)


def _taken_up(path: Path, file: BufferedRandom, lines: list[bytes]) -> Journal:
    try:
        head: JsonValue = json.loads(lines[0]) if lines else None
        identifier = head["journal"] if isinstance(head, dict) else None
        if not isinstance(identifier, str):
            raise ConfigurationError(f"{path} is no journal of a script.", hint=_HINT)
        journal = Journal(identifier, file)
        journal.read(lines[1:])
    except (ValueError, KeyError):
        raise ConfigurationError(f"{path} is no journal of a script.", hint=_HINT) from None
    return journal
