"""A run's log in pages: what `ports.RunStore.log` promises, on each database."""

import pytest
from tests.support.stores import NOW, World, a_draft, later, said, started

from treadle.domain.events import Draft, Event, EventType
from treadle.domain.states import Phase, RunStatus, StepStatus
from treadle.ports import Fence, StepUpdate

pytestmark = pytest.mark.anyio


def tool(kind: EventType, id_: str, **data: str | bool | dict[str, str]) -> Draft:
    return Draft(kind, {"id": id_, **data}, 1, Phase.IMPLEMENTATION)


async def talkative(world: World, calls: int = 3) -> Fence:
    run, fence = await world.claimed(a_draft("one"))
    await world.store.record(fence, [started(1)], NOW, step=StepUpdate(1, StepStatus.RUNNING))
    drafts = [said("I look around."), Draft(EventType.PHASE_STARTED, {"prompt": "…"}, 1)]
    drafts += [
        tool(EventType.TOOL_STARTED, f"t{number}", tool="Bash", input={"command": f"ls {number}"})
        for number in range(calls)
    ]
    drafts += [
        tool(EventType.TOOL_FINISHED, f"t{number}", output=f"{number} files", isError=False) for number in range(calls)
    ]
    await world.store.record(fence, drafts, NOW)
    return Fence(run.id, fence.lease)


def texts(events: list[Event]) -> list[object]:
    return [event.data.get("output") or event.data.get("text") for event in events]


async def test_it_tells_what_was_asked_said_and_done(world: World) -> None:
    fence = await talkative(world)
    found, total = await world.store.log(fence.run_id, limit=100)
    types = [event.type for event in found]
    assert types == [EventType.STEP_STARTED, EventType.ENGINE_TEXT, *[EventType.TOOL_FINISHED] * 3]
    assert total == 5
    assert found[-1].data == {
        "id": "t2", "output": "2 files", "isError": False, "tool": "Bash", "input": {"command": "ls 2"},
    }  # fmt: skip


@pytest.mark.parametrize("reverse", [False, True])
async def test_pages_hold_every_entry_once(world: World, reverse: bool) -> None:
    fence = await talkative(world, calls=11)
    whole, total = await world.store.log(fence.run_id, limit=100, reverse=reverse)
    paged = list[Event]()
    for skip in range(0, total, 3):
        page, of = await world.store.log(fence.run_id, limit=3, skip=skip, reverse=reverse)
        assert of == total
        paged += page
    assert paged == whole
    assert [event.number for event in paged] == sorted((event.number for event in paged), reverse=reverse)
    assert await world.store.log(fence.run_id, limit=3, skip=total) == ([], total)


async def test_entries_that_come_stand_behind_the_others(world: World) -> None:
    fence = await talkative(world)
    first, _ = await world.store.log(fence.run_id, limit=4)
    await world.store.record(fence, [said("And more.")], later(1))
    assert (await world.store.log(fence.run_id, limit=4))[0] == first
    rest, total = await world.store.log(fence.run_id, limit=4, skip=4)
    assert (texts(list(rest)), total) == (["2 files", "And more."], 6)


async def test_a_tool_id_that_comes_twice_has_the_start_before_it(world: World) -> None:
    fence = await talkative(world, calls=1)
    again = [
        tool(EventType.TOOL_STARTED, "t0", tool="Read", input={"path": "a"}),
        tool(EventType.TOOL_FINISHED, "t0", output="a text", isError=False),
        tool(EventType.TOOL_FINISHED, "unknown", output="from nowhere", isError=False),
    ]
    await world.store.record(fence, again, NOW)
    found, _ = await world.store.log(fence.run_id, limit=100)
    assert [event.data.get("tool") for event in found[-3:]] == ["Bash", "Read", None]


async def test_a_failure_is_told_once(world: World) -> None:
    fence = await talkative(world)
    await world.store.finish(fence, RunStatus.FAILED, "the model is away", later(5))
    found, _ = await world.store.log(fence.run_id, limit=100)
    assert [event.type for event in found].count(EventType.STEP_FINISHED) == 1
    assert found[-1].type is EventType.STEP_FINISHED
    other, other_fence = await world.claimed()
    await world.store.finish(other_fence, RunStatus.FAILED, "no such repository", later(5))
    alone, total = await world.store.log(other.id, limit=100)
    assert ([event.type for event in alone], total) == ([EventType.RUN_FINISHED], 1)
    good, good_fence = await world.claimed()
    await world.store.finish(good_fence, RunStatus.SUCCESS, None, later(5))
    assert await world.store.log(good.id, limit=100) == ([], 0)
