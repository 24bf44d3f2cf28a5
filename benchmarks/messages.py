"""(i) hints to workers: RabbitMQ beside bare aio-pika with the same guarantees, LISTEN/NOTIFY beside bare psycopg."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aio_pika
import psycopg
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue
from tests.support.postgres import running_postgres
from tests.support.rabbit import running_rabbit

from benchmarks.measure import Row, ratio
from treadle.ports import Queue
from treadle.queues.postgres import open_notifications
from treadle.queues.rabbitmq import open_rabbit
from treadle.queues.rabbitmq.intake import QUEUE, declare
from treadle.queues.rabbitmq.queue import IN_FLIGHT

MESSAGES = 1_000
ROUNDS = 5
#: Single hints to an idle worker, and the pause between them, in seconds.
HINTS = 200
PAUSE = 0.01

Figures = dict[str, list[float]]  # seconds, by what was timed


def rows() -> Iterator[Row]:
    with running_rabbit() as server:
        taken = asyncio.run(_rabbit(server.url(server.vhost()), server.url(server.vhost())))
    for name in ("announcements", "takes"):
        ours, floor = taken[name], taken[f"bare {name}"]
        yield Row(f"RabbitMQ: {name} a second", MESSAGES / statistics.median(ours))
        yield Row(f"RabbitMQ: {name} a second, bare aio-pika", MESSAGES / statistics.median(floor))
        yield Row(f"RabbitMQ: time for {name}, ratio", ratio(ours, floor))
    yield from _latencies("RabbitMQ", taken["latency"], taken["bare latency"], "bare aio-pika")
    with running_postgres() as postgres:
        waited = asyncio.run(_postgres(postgres.database()))
    yield from _latencies("LISTEN/NOTIFY", waited["latency"], waited["bare latency"], "bare psycopg")


def _latencies(name: str, ours: Sequence[float], floor: Sequence[float], bare: str) -> Iterator[Row]:
    for percent in (50, 99):
        for who, values in (("", ours), (f", {bare}", floor)):
            value = statistics.quantiles(values, n=100)[percent - 1]
            yield Row(f"{name}: announced to taken, idle, p{percent}{who}", value * 1000, "ms")


async def _rabbit(url: str, bare_url: str) -> Figures:
    taken: Figures = {}
    async with (
        open_rabbit(url, jitter=float) as api,
        open_rabbit(url, jitter=float) as worker,
        _bare(bare_url) as sender,
        _bare(bare_url) as receiver,
    ):
        for round_number in range(ROUNDS + 1):
            figures = {
                "announcements": await _timed(lambda: _announce(api.queue)),
                "bare announcements": await _timed(sender.publish_all),
                "takes": await _timed(lambda: _take(worker.queue)),
                "bare takes": await _timed(receiver.get_all),
            }
            if round_number:  # the first warms up
                for name, seconds in figures.items():
                    taken.setdefault(name, []).append(seconds)
        taken["latency"], taken["bare latency"] = await _in_turns(
            lambda waiting: _hint(api.queue, worker.queue, waiting),
            lambda waiting: _bare_hint(sender, receiver, waiting),
        )
    return taken


async def _postgres(url: str) -> Figures:
    async with (
        open_notifications(url, jitter=float) as api,
        open_notifications(url, jitter=float) as worker,
        await psycopg.AsyncConnection.connect(url, autocommit=True) as notifying,
        await psycopg.AsyncConnection.connect(url, autocommit=True) as listening,
    ):
        await listening.execute("LISTEN bare")

        async def hear(waiting: asyncio.Event) -> None:
            waiting.set()
            async for _ in listening.notifies(stop_after=1):
                pass

        async def bare(waiting: asyncio.Event) -> float:
            hearing = asyncio.create_task(hear(waiting))
            await _ready(waiting)
            began = time.perf_counter()
            await notifying.execute("SELECT pg_notify('bare', '1')")
            await hearing
            return time.perf_counter() - began

        ours, floor = await _in_turns(lambda waiting: _hint(api.queue, worker.queue, waiting), bare)
    return {"latency": ours, "bare latency": floor}


async def _timed(action: Callable[[], Awaitable[None]]) -> float:
    began = time.perf_counter()
    await action()
    return time.perf_counter() - began


async def _in_turns(*actions: Callable[[asyncio.Event], Awaitable[float]]) -> list[list[float]]:
    taken: list[list[float]] = [[] for _ in actions]
    for _ in range(HINTS):
        for values, action in zip(taken, actions, strict=True):
            values.append(await action(asyncio.Event()))
    return taken


async def _ready(waiting: asyncio.Event) -> None:
    """The taker has asked its server by then: an idle worker has been waiting for a while when a hint comes."""
    await waiting.wait()
    await asyncio.sleep(PAUSE)


# ---- ours


async def _announce(queue: Queue) -> None:
    """All are confirmed at the end."""
    for start in range(0, MESSAGES, 500):
        for run_id in range(start + 1, start + 501):
            await queue.announce(run_id)
        await queue.outbox.flush(60)  # type: ignore[attr-defined]  # the port has no need of it


async def _take(queue: Queue) -> None:
    for _ in range(MESSAGES):
        hint = await queue.take(60)
        assert hint is not None
        await hint.settle()


async def _hint(sending: Queue, taking: Queue, waiting: asyncio.Event) -> float:
    task = asyncio.create_task(taking.take(60))
    waiting.set()
    await _ready(waiting)
    began = time.perf_counter()
    await sending.announce(1)
    hint = await task
    taken = time.perf_counter() - began
    assert hint is not None
    await hint.settle()
    return taken


# ---- the floor


@dataclass(frozen=True)
class _Bare:
    """aio-pika as its manual has it: persistent messages, confirmed and mandatory, 64 under way; taken one by one and
    acknowledged."""

    channel: AbstractChannel
    queue: AbstractQueue

    async def publish_all(self) -> None:
        for start in range(0, MESSAGES, IN_FLIGHT):
            await asyncio.gather(*(self.publish() for _ in range(min(IN_FLIGHT, MESSAGES - start))))

    async def publish(self) -> None:
        message = aio_pika.Message(b"1", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await self.channel.default_exchange.publish(message, QUEUE, mandatory=True)

    async def get_all(self) -> None:
        for _ in range(MESSAGES):
            message = await self.queue.get()
            assert message is not None
            await message.ack()


async def _bare_hint(sender: _Bare, receiver: _Bare, waiting: asyncio.Event) -> float:
    """With a consumer for this one message only, as ours."""
    arrived: asyncio.Future[AbstractIncomingMessage] = asyncio.get_running_loop().create_future()

    async def on_message(message: AbstractIncomingMessage) -> None:
        arrived.set_result(message)

    tag = await receiver.queue.consume(on_message)
    waiting.set()
    await _ready(waiting)
    began = time.perf_counter()
    publishing = asyncio.create_task(sender.publish())
    message = await arrived
    taken = time.perf_counter() - began
    await publishing
    await receiver.queue.cancel(tag)
    await message.ack()
    return taken


@asynccontextmanager
async def _bare(url: str) -> AsyncIterator[_Bare]:
    connection = await aio_pika.connect(url)
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=1)
        yield _Bare(channel, await declare(channel))
