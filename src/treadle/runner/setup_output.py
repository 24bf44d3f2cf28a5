"""What commands say: in a log of bounded length, and as events while they run."""

import asyncio
import codecs
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from treadle.domain.errors import ConfigurationError
from treadle.domain.events import Draft, EventType
from treadle.domain.states import Phase
from treadle.services.progress import Progress

#: What of their output the log keeps, in bytes: its beginning and its end.
MAX_LOG_BYTES = 8 << 20

#: What of it the events tell, in bytes; then once more its end.
MAX_TOLD_BYTES = 256 << 10

#: The end of it, for the last event and for the agent, in characters.
_END = 8192
#: Lines wait so long for company, in seconds, unless there are this many characters of them.
_BATCH_SECONDS = 0.5
_BATCH = 8192

_MORE = "… The rest is in the artifact setup.log; only its end is told here.\n"
_LEFT_OUT = "\n… {count} bytes are left out here …\n"


@dataclass(frozen=True, slots=True)
class Telling:
    """As which events, up to how many bytes, and what is said then."""

    kind: EventType = EventType.SETUP_OUTPUT
    most_bytes: int = MAX_TOLD_BYTES
    more: str = _MORE
    step: int | None = None
    phase: Phase | None = None


OF_SETUP = Telling()


class SetupOutput:
    """Takes bytes as they come. `follow` tells of them meanwhile."""

    def __init__(self, progress: Progress, telling: Telling = OF_SETUP) -> None:
        self._progress = progress
        self._telling = telling
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._head, self._tail, self._left_out = bytearray(), bytearray(), 0
        self._waiting = ""
        self._told = 0

    def feed(self, chunk: bytes) -> None:
        most = self._telling.most_bytes
        if self._told <= most and len(self._waiting) <= most:
            self._waiting += self._decoder.decode(chunk)
        room = MAX_LOG_BYTES // 2 - len(self._head)
        self._head += chunk[:room]
        self._tail += chunk[room:]
        if len(self._tail) > MAX_LOG_BYTES:
            self._cut()

    def say(self, text: str) -> None:
        """A word of the runner's own, on a line of its own."""
        is_within_line = not (self._tail or self._head or b"\n").endswith(b"\n")
        self.feed(f"{chr(10) if is_within_line else ''}{text}\n".encode())

    async def log(self) -> str:
        """All of it, or its beginning and its end, without secrets."""
        self._cut()
        left_out = _LEFT_OUT.format(count=self._left_out).encode() if self._left_out else b""
        text = b"".join((self._head, left_out, self._tail)).decode(errors="replace")
        return await asyncio.to_thread(self._progress.clean, text)

    @property
    def end(self) -> str:
        """Its last lines."""
        # Cleaned before it is cut: half a secret is none to be found.
        text = self._progress.clean((self._head + self._tail)[-4 * _END :].decode(errors="replace"))
        if len(text) > _END:
            text = text[-_END:].partition("\n")[2] or text[-_END:]
        return text

    @asynccontextmanager
    async def follow(self) -> AsyncIterator[None]:
        """Tells of what comes within; of the last of it on leaving in peace."""
        telling = asyncio.create_task(self._tell_batches())
        try:
            yield
        finally:
            telling.cancel()
            # Gathered, so that whoever cancels this task meanwhile is heard. A lost lease is met again at once.
            await asyncio.gather(telling, return_exceptions=True)
        await self._tell(is_last=True)
        if self._told > self._telling.most_bytes:
            await self._note(self.end)

    async def _tell_batches(self) -> None:
        while True:
            await asyncio.sleep(_BATCH_SECONDS)
            with suppress(ConfigurationError):  # it waits with the other events
                await self._tell()

    async def _tell(self, *, is_last: bool = False) -> None:
        """Whole lines; of a very long one whole words, as half a secret is none to be found."""
        cut = len(self._waiting) if is_last else self._waiting.rfind("\n") + 1
        if not cut and len(self._waiting) > _BATCH:
            cut = self._waiting.rfind(" ") + 1
        text, self._waiting = self._progress.clean(self._waiting[:cut]), self._waiting[cut:]
        for start in range(0, len(text), _BATCH):
            if self._told > self._telling.most_bytes:
                return
            piece = text[start : start + _BATCH]
            self._told += len(piece.encode())
            await self._note(piece)
            if self._told > self._telling.most_bytes:
                await self._note(self._telling.more)

    async def _note(self, text: str) -> None:
        told = self._telling
        await self._progress.note(Draft(told.kind, {"text": text}, told.step, told.phase))

    def _cut(self) -> None:
        surplus = max(0, len(self._tail) - MAX_LOG_BYTES // 2)
        del self._tail[:surplus]
        self._left_out += surplus
