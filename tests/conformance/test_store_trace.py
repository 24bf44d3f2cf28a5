"""Reads of long traces: what `ports.trace.TraceStore` promises, on each database."""

import pytest
from tests.support.stores import NOW, World, a_draft, later, said, started

from treadle.domain.events import Draft, EventType
from treadle.domain.states import Phase, StepStatus
from treadle.ports import Fence, StepUpdate
from treadle.ports.trace import Mark
from treadle.store import run_trace

pytestmark = pytest.mark.anyio


async def running(world: World) -> Fence:
    _, fence = await world.claimed(a_draft("one"))  # two events
    await world.store.record(fence, [started(1)], NOW, step=StepUpdate(1, StepStatus.RUNNING))
    return fence


async def test_the_outline_leaves_out_what_was_said_and_done(world: World) -> None:
    fence = await running(world)
    drafts = [
        Draft(EventType.PHASE_STARTED, {"prompt": "Look"}, 1, Phase.ANALYSIS),
        said("I look."),
        Draft(EventType.PHASE_FINISHED, {"output": "Seen"}, 1, Phase.ANALYSIS),
    ]
    await world.store.record(fence, drafts, later(5))
    marks = await world.store.outline(fence.run_id)
    assert marks == [
        Mark(3, EventType.STEP_STARTED, NOW, 1, Phase.ANALYSIS),
        Mark(4, EventType.PHASE_STARTED, later(5), 1, Phase.ANALYSIS),
        Mark(6, EventType.PHASE_FINISHED, later(5), 1, Phase.ANALYSIS),
    ]
    assert await world.store.outline(fence.run_id + 1) == []


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("needle", [6, 4]),
        ("NEEDLE", [6, 4]),
        ("50% _of", [5]),
        ('"quoted"', [7]),
        ("naïve", [7]),
        ("two\nlines", [7]),
        ("%", [5]),
        ("nothing like it", []),
    ],
)
async def test_texts_are_found_as_they_are_written(world: World, text: str, numbers: list[int]) -> None:
    fence = await running(world)
    texts = ["a Needle", "50% _of it", "needle again", 'a "quoted" naïve\ntwo\nlines']
    await world.store.record(fence, [said(each) for each in texts], NOW)
    found = await world.store.find_events(fence.run_id, text, before=100, limit=10)
    assert [event.number for event in found.events] == numbers
    assert found.before is None


async def test_a_search_is_carried_on_where_it_stopped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fence = await running(world)
    await world.store.record(fence, [said(f"line {number}") for number in range(20)], NOW)  # 4 to 23
    first = await world.store.find_events(fence.run_id, "line", before=24, limit=3)
    assert ([event.number for event in first.events], first.before) == ([23, 22, 21], 21)
    monkeypatch.setattr(run_trace, "MAX_SEARCHED_EVENTS", 10)
    second = await world.store.find_events(fence.run_id, "line 0", before=21, limit=3)
    assert (second.events, second.before) == ([], 11)
    third = await world.store.find_events(fence.run_id, "line 0", before=11, limit=3)
    assert ([event.number for event in third.events], third.before) == ([4], None)
