"""What every adapter of the Queue port must do. `LONG` is a deadline that is never meant to be reached.

A hint without a run stands for all of them: an adapter gives it where it may have missed some.
"""

import asyncio
from collections.abc import Iterable

import pytest
from tests.support.messages import Installation, Messages
from tests.support.rabbit import RabbitServer

from treadle.domain.errors import Unavailable
from treadle.ports import Announcement, Queue
from treadle.queues.database import DatabaseQueue
from treadle.queues.pending import MAX_PENDING

pytestmark = pytest.mark.anyio

LONG = 120.0

#: For thousands of calls that must not wait for the server: generous, since the machine may be busy, and far below what
#: they took if each waited.
SOON = 60.0


@pytest.fixture
def queue(messages: Messages) -> Queue:
    return messages.queue


async def taken(queue: Queue, seconds: float = LONG) -> int | None:
    """The next hint's run, settled as a worker does."""
    hint = await queue.take(seconds)
    assert hint is not None
    await hint.settle()
    return hint.run_id


async def hear(queue: Queue, runs: set[int], seen: set[int]) -> None:
    """Takes and settles until `seen`, which others may fill too, has all of the runs."""
    while not runs <= seen:
        hint = await queue.take(0.1)
        if hint is not None:
            seen |= runs if hint.run_id is None else {hint.run_id}
            await hint.settle()


async def announce(queue: Queue, runs: Iterable[int]) -> None:
    for run_id in runs:
        await queue.announce(run_id)
        await asyncio.sleep(0)


async def until_waiting(*tasks: "asyncio.Task[Announcement | None]") -> None:
    """Lets the tasks run until they can do no more by themselves."""
    for _ in range(20):
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)


async def until_unavailable(queue: Queue) -> None:
    """Until the adapter has noticed that its server is away."""
    async with asyncio.timeout(LONG):
        while True:
            try:
                await queue.check()
            except Unavailable:
                return
            await asyncio.sleep(0.05)


async def until_available(queue: Queue) -> None:
    async with asyncio.timeout(LONG):
        while True:
            try:
                return await queue.check()
            except Unavailable:
                await asyncio.sleep(0.05)


# ---- one process


async def test_what_was_announced_is_taken_in_order(queue: Queue) -> None:
    for number in (3, 1, 2):
        await queue.announce(number)
    assert [await taken(queue) for _ in range(3)] == [3, 1, 2]


async def test_nothing_announced_is_none_after_the_time(queue: Queue) -> None:
    assert await queue.take(0.01) is None
    assert await queue.take(0) is None


async def test_what_is_there_already_needs_no_time(queue: Queue) -> None:
    await queue.announce(1)
    async with asyncio.timeout(LONG):
        while (hint := await queue.take(0)) is None:
            pass
    assert hint.run_id == 1


async def test_an_announcement_wakes_a_taker(queue: Queue) -> None:
    taking = asyncio.create_task(queue.take(LONG))
    await until_waiting(taking)
    await queue.announce(7)
    hint = await taking
    assert hint is not None
    assert hint.run_id == 7


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
    assert {hint.run_id for task in done if (hint := task.result()) is not None} == {1, 2}
    await until_waiting(*waiting)
    await queue.announce(3)
    (last,) = await asyncio.gather(*waiting)
    assert last is not None
    assert last.run_id == 3


async def test_a_cancelled_taker_loses_nothing(queue: Queue) -> None:
    taking = asyncio.create_task(queue.take(LONG))
    await until_waiting(taking)
    await queue.announce(5)
    taking.cancel()
    (result,) = await asyncio.gather(taking, return_exceptions=True)
    if isinstance(result, BaseException):
        assert await taken(queue) == 5
    else:
        assert result is not None
        assert result.run_id == 5


@pytest.mark.parametrize("rounds", [0, 1, 2, 5, 20, 100, 500])
async def test_a_taker_cancelled_at_any_moment_loses_nothing(queue: Queue, rounds: int) -> None:
    await queue.announce(5)
    taking = asyncio.create_task(queue.take(LONG))
    for _ in range(rounds):
        await asyncio.sleep(0)
    taking.cancel()
    (result,) = await asyncio.gather(taking, return_exceptions=True)
    if isinstance(result, BaseException):
        assert await taken(queue) == 5
    else:
        assert result is not None
        assert result.run_id == 5


async def test_settling_is_harmless(queue: Queue) -> None:
    await queue.announce(1)
    hint = await queue.take(LONG)
    assert hint is not None
    await hint.settle()
    await hint.settle()
    assert await queue.take(0.01) is None


async def test_a_run_may_be_announced_again(queue: Queue) -> None:
    for _ in range(2):
        await queue.announce(1)
        assert await taken(queue) == 1


async def test_many_producers_and_takers_see_everything(queue: Queue) -> None:
    runs, seen = set(range(1, 151)), set[int]()
    async with asyncio.timeout(LONG):
        await asyncio.gather(
            *(announce(queue, range(start, start + 50)) for start in (1, 51, 101)),
            *(hear(queue, runs, seen) for _ in range(3)),
        )
    assert seen == runs


async def test_closing_lets_the_takers_go(queue: Queue) -> None:
    taking = asyncio.create_task(queue.take(LONG))
    await until_waiting(taking)
    await queue.close()
    async with asyncio.timeout(LONG / 2):
        assert await taking is None
        await queue.announce(1)
        assert await queue.take(LONG) is None


async def test_it_is_available(queue: Queue) -> None:
    await queue.check()


# ---- several processes


