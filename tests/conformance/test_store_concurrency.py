"""Many at once, in tasks and in processes, on each database."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.stores import NOW, World, open_world, said

from treadle.domain.events import EventType
from treadle.domain.states import RunStatus, StepStatus
from treadle.ports import Fence, StepUpdate
from treadle.store.sql import SqlStore

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
RUNS = 200


def claimer(url: str, name: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.claimer", url, name],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def await_ready(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


def finish(process: "subprocess.Popen[str]") -> list[int]:
    output, _ = process.communicate("go\n", timeout=120)
    assert process.returncode == 0
    claimed: list[int] = json.loads(output)
    return claimed


async def test_each_run_is_claimed_once_by_tasks_and_processes(world: World) -> None:
    made = [run.id for run in await asyncio.gather(*(world.run() for _ in range(RUNS)))]
    processes = [claimer(world.url, f"process{number}") for number in range(2)]
    try:
        for process in processes:
            await asyncio.to_thread(await_ready, process)
        claimed = await asyncio.gather(*(asyncio.to_thread(finish, process) for process in processes))
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert sorted(run_id for one in claimed for run_id in one) == sorted(made)
    for run_id in made:
        assert await world.types(run_id) == [EventType.RUN_CREATED, EventType.RUN_STARTED, EventType.RUN_FINISHED]
        assert (await world.store.get_run_by_id(run_id)).lease == 1


async def test_each_run_is_claimed_once_by_stores_in_one_process(world: World) -> None:
    made = sorted(run.id for run in await asyncio.gather(*(world.run() for _ in range(RUNS))))
    other = await SqlStore.open(world.url)
    claimed: list[int] = []

    async def work(store: SqlStore) -> None:
        while (run := await store.claim("worker", NOW)) is not None:
            claimed.append(run.id)

    try:
        await asyncio.gather(*(work(store) for store in [world.store, other] * 4))
    finally:
        await other.close()
    assert sorted(claimed) == made


async def test_one_run_is_won_once(world: World) -> None:
    run = await world.run()
    answers = await asyncio.gather(*(world.store.claim("worker", NOW, run_id=run.id) for _ in range(50)))
    assert len([answer for answer in answers if answer is not None]) == 1


async def test_what_many_record_on_one_run_is_numbered_without_a_gap(world: World) -> None:
    run, fence = await world.claimed()
    other = await SqlStore.open(world.url)
    try:
        numbers = await asyncio.gather(
            *((world.store, other)[number % 2].record(fence, [said(str(number))], NOW) for number in range(400))
        )
    finally:
        await other.close()
    assert sorted(numbers) == list(range(3, 403))
    events = await world.told(run.id)
    assert [event.number for event in events] == list(range(1, 403))
    by_number = {event.number: event.data.get("text") for event in events}
    assert all(by_number[number] == str(index) for index, number in enumerate(numbers))


async def test_of_a_kill_and_an_ending_at_once_the_run_ends_once(world: World) -> None:
    for _ in range(20):
        run, fence = await world.claimed()
        await asyncio.gather(
            world.store.request_kill(run.id, NOW),
            world.store.finish(fence, RunStatus.SUCCESS, None, NOW),
            world.store.release(fence, NOW),
            world.store.sweep(NOW, lease_seconds=0.001, kill_seconds=0.001, max_lost_workers=1),
            return_exceptions=True,
        )
        events = await world.told(run.id)
        ended = await world.store.get_run_by_id(run.id)
        assert [event.number for event in events] == list(range(1, len(events) + 1))
        finished = [event for event in events if event.type is EventType.RUN_FINISHED]
        if ended.is_finished:
            assert finished == [events[-1]]
            assert finished[0].data["status"] == ended.status
        else:
            assert finished == []


async def test_a_write_whose_caller_is_cancelled_is_whole(world: World) -> None:
    run, fence = await world.claimed()
    tasks = [
        asyncio.create_task(
            world.store.record(fence, [said(str(number)), said("again")], NOW, step=StepUpdate(1, StepStatus.RUNNING))
        )
        for number in range(50)
    ]
    await asyncio.sleep(0)  # all submitted, none answered
    for task in tasks[::2]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(answer, asyncio.CancelledError) for answer in answers) == 25
    await world.store.close()  # which waits for what was submitted
    again = await SqlStore.open(world.url)
    try:
        texts = [event.data["text"] for event in (await again.events(run.id))[2:]]
    finally:
        await again.close()
    assert texts[1::2] == ["again"] * 50  # each with its second half
    assert sorted(map(str, texts[::2])) == sorted(str(number) for number in range(50))


async def test_what_fails_takes_nothing_of_its_neighbours_along(world: World) -> None:
    run, fence = await world.claimed()
    good = [world.store.record(fence, [said("good")], NOW) for _ in range(20)]
    bad = [world.store.record(Fence(run.id, 9), [said("bad")], NOW) for _ in range(20)]
    mixed = [one for pair in zip(good, bad, strict=True) for one in pair]
    answers = await asyncio.gather(*mixed, return_exceptions=True)
    assert sorted(answer for answer in answers if isinstance(answer, int)) == list(range(3, 23))
    assert [event.data["text"] for event in (await world.told(run.id))[2:]] == ["good"] * 20


async def test_an_empty_database_may_be_opened_by_many_at_once(database_url: str) -> None:
    processes = [claimer(database_url, "nobody") for _ in range(3)]
    try:
        for process in processes:
            await asyncio.to_thread(await_ready, process)
        assert [await asyncio.to_thread(finish, process) for process in processes] == [[], [], []]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    async with open_world(database_url) as world:
        await world.store.check()
        await world.run()


async def test_a_closed_store_has_written_what_it_was_given(database_url: str) -> None:
    async with open_world(database_url) as world:
        waiting = [asyncio.create_task(world.run()) for _ in range(30)]
        await asyncio.sleep(0)
        await world.store.close()
        made = await asyncio.gather(*waiting)
        again = await SqlStore.open(database_url)
        try:
            assert {run.id for run in await again.list_runs(world.mine, limit=100)} == {run.id for run in made}
        finally:
            await again.close()
