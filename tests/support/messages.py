"""The adapters of the Queue and Signals ports, each as an installation: one broker, and as many processes on it as a
test opens."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

import pytest

from tests.support.clis import give_up
from tests.support.postgres import NoPostgres, PostgresServer, name_of, running_postgres
from tests.support.rabbit import NoRabbit, RabbitServer, running_rabbit
from tests.support.tcp_proxy import TcpProxy
from treadle.ports import Queue, Signals
from treadle.queues.database import DatabaseQueue, ProcessSignals
from treadle.queues.postgres import open_notifications
from treadle.queues.rabbitmq import open_rabbit

SHARED = [pytest.param("postgres", marks=pytest.mark.postgres), pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)]


class Messages(Protocol):
    """What one process has."""

    @property
    def queue(self) -> Queue: ...
    @property
    def signals(self) -> Signals: ...
    @property
    def controls(self) -> Signals: ...


@dataclass(frozen=True)
class LocalMessages:
    queue: DatabaseQueue = field(default_factory=DatabaseQueue)
    signals: ProcessSignals = field(default_factory=ProcessSignals)
    controls: ProcessSignals = field(default_factory=ProcessSignals)


@dataclass
class Installation:
    """Its processes, and their proxies, end with it."""

    name: str
    url: str
    server: RabbitServer | PostgresServer | None
    _stack: AsyncExitStack

    async def process(self) -> Messages:
        return await self._stack.enter_async_context(self.opened())

    async def process_behind(self, link: TcpProxy) -> Messages:
        return await self._stack.enter_async_context(self.opened(link))

    def link(self) -> TcpProxy:
        """A link to the server, to be broken; it has to be entered."""
        if isinstance(self.server, RabbitServer):
            return TcpProxy(("127.0.0.1", self.server.port))
        assert isinstance(self.server, PostgresServer)
        return TcpProxy(self.server.directory / f".s.PGSQL.{self.server.port or 5432}")

    @asynccontextmanager
    async def opened(self, link: TcpProxy | None = None) -> AsyncIterator[Messages]:
        url = self.url if link is None else self._url_of(link)
        if self.name == "rabbitmq":
            async with open_rabbit(url, jitter=_no_jitter) as rabbit:
                yield rabbit
        elif self.name == "postgres":
            async with open_notifications(url, jitter=_no_jitter) as notifications:
                yield notifications
        else:
            local = LocalMessages()
            yield local
            await local.queue.close()

    def _url_of(self, link: TcpProxy) -> str:
        if isinstance(self.server, RabbitServer):
            return self.server.url(urlsplit(self.url).path[1:], port=link.port)
        return f"postgresql://postgres@127.0.0.1:{link.port}/{name_of(self.url)}"


@pytest.fixture(params=["database", *SHARED])
async def installation(request: pytest.FixtureRequest) -> AsyncIterator[Installation]:
    """Of each kind; on a server that the test must leave running."""
    async with _installed(request, *_place(request, frail=False)) as made:
        yield made


@pytest.fixture(params=SHARED)
async def shared_installation(request: pytest.FixtureRequest) -> AsyncIterator[Installation]:
    """Of each kind that has several processes; on a server that the test must leave running."""
    async with _installed(request, *_place(request, frail=False)) as made:
        yield made


@pytest.fixture(params=SHARED)
async def frail_installation(request: pytest.FixtureRequest) -> AsyncIterator[Installation]:
    """Likewise, on a server that the test may stop and kill; it leaves it running."""
    async with _installed(request, *_place(request, frail=True)) as made:
        yield made


@pytest.fixture
async def messages(installation: Installation) -> Messages:
    """Of one process."""
    return await installation.process()


@pytest.fixture(scope="session")
def frail_rabbit() -> Iterator[RabbitServer]:
    """One that a test may kill. It gives up on a message that is held for eight seconds."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(
                running_rabbit(settings={"consumer_timeout": "8000"}, application={"channel_tick_interval": 500})
            )
        except NoRabbit as error:
            give_up(str(error))
        yield server


@pytest.fixture(scope="session")
def frail_postgres() -> Iterator[PostgresServer]:
    with ExitStack() as stack:
        try:
            server = stack.enter_context(running_postgres())
        except NoPostgres as error:
            give_up(str(error))
        yield server


def _place(request: pytest.FixtureRequest, *, frail: bool) -> tuple[str, RabbitServer | PostgresServer | None]:
    """A URL of nobody else's, and the server."""
    if request.param == "postgres":
        postgres: PostgresServer = request.getfixturevalue("frail_postgres" if frail else "postgres_server")
        return postgres.database(), postgres
    if request.param == "rabbitmq":
        rabbit: RabbitServer = request.getfixturevalue("frail_rabbit" if frail else "rabbit_server")
        return rabbit.url(rabbit.vhost()), rabbit
    return "", None


@asynccontextmanager
async def _installed(
    request: pytest.FixtureRequest, url: str, server: RabbitServer | PostgresServer | None
) -> AsyncIterator[Installation]:
    async with AsyncExitStack() as stack:
        yield Installation(request.param, url, server, stack)
    if isinstance(server, RabbitServer):
        server.remove_vhost(urlsplit(url).path[1:])


def _no_jitter() -> float:
    return 0.0