async def test_a_worker_hears_what_another_process_announced(shared_installation: Installation) -> None:
    api, worker = await shared_installation.process(), await shared_installation.process()
    taking = asyncio.create_task(taken(worker.queue))
    await api.queue.announce(9)
    assert await taking == 9


async def test_each_announcement_is_heard_by_some_worker(shared_installation: Installation) -> None:
    apis = [await shared_installation.process() for _ in range(2)]
    workers = [await shared_installation.process() for _ in range(2)]
    runs, seen = set(range(1, 1001)), set[int]()
    async with asyncio.timeout(LONG):
        await asyncio.gather(
            *(announce(api.queue, range(start, start + 250)) for start in (1, 251) for api in apis[:1]),
            *(announce(api.queue, range(start, start + 250)) for start in (501, 751) for api in apis[1:]),
            *(hear(worker.queue, runs, seen) for worker in workers),
        )
    assert seen == runs


async def test_a_worker_without_a_free_slot_leaves_messages_to_others(shared_installation: Installation) -> None:
    api, busy, idle = [await shared_installation.process() for _ in range(3)]
    await api.queue.announce(1)
    assert await taken(busy.queue) == 1  # now it runs it, and takes nothing
    for process in (busy, idle):  # nor is anything left of a take that found nothing
        while await process.queue.take(0.05) is not None:
            pass
    runs = set(range(2, 22))
    await announce(api.queue, runs)
    async with asyncio.timeout(LONG):
        await hear(idle.queue, runs, set())


async def test_it_is_unavailable_while_the_server_is_away(shared_installation: Installation) -> None:
    with shared_installation.link() as link:
        queue = (await shared_installation.process_behind(link)).queue
        await queue.check()
        link.cut()
        await until_unavailable(queue)
        link.heal()
        await until_available(queue)


async def test_while_the_server_is_away_nobody_waits_for_it(shared_installation: Installation) -> None:
    loop = asyncio.get_running_loop()
    with shared_installation.link() as link:
        queue = (await shared_installation.process_behind(link)).queue
        link.cut()
        await until_unavailable(queue)
        began = loop.time()
        await announce(queue, range(1, 2001))
        assert loop.time() - began < SOON
        began = loop.time()
        while await queue.take(0.05) is not None:  # what it announced itself, where it knows
            pass
        assert await queue.take(0.2) is None
        assert loop.time() - began < SOON


async def test_after_the_link_was_cut_all_goes_on(shared_installation: Installation) -> None:
    with shared_installation.link() as link:
        api, worker = await shared_installation.process(), await shared_installation.process_behind(link)
        taking = asyncio.create_task(worker.queue.take(LONG))
        await until_waiting(taking)
        link.cut()
        await until_unavailable(worker.queue)
        await api.queue.announce(4)
        link.heal()
        async with asyncio.timeout(LONG):
            assert await taking is not None  # it looks for what it may have missed
            await until_available(worker.queue)
            await api.queue.announce(5)
            await hear(worker.queue, {5}, set())


async def test_what_was_announced_while_the_server_was_away_is_heard(shared_installation: Installation) -> None:
    with shared_installation.link() as link:
        api, worker = await shared_installation.process_behind(link), await shared_installation.process()
        link.cut()
        await until_unavailable(api.queue)
        await announce(api.queue, {1, 2, 3})
        link.heal()
        async with asyncio.timeout(LONG):
            await hear(worker.queue, {1, 2, 3}, set())


async def test_a_link_into_a_black_hole_is_noticed(shared_installation: Installation) -> None:
    with shared_installation.link() as link:
        queue = (await shared_installation.process_behind(link)).queue
        before = link.connections
        link.hang()
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.timeout(LONG):
            while link.connections <= before:  # it tries another one
                await queue.announce(1)
                await asyncio.sleep(0.1)
        assert loop.time() - began < LONG  # some 20 seconds, and a busy machine
        link.heal()
        await until_available(queue)


async def test_the_end_waits_for_no_dead_link(shared_installation: Installation) -> None:
    loop = asyncio.get_running_loop()
    with shared_installation.link() as link:
        async with shared_installation.opened(link) as process:
            taking = asyncio.create_task(process.queue.take(LONG))
            await until_waiting(taking)
            link.hang()
            await announce(process.queue, range(1, 100))
            process.signals.notify(1)
            await asyncio.sleep(0.05)
            began = loop.time()
        assert loop.time() - began < LONG / 2
        assert await taking is None or shared_installation.name == "postgres"  # whose own takers hear at once


async def test_the_server_may_die_and_come_back(frail_installation: Installation) -> None:
    api, worker = await frail_installation.process(), await frail_installation.process()
    server = frail_installation.server
    assert server is not None
    await api.queue.announce(1)
    assert await taken(worker.queue) == 1
    if isinstance(server, RabbitServer):
        server.sync()
    await asyncio.to_thread(server.kill9)
    await until_unavailable(api.queue)
    await api.queue.announce(2)
    await asyncio.to_thread(server.start)
    async with asyncio.timeout(LONG):
        await until_available(api.queue)
        await until_available(worker.queue)
        await api.queue.announce(3)
        await hear(worker.queue, {2, 3}, set())
        await api.queue.announce(4)
        await hear(worker.queue, {4}, set())


# ---- of one adapter


async def test_the_database_queue_takes_duplicates_once() -> None:
    queue = DatabaseQueue()
    await queue.announce(1)
    await queue.announce(1)
    assert await taken(queue) == 1
    assert await queue.take(0) is None


async def test_the_database_queue_is_bounded_where_nobody_takes() -> None:
    queue = DatabaseQueue()
    for number in range(1, MAX_PENDING + 2):
        await queue.announce(number)
    assert await taken(queue) is None  # look for any
    assert await queue.take(0) is None
