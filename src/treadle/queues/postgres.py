"""The queue and the signals over PostgreSQL's LISTEN and NOTIFY, for an installation without a broker.

A notification reaches every process that listens. So each announcement wakes every idle worker, and all but one of them
claim in vain: a claim is one indexed statement, and latency is worth more than those. An installation with so many
workers that this counts has a broker.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from treadle.domain.errors import ConfigurationError
from treadle.ports import Queue, Signals
from treadle.queues.outbox import Outbox
from treadle.queues.pending import Hint, Pending
from treadle.queues.subscriptions import FlagSubscription, Subscriptions

RUNS_CHANNEL = "treadle_runs"
EVENTS_CHANNEL = "treadle_events"
CONTROLS_CHANNEL = "treadle_controls"

#: Runs of which others are to be told and cannot be yet, in this process: those announced, and those that signal.
MAX_UNSENT_HINTS = 1_000
MAX_UNSENT_SIGNALS = 10_000

#: What waits to be sent when everything ends is given so many seconds.
FLUSH_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class NotificationParts:
    """Three ports on two connections, one that listens and one that notifies."""

    queue: Queue
    signals: Signals  # wakes those who follow a run's events
    controls: Signals  # wakes the worker that holds a run


class NotifyQueue:
    """The Queue port. This process's own takers hear at once, others through the server."""

    channel = RUNS_CHANNEL

    def __init__(self, check: Callable[[], Awaitable[None]]) -> None:
        self.outbox = Outbox(MAX_UNSENT_HINTS)
        self._check = check
        self._pending = Pending()

    async def announce(self, run_id: int) -> None:
        self._pending.add(run_id)
        self.outbox.add(run_id)

    async def take(self, seconds: float) -> Hint | None:
        return await self._pending.take(seconds)

    async def check(self) -> None:
        await self._check()

    async def close(self) -> None:
        self._pending.close()

    def hear(self, run_ids: Sequence[int]) -> None:
        for run_id in run_ids:
            self._pending.add(run_id)

    def catch_up(self) -> None:
        self._pending.add(None)


class NotifySignals:
    """The Signals port, likewise."""

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.outbox = Outbox(MAX_UNSENT_SIGNALS)
        self._subscriptions = Subscriptions()

    def notify(self, run_id: int) -> None:
        self._subscriptions.raise_flags(run_id)
        self.outbox.add(run_id)

    def subscribe(self, run_id: int) -> AbstractAsyncContextManager[FlagSubscription]:
        return self._subscriptions.subscribe(run_id)

    def hear(self, run_ids: Sequence[int]) -> None:
        for run_id in run_ids:
            self._subscriptions.raise_flags(run_id)

    def catch_up(self) -> None:
        self._subscriptions.raise_all()


@asynccontextmanager
async def open_notifications(database_url: str, *, jitter: Callable[[], float]) -> AsyncIterator[NotificationParts]:
    """Connects, and stays connected until the block ends: connections that are lost are made again.

    `database_url`: `postgresql://`, `postgres://` or `postgresql+psycopg://`. `jitter` gives numbers from 0 to 1.
    Raises Unavailable when the server does not answer, ConfigurationError for what an operator must mend; neither shows
    the password.
    """
    try:
        # An optional package: only who has PostgreSQL needs it.
        from treadle.queues.postgres_link import PostgresLink  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("treadle"):
            raise
        raise ConfigurationError(
            "TREADLE_DATABASE_URL names PostgreSQL, and its package is missing.", hint="pip install 'treadle[postgres]'"
        ) from error

    link = PostgresLink(database_url, jitter)
    queue = NotifyQueue(link.check)
    signals, controls = NotifySignals(EVENTS_CHANNEL), NotifySignals(CONTROLS_CHANNEL)
    await link.open((queue, signals, controls))
    try:
        yield NotificationParts(queue, signals, controls)
    finally:
        try:
            if link.is_open:
                for each in (queue, signals, controls):
                    await each.outbox.flush(FLUSH_SECONDS)
            await queue.close()
        finally:
            await link.close()
