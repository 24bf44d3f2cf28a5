"""Events as items of a trace: what happened, in words, with what people open and look at.

    trace = Trace()
    shown = items(trace, events)

An item is known by the number of its event: `#e12`. A tool's call is one, known by its start; its end makes it anew.
What others wrote is in `detail`, `body` and `call`, as it came: whoever shows it must make it visible and bound it.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from treadle.domain.events import Event, EventType, JsonValue
from treadle.domain.states import Phase
from treadle.web.prose import Part, prose
from treadle.web.said import Said, text_of
from treadle.web.text import clipped
from treadle.web.tool_input import Block, blocks, pretty, summary
from treadle.web.trace_words import WORDS

#: Calls that have begun and not ended, which a trace remembers.
MAX_OPEN_CALLS = 1_000


class ItemKind(StrEnum):
    LINE = "line"  # something that happened, in a line
    STEP = "step"  # a heading
    PHASE = "phase"  # a smaller one, with the prompt
    TEXT = "text"
    THOUGHT = "thought"
    TOOL = "tool"
    OUTPUT = "output"  # of setup commands


@dataclass(frozen=True, slots=True)
class Result:
    """What a call came to. `number`: of the event that says so."""

    number: int
    output: str
    is_error: bool
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Call:
    tool: str
    about: str
    blocks: Sequence[Block] = ()
    result: Result | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """`title` is ours, `detail` and `body` are others' texts; `tone` is "", good, bad, warn, busy or quiet. `link`:
    below the run's page, with what it is called; or another site's address. `clipped`: characters that the event itself
    lost."""

    number: int
    kind: ItemKind
    date: datetime
    step: int | None = None
    phase: Phase | None = None
    title: str = ""
    detail: str = ""
    body: str = ""
    tone: str = ""
    link: tuple[str, str] | None = None
    call: Call | None = None
    clipped: int = 0

    def prose(self) -> tuple[Sequence[Part], int]:
        """The body, set; and how many characters of it are left out."""
        shown, gone = clipped(self.body)
        return prose(shown), gone


_BODIES = {
    EventType.ENGINE_TEXT: ItemKind.TEXT,
    EventType.ENGINE_THOUGHT: ItemKind.THOUGHT,
    EventType.SETUP_OUTPUT: ItemKind.OUTPUT,
    EventType.VALIDATION_OUTPUT: ItemKind.OUTPUT,
}


class Trace:
    """Reads events in order; remembers the calls that have begun, so that their ends are known for what they are."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, Item] = OrderedDict()
        self._last_text = ""

    def read(self, event: Event) -> Item:
        """What is to be shown of it; its number is an earlier one's where it completes that."""
        match event.type:
            case EventType.TOOL_STARTED:
                return self._started(event)
            case EventType.TOOL_FINISHED:
                return self._finished(event)
            case _ if event.type in _BODIES:
                text = text_of(event.data, "text")
                self._last_text = text if event.type is EventType.ENGINE_TEXT else self._last_text
                return _item(event, _BODIES[event.type], body=text)
            case EventType.PHASE_FINISHED:
                return self._answered(event)
            case _:
                return _told(event)

    def _started(self, event: Event) -> Item:
        given = event.data.get("input")
        call = Call(text_of(event.data, "tool") or "A tool", summary(given), blocks(given))
        item = _item(event, ItemKind.TOOL, call=call)
        self._open[text_of(event.data, "id")] = item
        if len(self._open) > MAX_OPEN_CALLS:
            self._open.popitem(last=False)
        return item

    def _finished(self, event: Event) -> Item:
        start = self._open.pop(text_of(event.data, "id"), None)
        seconds = None if start is None else max(0.0, (event.date - start.date).total_seconds())
        result = Result(event.number, _output(event.data.get("output")), event.data.get("isError") is True, seconds)
        if start is None or start.call is None:
            return _item(event, ItemKind.TOOL, call=Call("A tool", "", result=result))
        clipped = start.clipped + _clipped(event)
        return replace(start, call=replace(start.call, result=result), clipped=clipped)

    def _answered(self, event: Event) -> Item:
        """The answer is shown once: most engines have said it just before."""
        told, answer = _told(event), text_of(event.data, "output")
        return told if answer.strip() == self._last_text.strip() else replace(told, body=answer)


def items(trace: Trace, events: Iterable[Event]) -> Sequence[Item]:
    """The items of these events, each once and complete, in order."""
    found: dict[int, Item] = {}
    for event in events:
        item = trace.read(event)
        found[item.number] = item
    return [found[number] for number in sorted(found)]


def text_of_event(event: Event) -> str:
    """All that an event says, as a text of its own."""
    if event.type is EventType.TOOL_FINISHED:
        return _output(event.data.get("output"))
    for name in ("text", "prompt", "failureDetails", "reason"):
        found = event.data.get(name)
        if isinstance(found, str) and found:
            return found
    if event.type is EventType.PHASE_FINISHED and (answer := text_of(event.data, "output")):
        return answer
    return pretty(event.data)


def _told(event: Event) -> Item:
    words = WORDS.get(event.type)
    said = words(event.data) if words is not None else Said(event.type.value, body=pretty(event.data))
    kind = {EventType.STEP_STARTED: ItemKind.STEP, EventType.PHASE_STARTED: ItemKind.PHASE}.get(
        event.type, ItemKind.LINE
    )
    title = said.title
    if kind is ItemKind.PHASE:
        title = f"{event.phase or 'Phase'}{title}"
    elif event.type is EventType.PHASE_FINISHED:
        title = f"{event.phase or 'Phase'} {title}"
    elif event.step is not None and event.type in {EventType.STEP_STARTED, EventType.STEP_FINISHED}:
        title = f"Step {event.step}{title}"
    # A run that ends with a step says why there.
    body = "" if event.type is EventType.RUN_FINISHED and event.step is not None else said.body
    return _item(event, kind, title=title, detail=said.detail, body=body, tone=said.tone, link=said.link)


def _item(
    event: Event,
    kind: ItemKind,
    *,
    title: str = "",
    detail: str = "",
    body: str = "",
    tone: str = "",
    link: tuple[str, str] | None = None,
    call: Call | None = None,
) -> Item:
    return Item(
        number=event.number,
        kind=kind,
        date=event.date,
        step=event.step,
        phase=event.phase,
        title=title,
        detail=detail,
        body=body,
        tone=tone,
        link=link,
        call=call,
        clipped=_clipped(event),
    )


def _clipped(event: Event) -> int:
    found = event.data.get("clipped")
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else 0


def _output(value: JsonValue) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None or (isinstance(value, Mapping) and not value) else pretty(value)
