"""`RabbitSignals`: one exchange that tells every process, and a queue of each process that goes with it."""

import asyncio
import re
from contextlib import AbstractAsyncContextManager

from aio_pika import DeliveryMode, ExchangeType, Message
from aio_pika.abc import AbstractExchange, AbstractIncomingMessage

from treadle.queues.outbox import Outbox
from treadle.queues.rabbitmq.intake import ANSWER_SECONDS
from treadle.queues.rabbitmq.link import Session
from treadle.queues.subscriptions import FlagSubscription, Subscriptions

#: After a message, what comes in this time goes together into the next: a busy run writes many events.
GATHER_SECONDS = 0.005

#: Runs in one message.
MAX_RUNS = 500

#: Runs of which others are to be told and cannot be yet, in this process.
MAX_UNSENT = 10_000

#: Messages that the broker keeps for a process that does not read them; then the oldest go.
MAX_MESSAGES = 1_000

_RUN_IDS = re.compile(rb"[1-9][0-9]{0,18}(,[1-9][0-9]{0,18})*")


class RabbitSignals:
    """The Signals port. Its own subscribers it tells by itself, whatever state the broker is in."""

    def __init__(self, exchange: str) -> None:
        self.outbox = Outbox(MAX_UNSENT)
        self._exchange = exchange
        self._subscriptions = Subscriptions()
        self._was_lost = False

    def notify(self, run_id: int) -> None:
        self._subscriptions.raise_flags(run_id)
        self.outbox.add(run_id)

    def subscribe(self, run_id: int) -> AbstractAsyncContextManager[FlagSubscription]:
        return self._subscriptions.subscribe(run_id)

    async def attach(self, session: Session) -> None:
        channel = await session.channel(confirms=False)
        exchange = await channel.declare_exchange(self._exchange, ExchangeType.FANOUT, durable=True)
        queue = await channel.declare_queue(exclusive=True, auto_delete=True, arguments={"x-max-length": MAX_MESSAGES})
        await queue.bind(exchange)
        mine = queue.name  # the broker made it: no other process has it

        async def hear(message: AbstractIncomingMessage) -> None:
            if message.app_id != mine and _RUN_IDS.fullmatch(message.body):
                for run_id in message.body.split(b","):
                    self._subscriptions.raise_flags(int(run_id))

        await queue.consume(hear, no_ack=True)
        session.start(self._send(exchange, mine))
        if self._was_lost:
            self._was_lost = False
            self._subscriptions.raise_all()

    def detach(self, _reason: str) -> None:
        self._was_lost = True

    async def _send(self, exchange: AbstractExchange, mine: str) -> None:
        while True:
            await self.outbox.wait()
            run_ids = self.outbox.take(MAX_RUNS)
            message = Message(
                ",".join(map(str, run_ids)).encode(), app_id=mine, delivery_mode=DeliveryMode.NOT_PERSISTENT
            )
            try:
                await exchange.publish(message, routing_key="", mandatory=False, timeout=ANSWER_SECONDS)
            except BaseException:
                self.outbox.restore(run_ids)
                raise
            self.outbox.settled(len(run_ids))
            await asyncio.sleep(GATHER_SECONDS)
