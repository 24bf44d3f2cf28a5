"""Runs' events as server-sent events: read from the store once, encoded once, sent to all who follow."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from treadle import telemetry
from treadle.domain.events import Event
from treadle.domain.run import Run
from treadle.ports import Clock
from treadle.services.runs import Runs

#: An event as it goes over the wire.
Frame = Callable[[Event], bytes]

HEARTBEAT_SECONDS = 15.0
HEARTBEAT = b": heartbeat\n\n"
#: Sent at once, so that proxies and clients see the answer begin; and how soon to come back, in milliseconds.
OPENING = b"retry: 2000\n\n"

#: A reader's credentials are looked at again this often, in seconds, before it is sent more.
RECHECK_SECONDS = 30.0

#: How much of a run's newest frames is kept for its readers, and how much is sent at a time, in bytes.
KEPT_BYTES = 1 << 20
CHUNK_BYTES = 1 << 16

#: A reader further behind than this reads the store by itself; events.
SHARED_EVENTS = 1000
CATCH_UP_PAGE = 200


class Streams:
    """Every stream of this process. A slow reader delays nobody: it falls behind what is kept and reads the store."""

    def __init__(
        self,
        runs: Runs,
        frame: Frame,
        clock: Clock,
        *,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        recheck_seconds: float = RECHECK_SECONDS,
    ) -> None:
        self.recheck_seconds = recheck_seconds
        self._runs = runs
        self._clock = clock
        self._frame = frame
        self._heartbeat_seconds = heartbeat_seconds
        self._channels: dict[int, _Channel] = {}
        self.closed = asyncio.Event()  # other streams of the process end with these

    @property
    def is_closing(self) -> bool:
        return self.closed.is_set()

    def response(self, run: Run, after: int, may_see: Callable[[], Awaitable[bool]]) -> Response:
        """The run's events numbered above `after`, from now on until it ends, or its reader may not see it any more."""
        return _EventStream(self, run, after, may_see)

    def close(self) -> None:
        """Ends every stream, so that the server can stop; clients come back elsewhere with `Last-Event-ID`."""
        self.closed.set()
        for channel in self._channels.values():
            channel.wake()

    @property
    def open_runs(self) -> int:
        """How many runs are followed."""
        return len(self._channels)

    async def frames(self, run: Run, after: int, reader: "Reader") -> AsyncGenerator[bytes, None]:
        """Chunks of whole frames, and heartbeats, until the run ends, the reader is gone or the server stops."""
        channel = self._join(run, after, reader)
        try:
            while not (reader.is_gone or self.is_closing):
                reader.arrived.clear()
                if after < channel.first:
                    chunk, after = await self._catch_up(run.id, after, channel.first)
                elif after < channel.newest:
                    chunk, after = channel.cut(after)
                elif channel.is_broken:
                    raise ConnectionError("the events could not be read")
                elif channel.is_over:
                    return
                else:
                    chunk = await self._wait(reader)
                if chunk:
                    yield chunk
        finally:
            await self._leave(run.id, channel, reader)

    async def _catch_up(self, run_id: int, after: int, first: int) -> tuple[bytes, int]:
        page = await self._runs.events_of(run_id, after=after, limit=CATCH_UP_PAGE)
        return b"".join(map(self._frame, page)), page[-1].number if page else first

    async def _wait(self, reader: "Reader") -> bytes:
        try:
            async with asyncio.timeout(self._heartbeat_seconds):
                await reader.arrived.wait()
        except TimeoutError:
            return HEARTBEAT
        return b""

    def _join(self, run: Run, after: int, reader: "Reader") -> "_Channel":
        channel = self._channels.get(run.id)
        if channel is None or (channel.is_over and run.last_event > channel.newest):  # the run was resumed since
            start = max(after, run.last_event - SHARED_EVENTS)
            channel = self._channels[run.id] = _Channel(start)
            channel.pump = asyncio.create_task(self._fill(channel, run), name=f"stream of run {run.id}")
        channel.readers.add(reader)
        return channel

    async def _leave(self, run_id: int, channel: "_Channel", reader: "Reader") -> None:
        channel.readers.discard(reader)
        if channel.readers:
            return
        if self._channels.get(run_id) is channel:
            del self._channels[run_id]
        if channel.pump is not None:
            channel.pump.cancel()
            await asyncio.wait({channel.pump})

    async def _fill(self, channel: "_Channel", run: Run) -> None:
        try:
            async for page in self._runs.follow(run, after=channel.newest):
                for event in page:
                    channel.add(event.number, self._frame(event))
                channel.wake()
                if telemetry.is_measuring():
                    self._note_lag(page, run.last_event)
        except Exception:  # noqa: BLE001 - logged, whatever it is
            # The readers' streams break off without their end, and the clients come back.
            structlog.get_logger(__name__).exception("stream_failed", run=str(run.uuid))
            channel.is_broken = True
        finally:
            channel.is_over = True
            channel.wake()

    def _note_lag(self, page: Sequence[Event], last_before: int) -> None:
        """Of what happened since somebody began to follow; what was there before waited for nobody."""
        now = self._clock.now()
        for event in page:
            if event.number > last_before:
                telemetry.observe(telemetry.EVENT_LAG_SECONDS, max(0.0, (now - event.date).total_seconds()))


