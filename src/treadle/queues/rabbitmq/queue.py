"""`RabbitQueue`: one durable queue that all workers take from, a message at a time."""

import asyncio
import re
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog
from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractExchange, AbstractIncomingMessage
from aiormq.exceptions import DeliveryError, PublishError

from treadle.domain.errors import Unavailable
from treadle.queues.outbox import Outbox
from treadle.queues.patience import Complaints
from treadle.queues.pending import Hint
from treadle.queues.rabbitmq.address import TROUBLE
from treadle.queues.rabbitmq.intake import ANSWER_SECONDS, QUEUE, Intake, declare
from treadle.queues.rabbitmq.link import Session
from treadle.queues.rabbitmq.races import first, whole

log = structlog.get_logger(__name__)

#: Announcements that wait for the broker in this process.
MAX_UNSENT = 1_000

#: Messages that are sent without waiting for each other's confirmation.
IN_FLIGHT = 64

#: How much longer than asked for a take may last, for its end to be agreed with the broker.
GRACE_SECONDS = 0.5

_RUN_ID = re.compile(rb"[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class RabbitAnnouncement:
    """The Announcement port: a message that the broker keeps until it is settled."""

    run_id: int | None
    message: AbstractIncomingMessage

    async def settle(self) -> None:
        # On a channel that is lost there is nothing to settle: the broker has given the message to another by then.
        await _told(self.message.ack())

    async def give_back(self) -> None:
        """For the next one to take it."""
        await _told(self.message.nack(requeue=True))

    async def bury(self) -> None:
        """To the dead letters."""
        await _told(self.message.reject(requeue=False))


Taken = RabbitAnnouncement | Hint | None


class RabbitQueue:
    """The Queue port. `announce` only notes what to send, so it takes no time, whatever state the broker is in."""

    def __init__(self) -> None:
        self.outbox = Outbox(MAX_UNSENT)
        self._complaints = Complaints(log)
        self._intake: Intake | None = None
        self._attached = asyncio.Event()
        self._was_lost = False  # the connection, since a taker was last told
        self._reason = "it is not connected yet"
        self._takers: dict[asyncio.Task[Taken], asyncio.Event] = {}
        self._endings: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    async def announce(self, run_id: int) -> None:
        self.outbox.add(run_id)

    async def take(self, seconds: float) -> RabbitAnnouncement | Hint | None:
        if self._is_closed:
            return None
        loop, leave = asyncio.get_running_loop(), asyncio.Event()
        # On a task of its own, which brings every question to the broker to its end even when the taker is cancelled;
        # what it then still brings is given back.
        task = loop.create_task(self._take(loop.time() + seconds, leave))
        self._takers[task] = leave
        is_delivered = False
        try:
            await asyncio.wait({task}, timeout=max(0.0, seconds) + GRACE_SECONDS)
            is_delivered = task.done()
            return task.result() if is_delivered and not task.cancelled() else None
        finally:
            del self._takers[task]
            leave.set()
            if not is_delivered:
                self._finish(self._return(task))

    async def check(self) -> None:
        intake = self._intake
        if intake is None:
            raise Unavailable(f"RabbitMQ is away: {self._reason}.", hint="It is tried again by itself.")
        asking = self._finish(intake.ask())  # not cancelled with us, as a question to the broker must not be
        await asyncio.wait({asking}, timeout=ANSWER_SECONDS)
        if not asking.done():
            raise intake.session.address.unavailable("it does not answer")
        if asking.cancelled() or asking.exception() is not None:
            intake.session.fail("it did not answer")
            raise intake.session.address.unavailable(intake.session.reason)

    async def close(self) -> None:
        """Lets the takers go, empty-handed."""
        self._is_closed = True
        for leave in self._takers.values():
            leave.set()
        if left := {*self._takers, *self._endings}:
            await asyncio.wait(left, timeout=GRACE_SECONDS)

    # ---- on the connection

    async def attach(self, session: Session) -> None:
        publishing = await session.channel(confirms=True)
        taking = await session.channel(confirms=False)
        queue = await declare(taking)
        await taking.set_qos(prefetch_count=1)  # of each consumer
        self._intake = Intake(session, taking, queue)
        self._attached.set()
        session.start(self._send(publishing.default_exchange))

    def detach(self, reason: str) -> None:
        self._was_lost = self._was_lost or self._intake is not None
        self._intake = None
        self._reason = reason
        self._attached.clear()

    # ---- sending

    async def _send(self, exchange: AbstractExchange) -> None:
        while True:
            await self.outbox.wait()
            run_ids = self.outbox.take(IN_FLIGHT)
            try:
                results = await asyncio.gather(
                    *(_publish(exchange, run_id) for run_id in run_ids), return_exceptions=True
                )
            finally:
                self.outbox.settled(len(run_ids))  # also those that failed: the sweeper announces them again
            for result in results:
                if result is not None:
                    self._judge(result)

    def _judge(self, error: BaseException) -> None:
        """Raises what ends the session."""
        if isinstance(error, DeliveryError) and not isinstance(error, PublishError):
            log.debug("the queue is full", queue=QUEUE)  # nobody needs more hints than it holds
            return
        self._complaints.warn("announcements were lost", reason=str(error) or type(error).__name__)
        if not isinstance(error, TimeoutError):
            raise ConnectionError("a message could not be sent") from error

    # ---- taking

    async def _take(self, deadline: float, leave: asyncio.Event) -> RabbitAnnouncement | Hint | None:
        while not leave.is_set():
            intake = self._intake
            if intake is not None and intake.session.ended.is_set():
                self.detach(intake.session.reason)  # as the link is about to
                intake = None
            if intake is None:
                if not await first(deadline, self._attached.wait(), leave.wait()):
                    return None
                continue
            if self._was_lost:
                self._was_lost = False
                return Hint(None)  # what was announced meanwhile may be lost: look for any
            message = await intake.next(deadline, leave)
            if message is not None:
                if _RUN_ID.fullmatch(message.body):
                    return RabbitAnnouncement(int(message.body), message)
                self._complaints.warn("a message that is no announcement went to the dead letters", queue=QUEUE)
                await RabbitAnnouncement(None, message).bury()
            elif not intake.session.ended.is_set():
                return None
        return None

    async def _return(self, task: "asyncio.Task[Taken]") -> None:
        (result,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(result, RabbitAnnouncement):
            await result.give_back()
        elif isinstance(result, Hint):
            self._was_lost = True

    def _finish(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Runs to its end, whoever stops waiting for it."""
        task = asyncio.create_task(work)
        self._endings.add(task)
        task.add_done_callback(self._on_finished)
        return task

    def _on_finished(self, task: "asyncio.Task[None]") -> None:
        self._endings.discard(task)
        if not task.cancelled():
            task.exception()  # seen, whether or not anybody still wants to know


async def _told(telling: Coroutine[Any, Any, None]) -> None:
    """Tells the broker what to do with a message. On a lost channel it has done already what it does then."""
    with suppress(*TROUBLE):
        async with asyncio.timeout(ANSWER_SECONDS):
            await whole(telling)


async def _publish(exchange: AbstractExchange, run_id: int) -> None:
    message = Message(
        str(run_id).encode(), content_type="text/plain", type="treadle.run", delivery_mode=DeliveryMode.PERSISTENT
    )
    await exchange.publish(message, routing_key=QUEUE, mandatory=True, timeout=ANSWER_SECONDS)
