"""The queue at the broker: how it is made, and how one message is taken from it."""

import asyncio

from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

from treadle.queues.rabbitmq.address import TROUBLE, describe
from treadle.queues.rabbitmq.link import Session
from treadle.queues.rabbitmq.races import first

QUEUE = "treadle.runs"
DEAD_EXCHANGE = "treadle.dead"
DEAD_QUEUE = "treadle.runs.dead"

#: Messages that the broker keeps; more are refused. Each is a hint to look for work, so there need be no more than
#: there are slots in the whole installation; and workers that come back to many old ones are soon through them.
MAX_MESSAGES = 2_000

#: A message that came back so often goes to the dead letters: perhaps whoever takes it dies of it.
MAX_DELIVERIES = 20

#: Dead letters that are kept for somebody to look at, the newest.
MAX_DEAD = 10_000

#: For one question to the broker.
ANSWER_SECONDS = 5.0


async def declare(channel: AbstractChannel) -> AbstractQueue:
    """Makes the queues where they are not there yet. These properties can never be changed under the same names: a
    version that wants others has to use others."""
    exchange = await channel.declare_exchange(DEAD_EXCHANGE, ExchangeType.FANOUT, durable=True)
    dead = await channel.declare_queue(
        DEAD_QUEUE, durable=True, arguments={"x-queue-type": "quorum", "x-max-length": MAX_DEAD}
    )
    await dead.bind(exchange)
    return await channel.declare_queue(
        QUEUE,
        durable=True,
        arguments={
            "x-queue-type": "quorum",
            "x-delivery-limit": MAX_DELIVERIES,
            "x-dead-letter-exchange": DEAD_EXCHANGE,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
            "x-max-length": MAX_MESSAGES,
        },
    )


class Intake:
    """Takes from the queue while a session lasts. Its methods are not to be cancelled: the library closes a channel on
    which a question is broken off."""

    def __init__(self, session: Session, channel: AbstractChannel, queue: AbstractQueue) -> None:
        """`channel` has a prefetch of one message a consumer."""
        self.session = session
        self._channel = channel
        self._queue = queue
        self._has_more = False  # as far as is known

    async def next(self, deadline: float, leave: asyncio.Event) -> AbstractIncomingMessage | None:
        """One message, to be settled or given back; None at the deadline (of the loop's clock), when asked to leave,
        and when the session has ended."""
        now = asyncio.get_running_loop().time()
        try:
            if self._has_more or deadline <= now:
                # A question and an answer, where there is something; a consumer takes two and then waits.
                message = await self._queue.get(fail=False, timeout=ANSWER_SECONDS)
                self._has_more = message is not None
                if message is not None or deadline <= now:
                    return message
            return await self._consume(deadline, leave)
        except (*TROUBLE, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # the loop is ending; else it is the library's way to say that the connection is lost
            self.session.fail(describe(error))
            return None

    async def ask(self) -> None:
        """Raises whatever the library does unless the broker answers."""
        await self._channel.declare_queue(QUEUE, passive=True, timeout=ANSWER_SECONDS)

    async def _consume(self, deadline: float, leave: asyncio.Event) -> AbstractIncomingMessage | None:
        arrived: asyncio.Future[AbstractIncomingMessage] = asyncio.get_running_loop().create_future()

        async def on_message(message: AbstractIncomingMessage) -> None:
            if arrived.done():
                await message.nack(requeue=True)
            else:
                arrived.set_result(message)

        tag = await self._queue.consume(on_message, timeout=ANSWER_SECONDS)
        await first(deadline, arrived, leave.wait(), self.session.ended.wait())
        if arrived.done():
            # No need to wait for the answer: until the message is settled, on this channel and so after this, the
            # broker sends this consumer nothing.
            await self._queue.cancel(tag, timeout=ANSWER_SECONDS, nowait=True)
        else:
            await self._queue.cancel(tag, timeout=ANSWER_SECONDS)
        self._has_more = arrived.done()
        if arrived.done():
            return arrived.result()
        arrived.cancel()
        return None
