"""Runs as they are watched: each is followed once, and its news made HTML once, for all who watch it here."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from treadle.domain.events import Event, EventType
from treadle.domain.run import Run
from treadle.web.pages.run.shown import Shown, again, show
from treadle.web.pages.run.window import PAGE_EVENTS, primed
from treadle.web.site import Site
from treadle.web.trace import Trace, items

#: What is kept of a run's newest items for those who watch it, in characters of HTML.
MAX_KEPT = 1 << 20

#: Events that somebody may be behind and have them one by one; after a longer sleep the newest page comes instead.
MAX_BEHIND = 5 * PAGE_EVENTS

#: Events that are made HTML at a time, before others have their turn.
_AT_ONCE = 20

#: These change nothing but the trace.
_ONLY_TRACE = frozenset(
    {
        EventType.ENGINE_STARTED,
        EventType.ENGINE_TEXT,
        EventType.ENGINE_THOUGHT,
        EventType.ENGINE_NOTICE,
        EventType.ENGINE_RETRY,
        EventType.TOOL_STARTED,
        EventType.TOOL_FINISHED,
        EventType.VALIDATION_STARTED,
        EventType.VALIDATION_OUTPUT,
        EventType.VALIDATION_FINISHED,
        EventType.SETUP_STARTED,
        EventType.SETUP_OUTPUT,
        EventType.SETUP_FINISHED,
        EventType.SETUP_REUSED,
        EventType.NETWORK_CONNECTED,
        EventType.NETWORK_REFUSED,
        EventType.SANDBOX_LIMIT,
    }
)


@dataclass(frozen=True, slots=True)
class Frame:
    """The items of some events, `last` the newest."""

    last: int
    html: str


class Channel:
    """One run: the frames of the events numbered `first` + 1 to `newest`, and how it stands."""

    def __init__(self, shown: Shown, start: int) -> None:
        self.shown = shown
        self.parts: dict[str, str] = {}  # of the page, as HTML: those that are the same for all
        self.first = self.newest = start
        self.is_over = False
        self.is_broken = False
        self.watchers = 0
        self.news = asyncio.Event()  # set once, with whatever comes next; then there is another
        self.task: asyncio.Task[None] | None = None
        self._frames: deque[Frame] = deque()
        self._size = 0

    def add(self, frame: Frame) -> None:
        self._frames.append(frame)
        self.newest = frame.last
        self._size += len(frame.html)
        while self._size > MAX_KEPT and len(self._frames) > 1:
            dropped = self._frames.popleft()
            self.first, self._size = dropped.last, self._size - len(dropped.html)

    def after(self, number: int) -> Sequence[Frame]:
        """Those with events above that number; it must not be below `first`."""
        return [frame for frame in self._frames if frame.last > number]

    def tell(self) -> None:
        told, self.news = self.news, asyncio.Event()
        told.set()


class Channels:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._open: dict[tuple[int, str], Channel] = {}  # by run, and what its links begin with

    @asynccontextmanager
    async def join(self, run: Run, who: str, base: str) -> AsyncIterator[Channel]:
        """`who`: asked for the run."""
        key = (run.id, base)
        channel = self._open.get(key)
        if channel is None or (channel.is_over and run.last_event > channel.newest):  # it was resumed since
            shown = await show(self._site, run, base=base, who=who)
            channel = self._open.get(key)  # somebody else may have been faster
            if channel is None or channel.is_over:
                channel = self._open[key] = Channel(shown, run.last_event)
                channel.task = asyncio.create_task(self._fill(channel, run), name=f"page of run {run.id}")
        channel.watchers += 1
        try:
            yield channel
        finally:
            channel.watchers -= 1
            if not channel.watchers:
                await self._close(key, channel)

    def html(self, trace: Trace, events: Sequence[Event], base: str) -> str:
        return self._site.renderer.html("run_news.html", items=items(trace, events), base=base)

    async def _fill(self, channel: Channel, run: Run) -> None:
        runs, base = self._site.services.runs, channel.shown.base
        try:
            trace = await primed(runs, run.id, channel.newest)
            async for page in runs.follow(run, after=channel.newest):
                for start in range(0, len(page), _AT_ONCE):
                    some = page[start : start + _AT_ONCE]
                    channel.add(Frame(some[-1].number, self.html(trace, some, base)))
                    await asyncio.sleep(0)
                if any(event.type not in _ONLY_TRACE for event in page):
                    now = await again(self._site, run)
                    channel.shown = await show(self._site, now, base=base, who=channel.shown.who)
                    channel.parts = {}
                channel.tell()
        except Exception:  # noqa: BLE001 - logged, whatever it is; those who watch come back
            structlog.get_logger(__name__).exception("run_page_failed", run=str(run.uuid))
            channel.is_broken = True
        finally:
            channel.is_over = True
            channel.tell()

    async def _close(self, key: tuple[int, str], channel: Channel) -> None:
        if self._open.get(key) is channel:
            del self._open[key]
        if channel.task is not None:
            channel.task.cancel()
            await asyncio.gather(channel.task, return_exceptions=True)
