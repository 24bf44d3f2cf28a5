"""The host's end of the line to an interpreter, which it does not trust: every message is bounded in size and in time,
and whatever is not one ends the execution."""

import asyncio
import json
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

import structlog

from treadle import command
from treadle.ports.scripting import JsonObject, JsonValue, ScriptFailure, ScriptFault, ScriptLimits
from treadle.scripting.sizes import size_text

T = TypeVar("T")

log = structlog.get_logger(__name__)

_CHILD: Final = ("-I", "-X", "utf8", "-m", "treadle.scripting.child")
_OUT_OF_MEMORY: Final = 86  # as `treadle.scripting.child` has it, which imports no more than it must
_ENVELOPE_BYTES: Final = 64 << 10  # what surrounds the largest of a message's parts


class Ended(Exception):  # for the host alone
    """The execution cannot go on."""

    def __init__(self, failure: ScriptFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Line:
    """Made by `open_line` only."""

    def __init__(
        self,
        running: command.Running,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        limits: ScriptLimits,
    ) -> None:
        self._running = running
        self._reader = reader
        self._writer = writer
        self._limits = limits
        self._left = limits.seconds

    async def say(self, message: Mapping[str, JsonValue]) -> None:
        """Raises Ended."""
        self._writer.write(json.dumps(message, ensure_ascii=True, separators=(",", ":")).encode() + b"\n")
        with suppress(ConnectionError):  # `hear` finds out why
            await self._in_time(self._writer.drain())

    async def hear(self) -> JsonObject:
        """The next message. Raises Ended when there is none: because of a limit, or because the interpreter died."""
        try:
            line = await self._in_time(self._reader.readline())
            found = json.loads(line) if line.endswith(b"\n") else None
        except ConnectionError:
            found = None
        except (ValueError, RecursionError):
            raise broken("it wrote what is no message") from None
        if found is None:
            raise Ended(await self._why_gone())
        if not isinstance(found, dict):
            raise broken("it wrote what is no message")
        return {key: _storable(value) for key, value in found.items()}

    async def _in_time(self, work: Awaitable[T]) -> T:
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._left):
                return await work
        except TimeoutError:
            raise Ended(_limit(f"The script took longer than {self._limits.seconds:g} s.")) from None
        finally:
            self._left = max(0.0, self._left - (time.monotonic() - began))

    async def _why_gone(self) -> ScriptFailure:
        code = await self._running.wait()
        if code in {-signal.SIGXCPU, -signal.SIGKILL}:
            return _limit(f"The script took more than {self._limits.cpu_seconds} s of processor time.")
        if code == _OUT_OF_MEMORY:
            return _limit(f"The script used more than {size_text(self._limits.memory_bytes)} of memory.")
        log.warning("script_interpreter_died", exit_code=code, stderr=self._running.stderr[-2000:])
        return broken(f"it ended with exit code {code}").failure


@asynccontextmanager
async def open_line(limits: ScriptLimits) -> AsyncIterator[Line]:
    """Starts an interpreter that has this line and nothing else. Leaving ends it, at once and for good."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        arguments = [sys.executable, *_CHILD, str(theirs.fileno())]
        async with command.spawn(
            arguments, environment={}, cwd=Path("/"), grace_seconds=0.0, kept_fds=(theirs.fileno(),)
        ) as running:
            theirs.close()
            most = max(limits.arguments_bytes, limits.output_bytes, limits.log_bytes) + _ENVELOPE_BYTES
            reader, writer = await asyncio.open_unix_connection(sock=ours, limit=most)
            try:
                yield Line(running, reader, writer, limits)
            finally:
                writer.transport.abort()


def broken(why: str) -> Ended:
    """The interpreter did what it never does."""
    return Ended(ScriptFailure(ScriptFault.BROKEN, f"The script's interpreter failed: {why}."))


def _limit(message: str) -> ScriptFailure:
    return ScriptFailure(ScriptFault.LIMIT, message)


def _storable(value: JsonValue) -> JsonValue:
    """Without the two things that JSON may hold and a database may not: NUL, and halves of surrogate pairs."""
    match value:
        case str():
            text = value.replace("\0", "\N{REPLACEMENT CHARACTER}")
            return text if text.isascii() else text.encode("utf-8", "replace").decode()
        case list():
            return [_storable(one) for one in value]
        case dict():
            return {str(_storable(key)): _storable(one) for key, one in value.items()}
        case _:
            return value
