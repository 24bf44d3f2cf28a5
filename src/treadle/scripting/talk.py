"""The interpreter's end of its line to the host: JSON, one message a line."""

import json
import os
from typing import Any, Final

import starlark

from treadle.scripting.sizes import size_text

_READ_BYTES: Final = 1 << 16


class HostGone(BaseException):  # the interpreter turns every Exception into an error of the script
    """The host has let go of the line: nobody waits for this execution any more."""


class Talk:
    """Blocks: an interpreter has nothing else to do."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._buffer = bytearray()

    def say(self, message: dict[str, object], most_bytes: int | None = None, what: str = "") -> None:
        """Raises EvalError for one that is larger than `most_bytes`. Half a surrogate pair, which is no character,
        becomes a question mark."""
        text = json.dumps(message, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        line = text.encode("utf-8", "replace")
        if most_bytes is not None and len(line) > most_bytes:
            raise TooMuch(f"{what} is larger than {size_text(most_bytes)}.")
        view = memoryview(line + b"\n")
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except OSError as error:
                raise HostGone from error

    def hear(self) -> dict[str, Any]:
        """The next message."""
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            try:
                more = os.read(self._fd, _READ_BYTES)
            except OSError as error:
                raise HostGone from error
            if not more:
                raise HostGone
            self._buffer += more
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        found = json.loads(line)
        if not isinstance(found, dict):
            raise HostGone
        return found


class TooMuch(starlark.EvalError):
    """Past a limit of its own; the message is a sentence."""
