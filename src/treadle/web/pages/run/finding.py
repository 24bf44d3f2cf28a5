"""Where a text is in a run's events, also in those that the page has not loaded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from treadle.domain.events import Event, JsonValue
from treadle.domain.run import Run
from treadle.services.runs import Runs

#: Hits of one answer.
MAX_HITS = 50

#: Longest text that is searched for, in characters.
MAX_SEARCH = 200

#: Characters shown before and after what was found.
_AROUND = 60


@dataclass(frozen=True, slots=True)
class Hit:
    """`start`, `match` and `end` are the words around what was found, in one line."""

    event: Event
    start: str
    match: str
    end: str


@dataclass(frozen=True, slots=True)
class FoundPage:
    """`before`: where to look on; None at the beginning of the run."""

    text: str
    hits: Sequence[Hit]
    before: int | None


async def find(runs: Runs, run: Run, text: str, *, before: int | None = None) -> FoundPage:
    """The newest hits, below the event numbered `before`."""
    text = text.strip()[:MAX_SEARCH]
    if not text:
        return FoundPage("", (), None)
    end = run.last_event + 1
    found = await runs.find_events(run, text, before=min(before or end, end), limit=MAX_HITS)
    hits = [hit for event in found.events if (hit := _hit(event, text)) is not None]
    return FoundPage(text, hits, found.before)


def _hit(event: Event, text: str) -> Hit | None:
    """None where only the event's form holds the text, such as the name of a field."""
    wanted = text.lower()
    for each in _texts(event.data):
        lowered = each.lower()
        at = lowered.find(wanted) if len(lowered) == len(each) else each.find(text)
        if at >= 0:
            end = at + len(text)
            return Hit(event, _line(each[max(0, at - _AROUND) : at]), each[at:end], _line(each[end : end + _AROUND]))
    return None


def _line(text: str) -> str:
    return text.replace("\n", " ")


def _texts(value: JsonValue) -> Iterator[str]:
    """Every text in the values of an event."""
    left: list[JsonValue] = [value]
    while left:
        each = left.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, dict):
            left.extend(reversed(list(each.values())))
        elif isinstance(each, list | tuple):
            left.extend(reversed(each))
        elif each is not None and not isinstance(each, bool):
            yield str(each)
