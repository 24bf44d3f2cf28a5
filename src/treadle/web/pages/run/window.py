"""Which part of a run's trace is shown: pages of events, counted by their numbers, which have no gaps."""

from collections.abc import Sequence
from dataclasses import dataclass

from treadle.api.bodies import whole_number
from treadle.domain.events import Event, EventType
from treadle.domain.run import Run
from treadle.services.runs import Runs
from treadle.web.trace import Item, Trace, items

#: Events of one page of a trace.
PAGE_EVENTS = 200

#: Events before and after a page that are looked through for the other half of a tool's call.
AROUND_EVENTS = 200

#: Events that are shown before one that somebody goes to.
LEAD_EVENTS = 20


@dataclass(frozen=True, slots=True)
class Window:
    """The events numbered `first` to `last`, of which the run has `of`."""

    first: int
    last: int
    of: int
    items: Sequence[Item] = ()

    @property
    def before(self) -> int | None:
        """Where the page before this one ends; None when there is none."""
        return self.first if self.first > 1 else None

    @property
    def is_end(self) -> bool:
        return self.last >= self.of


def bounds(run: Run, *, before: str = "", at: str = "") -> tuple[int, int]:
    """First and last number of the page that ends before an event, of the one that holds it, or of the newest."""
    last = run.last_event
    if (number := whole_number(before)) is not None:
        last = min(last, number - 1)
    elif (number := whole_number(at)) is not None:
        first = max(1, min(number, run.last_event) - LEAD_EVENTS)
        return first, min(run.last_event, first + PAGE_EVENTS - 1)
    return max(1, last - PAGE_EVENTS + 1), max(0, last)


async def window(runs: Runs, run: Run, first: int, last: int) -> Window:
    """With calls whole, as far as both halves are near: one that began before the page stands at its beginning."""
    start = max(0, first - 1 - AROUND_EVENTS)
    end = min(run.last_event, last + AROUND_EVENTS)
    events = await runs.events_of(run.id, after=start, limit=max(1, end - start))
    trace = Trace()
    for event in events:
        if event.number < first:
            trace.read(event)
    shown = list(items(trace, (event for event in events if first <= event.number <= last)))
    places = {item.number: place for place, item in enumerate(shown)}
    for event in events:  # ends of calls that began on this page
        if event.number > last and event.type is EventType.TOOL_FINISHED:
            item = trace.read(event)
            if item.number in places:
                shown[places[item.number]] = item
    return Window(first, last, run.last_event, shown)


async def primed(runs: Runs, run_id: int, after: int) -> Trace:
    """A trace that has read what is just before."""
    trace = Trace()
    start = max(0, after - AROUND_EVENTS)
    if after > start:
        before: Sequence[Event] = await runs.events_of(run_id, after=start, limit=after - start)
        for event in before:
            trace.read(event)
    return trace
