"""The one connection of a process, made again whenever it is lost."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Protocol

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection, ConnectionParameter
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from yarl import URL

from treadle.queues.patience import LONGEST_PAUSE, Complaints, pauses
from treadle.queues.rabbitmq.address import TROUBLE, Address, describe
from treadle.queues.rabbitmq.races import whole

log = structlog.get_logger(__name__)

#: For connecting, and declaring what is needed, altogether.
CONNECT_SECONDS = 15.0

#: For ending a connection in good order; then it is cut off.
GOODBYE_SECONDS = 1.0


class Attached(Protocol):
    """What lives on the connection."""

    async def attach(self, session: "Session") -> None:
        """Declares what it needs and begins; again after each reconnect. May raise whatever the library does."""

    def detach(self, reason: str) -> None:
        """The session has ended: nothing of it may be used any more. `reason` in a line."""


class Session:
    """One connection, for as long as it holds. With any of its channels all of it ends, and a new one declares
    everything anew: there is one way to mend what broke."""

    def __init__(self, address: Address) -> None:
        self.ended = asyncio.Event()
        self.address = address
        self.reason = ""
        self._transports = _Transports()
        self._connection = _Connection(address.url, transport_factory=self._transports)
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, attached: Sequence[Attached]) -> None:
        """Raises whatever the library does, and TimeoutError."""
        async with asyncio.timeout(CONNECT_SECONDS):
            await self._connection.connect()
            self._connection.close_callbacks.add(self._on_closed)
            for each in attached:
                await each.attach(self)
        if self.ended.is_set():
            raise ConnectionError(self.reason)

    async def channel(self, *, confirms: bool) -> AbstractChannel:
        channel = await self._connection.channel(publisher_confirms=confirms, on_return_raises=confirms)
        channel.close_callbacks.add(self._on_closed)
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(self._on_consumer_cancelled)
        return channel

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs beside the session and ends with it; the session ends with its failure."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)

    def fail(self, reason: str) -> None:
        if not self.ended.is_set():
            self.reason = reason
            self.ended.set()

    async def close(self) -> None:
        """In bounded time, whatever state the link is in."""
        self.fail("it was closed")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        closing = asyncio.create_task(self._connection.close())
        await asyncio.wait({closing}, timeout=GOODBYE_SECONDS)
        self._transports.abort()  # what the other side does not take would hold it up for minutes
        await asyncio.wait({closing}, timeout=GOODBYE_SECONDS)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)

    def _on_closed(self, _sender: AbstractConnection | AbstractChannel | None, error: BaseException | None) -> None:
        self.fail("the connection was closed" if error is None else describe(error))

    def _on_consumer_cancelled(self, _frame: object) -> None:
        self.fail("a queue was deleted")

    def _on_task_done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        self.fail("the connection was lost" if error is None else describe(error))


class Link:
    """Keeps a session open while it can, for all that is attached."""

    def __init__(self, url: str, attached: Sequence[Attached], jitter: Callable[[], float]) -> None:
        """Raises ConfigurationError for a URL that cannot be used."""
        self._address = Address(url, name="treadle")
        self._attached = attached
        self._jitter = jitter
        self._complaints = Complaints(log)
        self._session: Session | None = None
        self._keeping: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        return self._session is not None and not self._session.ended.is_set()

    async def open(self) -> None:
        """Connects for the first time. Raises ConfigurationError, Unavailable."""
        try:
            session = await self._connect()
        except TROUBLE as error:
            raise self._address.explain(error) from None
        self._session = session
        self._keeping = asyncio.create_task(self._keep(session))

    async def close(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _keep(self, session: Session) -> None:
        loop = asyncio.get_running_loop()
        rests = pauses(self._jitter)
        while True:
            began = loop.time()
            await session.ended.wait()
            log.warning("lost the connection to RabbitMQ", broker=str(self._address), reason=session.reason)
            lost = loop.time()
            if lost - began > LONGEST_PAUSE:
                rests = pauses(self._jitter)  # else it was no success: a broker that throws us out is not to be stormed
            for each in self._attached:
                each.detach(session.reason)
            await session.close()
            session = self._session = await self._reconnect(rests)
            log.info(
                "connected to RabbitMQ again", broker=str(self._address), seconds_away=round(loop.time() - lost, 1)
            )

    async def _reconnect(self, rests: Iterator[float]) -> Session:
        for rest in rests:
            await asyncio.sleep(rest)
            try:
                return await self._connect()
            except Exception as error:  # noqa: BLE001 - whatever it is, the process goes on and tries again
                self._complaints.warn(
                    "RabbitMQ cannot be reached",
                    reason=self._address.explain(error).sentence(),
                    exc_info=not isinstance(error, TROUBLE),
                )
        raise AssertionError("the pauses never end")

    async def _connect(self) -> Session:
        session = Session(self._address)
        try:
            await whole(session.open(self._attached))
        except BaseException as error:
            for each in self._attached:
                each.detach(describe(error))
            await session.close()
            raise
        return session


class _Transports(TransportFactory):
    """As the library's own; remembers the transport, so that it can be cut off."""

    def __init__(self) -> None:
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        factory = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        reader, self._writer = await factory.create(url, **kwargs)
        return reader, self._writer

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()


class _Connection(aio_pika.Connection):
    """Takes a transport factory, which the library below it does."""

    PARAMETERS = (
        *aio_pika.Connection.PARAMETERS,
        ConnectionParameter(name="transport_factory", parser=lambda factory: factory, is_kwarg=True),
    )