class Reader:
    """One client."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.is_gone = False


class _Channel:
    """What the readers of one run share: the frames of the events numbered `first` + 1 to `newest`."""

    def __init__(self, start: int) -> None:
        self.first = start
        self.newest = start
        self.is_over = False
        self.is_broken = False
        self.readers: set[Reader] = set()
        self.pump: asyncio.Task[None] | None = None
        self._frames: list[bytes] = []
        self._size = 0

    def add(self, number: int, frame: bytes) -> None:
        if number != self.newest + 1:  # never, while events are numbered without a gap; then all read the store
            self._frames.clear()
            self.first, self._size = number - 1, 0
        self._frames.append(frame)
        self.newest = number
        self._size += len(frame)
        if self._size > KEPT_BYTES:
            self._shrink()

    def cut(self, after: int) -> tuple[bytes, int]:
        """A chunk of the frames after that number, and the number of its last."""
        start = end = after - self.first
        size = 0
        while end < len(self._frames) and size < CHUNK_BYTES:
            size += len(self._frames[end])
            end += 1
        chunk = self._frames[start] if end == start + 1 else b"".join(self._frames[start:end])
        return chunk, self.first + end

    def wake(self) -> None:
        for reader in self.readers:
            reader.arrived.set()

    def _shrink(self) -> None:
        """To half, so that it is rarely done."""
        count = 0
        while self._size > KEPT_BYTES // 2 and count < len(self._frames) - 1:
            self._size -= len(self._frames[count])
            count += 1
        del self._frames[:count]
        self.first += count


class _EventStream(Response):
    """Written for ASGI itself: a generic streaming response costs half of what 500 readers may."""

    media_type = "text/event-stream"

    def __init__(self, streams: Streams, run: Run, after: int, may_see: Callable[[], Awaitable[bool]]) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._streams = streams
        self._run = run
        self._after = after
        self._may_see = may_see

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's
        reader = Reader()
        watching = asyncio.create_task(_watch(receive, reader), name="disconnect of an event stream")
        frames = self._streams.frames(self._run, self._after, reader)
        now = asyncio.get_running_loop().time
        checked = now()
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": OPENING, "more_body": True})
            async for chunk in frames:
                if now() - checked >= self._streams.recheck_seconds:
                    if not await self._may_see():
                        break
                    checked = now()
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except OSError:
            pass  # the client is gone, or is to come back
        finally:
            watching.cancel()
            await frames.aclose()
            await asyncio.gather(watching, return_exceptions=True)


async def _watch(receive: Receive, reader: Reader) -> None:
    """A client that leaves is noticed at once, not at the next event."""
    while (await receive())["type"] != "http.disconnect":
        pass
    reader.is_gone = True
    reader.arrived.set()
