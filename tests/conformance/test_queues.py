"""What every adapter of the Queue port must do. `LONG` is a deadline that is never meant to be reached."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from treadle.ports import Announcement, Queue
from treadle.queues.database import MAX_PENDING, DatabaseQueue

pytestmark = pytest.mark.anyio

LONG = 30.0


@pytest.fixture(params=["database"])
async def queue(request: pytest.FixtureRequest) -> AsyncIterator[Queue]:
    adapters = {"database": DatabaseQueue}
    made: Queue = adapters[request.param]()
    yield made
    await made.close()


def run_id(announcement: Announcement | None) -> int | None:
    assert announcement is not None
    return announcement.run_id


async def until_waiting(*tasks: asyncio.Task[Announcement | None]) -> None:
    """Lets the tasks run until they can do no more by themselves."""
    for _ in range(20):
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)


async def test_what_was_announced_is_taken_in_order(queue: Queue) -> None:
    for number in (3, 1, 2):
        await queue.announce(number)
    assert [run_id(await queue.take(LONG)) for _ in range(3)] == [3, 1, 2]


async def test_nothing_announced_is_none_after_the_time(queue: Queue) -> None:
    assert await queue.take(0.01) is None
    assert await queue.take(0) is None


async def test_what_is_there_already_needs_no_time(queue: Queue) -> None:
    await queue.announce(1)
    assert run_id(await queue.take(0)) == 1


async def test_an_announcement_wakes_a_taker(queue: Queue) -> None:
    taking = asyncio.create_task(queue.take(LONG))
    await until_waiting(taking)
    await queue.announce(7)
    assert run_id(await asyncio.wait_for(taking, LONG)) == 7


async def test_each_announcement_wakes_one_taker(queue: Queue) -> None:
    taking = [asyncio.create_task(queue.take(LONG)) for _ in range(3)]
    await until_waiting(*taking)
    await queue.announce(1)
    await queue.announce(2)
    done: set[asyncio.Task[Announcement | None]] = set()
    waiting = set(taking)
    while len(done) < 2:
        new, waiting = await asyncio.wait(waiting, timeout=LONG, return_when=asyncio.FIRST_COMPLETED)
        assert new
        done |= new
    assert {run_id(task.result()) for task in done} == {1, 2}
    await until_waiting(*waiting)
    await queue.announce(3)
    assert [run_id(await asyncio.wait_for(task, LONG)) for task in waiting] == [3]


async def test_a_cancelled_taker_loses_nothing(queue: Queue) -> None:
    taking = asyncio.create_task(queue.take(LONG))
    await until_waiting(taking)
    await queue.announce(5)
    taking.cancel()
    (result,) = await asyncio.gather(taking, return_exceptions=True)
    if isinstance(result, BaseException):
        assert run_id(await queue.take(LONG)) == 5
    else:
        assert run_id(result) == 5


async def test_settling_is_harmless(queue: Queue) -> None:
    await queue.announce(1)
    announcement = await queue.take(LONG)
    assert announcement is not None
    await announcement.settle()
    assert await queue.take(0.01) is None


async def test_a_run_may_be_announced_again(queue: Queue) -> None:
    for _ in range(2):
        await queue.announce(1)
        assert run_id(await queue.take(LONG)) == 1


async def test_many_producers_and_takers_see_everything(queue: Queue) -> None:
    async def produce(start: int) -> None:
        for number in range(start, start + 50):
            await queue.announce(number)
            await asyncio.sleep(0)

    async def consume() -> list[int | None]:
        return [run_id(await queue.take(LONG)) for _ in range(50)]

    *_, one, two, three = await asyncio.gather(
        *(produce(start) for start in (0, 50, 100)), consume(), consume(), consume()
    )
    assert sorted(one + two + three) == list(range(150))  # type: ignore[operator]  # gather's overloads end at six


async def test_the_database_queue_takes_duplicates_once() -> None:
    queue = DatabaseQueue()
    await queue.announce(1)
    await queue.announce(1)
    assert run_id(await queue.take(0)) == 1
    assert await queue.take(0) is None


async def test_the_database_queue_is_bounded_where_nobody_takes() -> None:
    queue = DatabaseQueue()
    for number in range(MAX_PENDING + 5):
        await queue.announce(number)
    assert run_id(await queue.take(0)) == 5


async def test_closing_the_database_queue_lets_its_takers_go() -> None:
    queue = DatabaseQueue()
    taking = asyncio.create_task(queue.take(LONG))
    await until_waiting(taking)
    await queue.close()
    assert await asyncio.wait_for(taking, LONG) is None
