"""RabbitMQ: a queue that every worker takes from, and two exchanges that wake whoever follows a run."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from treadle.domain.errors import ConfigurationError
from treadle.ports import Queue, Signals

EVENTS_EXCHANGE = "treadle.events"
CONTROLS_EXCHANGE = "treadle.controls"

#: What waits to be sent when everything ends is given so many seconds.
FLUSH_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class RabbitParts:
    """Three ports on one connection."""

    queue: Queue
    signals: Signals  # wakes those who follow a run's events
    controls: Signals  # wakes the worker that holds a run


@asynccontextmanager
async def open_rabbit(url: str, *, jitter: Callable[[], float]) -> AsyncIterator[RabbitParts]:
    """Connects, and stays connected until the block ends: a connection that is lost is made again.

    `url`: `amqp://user:password@host/vhost`, `amqps` for TLS; its query takes what aio-pika's takes, such as `cafile`.
    `jitter` gives numbers from 0 to 1. Raises Unavailable when the broker does not answer, ConfigurationError for what
    an operator must mend; neither shows the password.
    """
    try:
        # An optional package: only who has a broker needs it.
        from treadle.queues.rabbitmq.link import Link  # noqa: PLC0415
        from treadle.queues.rabbitmq.queue import RabbitQueue  # noqa: PLC0415
        from treadle.queues.rabbitmq.signals import RabbitSignals  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("treadle"):
            raise
        raise ConfigurationError(
            "TREADLE_BROKER_URL is set, and the package for RabbitMQ is missing.",
            hint="pip install 'treadle[rabbitmq]'",
        ) from error

    queue, signals, controls = RabbitQueue(), RabbitSignals(EVENTS_EXCHANGE), RabbitSignals(CONTROLS_EXCHANGE)
    link = Link(url, (queue, signals, controls), jitter)
    await link.open()
    try:
        yield RabbitParts(queue, signals, controls)
    finally:
        try:
            if link.is_open:
                for outbox in (queue.outbox, signals.outbox, controls.outbox):
                    await outbox.flush(FLUSH_SECONDS)
            await queue.close()
        finally:
            await link.close()
