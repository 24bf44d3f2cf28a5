"""What only PostgreSQL's adapter promises."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import pytest
from structlog.testing import capture_logs
from tests.support.postgres import PASSWORD, PostgresServer, name_of, running_postgres
from tests.support.tcp_proxy import TcpProxy

from treadle.domain.errors import ConfigurationError, Unavailable
from treadle.queues.postgres import EVENTS_CHANNEL, RUNS_CHANNEL, NotificationParts, open_notifications
from treadle.queues.postgres_link import MAX_RUNS

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

LONG = 60.0


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[NotificationParts]:
    async with open_notifications(url, jitter=lambda: 0.0) as parts:
        yield parts


@pytest.mark.parametrize("kind", ["postgresql", "postgres", "postgresql+psycopg"])
async def test_every_form_of_the_url_works(postgres_server: PostgresServer, kind: str) -> None:
    url = postgres_server.database()
    async with opened(url.replace("postgresql", kind)) as parts:
        await parts.queue.check()


@pytest.mark.parametrize("password", ["it is wrong", "a/b@c:d"])
async def test_a_wrong_password_is_a_matter_of_configuration(password: str) -> None:
    with running_postgres(tcp=True) as server:
        url = f"postgresql://postgres@127.0.0.1:{server.port}/postgres"
        with pytest.raises(ConfigurationError, match="does not let Treadle in") as raised:
            async with opened(f"{url}?password={password.replace('@', '%40').replace(' ', '%20')}"):
                pass
        assert not isinstance(raised.value, Unavailable)
        assert password not in raised.value.sentence()
        assert raised.value.hint
        async with opened(f"{url}?password={PASSWORD}") as parts:
            await parts.queue.check()


async def test_a_missing_database_is_a_matter_of_configuration(postgres_server: PostgresServer) -> None:
    with pytest.raises(ConfigurationError, match='database "nowhere" does not exist') as raised:
        async with opened(postgres_server.url("nowhere")):
            pass
    assert not isinstance(raised.value, Unavailable)


async def test_a_server_that_is_away_is_unavailable() -> None:
    with TcpProxy(("127.0.0.1", 1)) as link:
        link.cut()
        with pytest.raises(Unavailable, match="is away") as raised:
            async with opened(f"postgresql://me:secret@127.0.0.1:{link.port}/db"):
                pass
    assert "secret" not in raised.value.sentence()


async def test_a_url_that_cannot_be_read_is_not_repeated() -> None:
    with pytest.raises(ConfigurationError, match="cannot be read") as raised:
        async with opened("postgres me:secret@host"):
            pass
    assert "secret" not in raised.value.sentence()


async def test_the_longest_ids_fit_into_a_notification(postgres_server: PostgresServer) -> None:
    url = postgres_server.database()
    largest = 2**63 - 1
    async with opened(url) as one, opened(url) as two, two.signals.subscribe(largest - MAX_RUNS) as last:
        for number in range(MAX_RUNS + 1):
            one.signals.notify(largest - number)
        assert await last.wait(LONG)


@pytest.mark.parametrize("payload", ["", "hello", "0", "-1", "1,", ",1", "1, 2", "1;2", "9" * 20, "9" * 7_999])
async def test_a_foreign_notification_is_passed_over(postgres_server: PostgresServer, payload: str) -> None:
    url = postgres_server.database()
    async with (
        opened(url) as parts,
        parts.signals.subscribe(1) as subscription,
        await psycopg.AsyncConnection.connect(url, autocommit=True) as foreign,
    ):
        for channel in (RUNS_CHANNEL, EVENTS_CHANNEL):
            await foreign.execute("SELECT pg_notify(%s, %s)", (channel, payload))
            await foreign.execute("SELECT pg_notify(%s, %s)", (channel, "1"))
        assert await subscription.wait(LONG)
        hint = await parts.queue.take(LONG)
        assert hint is not None
        assert hint.run_id == 1
        assert await parts.queue.take(0.05) is None


async def test_connections_that_the_server_ends_are_made_again(postgres_server: PostgresServer) -> None:
    url = postgres_server.database()
    async with (
        opened(url) as one,
        opened(url) as two,
        two.signals.subscribe(1) as subscription,
        await psycopg.AsyncConnection.connect(url, autocommit=True) as operator,
    ):
        with capture_logs() as lines:
            found = await operator.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                "WHERE datname = %s AND application_name = 'treadle notifications'",
                (name_of(url),),
            )
            assert await found.fetchone() == (4,)  # two of each
            assert await subscription.wait(LONG)  # raised for what it may have missed
            async with asyncio.timeout(LONG):
                while not await subscription.wait(0.1):
                    one.signals.notify(1)
        assert {line["event"] for line in lines} == {
            "lost the connection that notifications come by",
            "notifications come again",
        }


async def test_a_process_without_a_worker_keeps_one_hint_for_many(postgres_server: PostgresServer) -> None:
    url = postgres_server.database()
    async with opened(url) as one, opened(url) as two, two.signals.subscribe(1) as subscription:
        for run_id in range(1, 1001):
            await one.queue.announce(run_id)
        assert await one.queue.outbox.flush(LONG)  # type: ignore[attr-defined]  # the port has no need of it
        one.signals.notify(1)  # by the same connection, and so after them
        assert await subscription.wait(LONG)
        hint = await two.queue.take(LONG)
        assert hint is not None
        assert hint.run_id is None
        assert await two.queue.take(0) is None
