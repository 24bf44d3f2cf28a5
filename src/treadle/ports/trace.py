"""A port to the events of long runs: how a run went without their contents, and where a text is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from treadle.domain.events import Event, EventType
from treadle.domain.states import Phase


@dataclass(frozen=True, slots=True)
class Mark:
    """An event without its data."""

    number: int
    type: EventType
    date: datetime
    step: int | None
    phase: Phase | None


#: What becomes a mark: where steps and phases begin and end, what Git did, and what held for network and budget.
MARKED: frozenset[EventType] = frozenset(
    {
        EventType.STEP_STARTED,
        EventType.STEP_FINISHED,
        EventType.PHASE_STARTED,
        EventType.PHASE_FINISHED,
        EventType.GIT_COMMITTED,
        EventType.GIT_NOTHING_TO_COMMIT,
        EventType.GIT_PUSHED,
        EventType.RUN_RESUMED,
        EventType.NETWORK_POLICY,
        EventType.BUDGET_PASSED,
    }
)


@dataclass(frozen=True, slots=True)
class FoundEvents:
    """`before`: where to look on, None at the beginning of the run. There may be fewer than asked for, and none, and
    more be left: one call looks at only so many events."""

    events: Sequence[Event]
    before: int | None


class TraceStore(Protocol):
    async def outline(self, run_id: int) -> Sequence[Mark]:
        """The run's marks, oldest first."""

    async def find_events(self, run_id: int, text: str, *, before: int, limit: int) -> FoundEvents:
        """Those numbered below `before` whose data as JSON hold the text, however ASCII letters are capitalized; the
        newest first."""
