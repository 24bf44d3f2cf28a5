"""What only RabbitMQ's adapter promises."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel
from structlog.testing import capture_logs
from tests.support.rabbit import PASSWORD, USER, RabbitServer
from tests.support.tcp_proxy import TcpProxy

from treadle.domain.errors import ConfigurationError, Unavailable
from treadle.ports import Announcement, Queue
from treadle.queues.rabbitmq import RabbitParts, open_rabbit
from treadle.queues.rabbitmq.intake import DEAD_QUEUE, MAX_DELIVERIES, MAX_MESSAGES, QUEUE
from treadle.queues.rabbitmq.queue import RabbitQueue

pytestmark = [pytest.mark.anyio, pytest.mark.rabbitmq]

LONG = 60.0


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[RabbitParts]:
    async with open_rabbit(url, jitter=lambda: 0.0) as parts:
        yield parts


@asynccontextmanager
async def bare(url: str) -> AsyncIterator[AbstractChannel]:
    """The broker seen from outside."""
    connection = await aio_pika.connect(url)
    async with connection:
        yield await connection.channel()


async def depth(channel: AbstractChannel, queue: str) -> int:
    declared = await channel.declare_queue(queue, passive=True)
    return declared.declaration_result.message_count or 0


async def until_depth(channel: AbstractChannel, queue: str, count: int) -> None:
    async with asyncio.timeout(LONG):
        while True:
            if await depth(channel, queue) == count:
                return
            await asyncio.sleep(0.02)


async def until_logged(lines: Sequence[Mapping[str, object]], event: str) -> None:
    async with asyncio.timeout(LONG):
        while True:
            if any(line["event"] == event for line in lines):
                return
            await asyncio.sleep(0.02)


async def taken(queue: Queue) -> Announcement:
    async with asyncio.timeout(LONG):
        while True:
            hint = await queue.take(LONG)
            if hint is not None and hint.run_id is not None:
                return hint


def reason(error: ConfigurationError) -> str:
    assert PASSWORD not in error.sentence()
    assert error.hint
    return error.sentence()


# ---- the first connection


async def test_a_wrong_password_is_a_matter_of_configuration(rabbit_server: RabbitServer) -> None:
    with pytest.raises(ConfigurationError, match=f"does not let {USER} in") as raised:
        async with opened(rabbit_server.url(password="not-it")):
            pass
    assert not isinstance(raised.value, Unavailable)
    assert "not-it" not in reason(raised.value)


async def test_a_missing_virtual_host_is_a_matter_of_configuration(rabbit_server: RabbitServer) -> None:
    with pytest.raises(ConfigurationError, match="not to this virtual host") as raised:
        async with opened(rabbit_server.url("nowhere")):
            pass
    assert not isinstance(raised.value, Unavailable)
    assert "add_vhost" in reason(raised.value)


async def test_missing_permissions_are_a_matter_of_configuration(rabbit_server: RabbitServer) -> None:
    vhost = rabbit_server.vhost()
    rabbit_server.evaluate(
        f'ok = rabbit_auth_backend_internal:set_permissions(<<"{USER}">>, <<"{vhost}">>, '
        '<<"^other">>, <<".*">>, <<".*">>, <<"tests">>).'
    )
    with pytest.raises(ConfigurationError, match="make or use what Treadle needs") as raised:
        async with opened(rabbit_server.url(vhost)):
            pass
    assert not isinstance(raised.value, Unavailable)
    assert "permission" in reason(raised.value)
    rabbit_server.remove_vhost(vhost)


async def test_another_queue_of_that_name_is_a_matter_of_configuration(rabbit_url: str) -> None:
    async with bare(rabbit_url) as channel:
        await channel.declare_queue(QUEUE, durable=True)
    with pytest.raises(ConfigurationError, match="other properties") as raised:
        async with opened(rabbit_url):
            pass
    assert not isinstance(raised.value, Unavailable)
    assert QUEUE in reason(raised.value)


async def test_a_broker_that_is_away_is_unavailable() -> None:
    with TcpProxy(("127.0.0.1", 1)) as link:
        link.cut()
        with pytest.raises(Unavailable, match="is away") as raised:
            async with opened(f"amqp://{USER}:{PASSWORD}@127.0.0.1:{link.port}/"):
                pass
    assert f"amqp://{USER}@127.0.0.1:{link.port}/" in reason(raised.value)


async def test_a_port_without_tls_is_a_matter_of_configuration(rabbit_server: RabbitServer) -> None:
    with pytest.raises(ConfigurationError, match="by TLS") as raised:
        async with opened(rabbit_server.url().replace("amqp:", "amqps:")):
            pass
    assert not isinstance(raised.value, Unavailable)
    assert "cafile" in reason(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://me:secret@host/",
        "amqp:///vhost",
        "amqp://me:sec/ret@host/",
        "amqp://me:12#secret@host/",
        "amqp://me:secret@host:port/",
        "amqp://[me:secret@host/",
        "secret",
    ],
)
async def test_a_url_that_cannot_be_used_is_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError, match="TREADLE_BROKER_URL") as raised:
        async with opened(url):
            pass
    assert "secret" not in raised.value.sentence()
    assert "ret@" not in raised.value.sentence()
    assert raised.value.hint


async def test_no_log_line_shows_the_password(rabbit_server: RabbitServer, rabbit_url: str) -> None:
    with TcpProxy(("127.0.0.1", rabbit_server.port)) as link, capture_logs() as lines:
        url = rabbit_server.url(urlsplit(rabbit_url).path[1:], port=link.port)
        async with opened(url) as parts:
            link.cut()
            await until_logged(lines, "lost the connection to RabbitMQ")
            await until_logged(lines, "RabbitMQ cannot be reached")
            link.heal()
            await until_logged(lines, "connected to RabbitMQ again")
            await parts.queue.check()
    assert all(PASSWORD not in str(line) for line in lines)
    assert any(USER in str(line) for line in lines)


# ---- messages


async def test_messages_survive_the_broker(frail_rabbit: RabbitServer) -> None:
    url = frail_rabbit.url(frail_rabbit.vhost())
    async with opened(url) as parts:
        await parts.queue.announce(6)
        async with bare(url) as channel:
            await until_depth(channel, QUEUE, 1)
    frail_rabbit.sync()
    await asyncio.to_thread(frail_rabbit.kill9)
    await asyncio.to_thread(frail_rabbit.start)
    async with opened(url) as parts:
        assert (await taken(parts.queue)).run_id == 6


async def test_a_message_of_a_worker_that_died_comes_back(rabbit_server: RabbitServer, rabbit_url: str) -> None:
    with TcpProxy(("127.0.0.1", rabbit_server.port)) as link:
        through = rabbit_server.url(urlsplit(rabbit_url).path[1:], port=link.port)
        async with opened(through) as dying, opened(rabbit_url) as other:
            await other.queue.announce(3)
            lost = await taken(dying.queue)
            link.cut()
            hint = await taken(other.queue)
            assert hint.run_id == 3
            await hint.settle()
            await lost.settle()  # on a lost channel: no error
            link.heal()


async def test_taken_messages_are_gone_once_they_are_settled(rabbit_url: str) -> None:
    async with opened(rabbit_url) as parts, bare(rabbit_url) as channel:
        for run_id in range(1, 31):
            await parts.queue.announce(run_id)
        for _ in range(30):
            await (await taken(parts.queue)).settle()
        assert await parts.queue.take(0.1) is None
    async with bare(rabbit_url) as channel:  # now nothing is held by anybody
        await until_depth(channel, QUEUE, 0)
        assert await depth(channel, DEAD_QUEUE) == 0


async def test_a_worker_holds_no_more_than_one_message(rabbit_url: str) -> None:
    async with opened(rabbit_url) as parts, bare(rabbit_url) as channel:
        for run_id in range(1, 11):
            await parts.queue.announce(run_id)
        await until_depth(channel, QUEUE, 10)
        held = await taken(parts.queue)
        assert await depth(channel, QUEUE) == 9
        await held.settle()
        assert await depth(channel, QUEUE) == 9


@pytest.mark.parametrize("body", [b"hello", b"", b"0", b"-1", b"1.5", b"9" * 20, b"\xff", b'{"run": 1}'])
async def test_a_foreign_message_goes_to_the_dead_letters(rabbit_url: str, body: bytes) -> None:
    async with opened(rabbit_url) as parts, bare(rabbit_url) as channel:
        await channel.default_exchange.publish(aio_pika.Message(body), QUEUE)
        await parts.queue.announce(2)
        hint = await taken(parts.queue)
        assert hint.run_id == 2
        await hint.settle()
        await until_depth(channel, DEAD_QUEUE, 1)
        dead = await (await channel.get_queue(DEAD_QUEUE)).get(no_ack=True)
        assert dead.body == body


async def test_a_message_that_always_comes_back_goes_to_the_dead_letters(rabbit_url: str) -> None:
    async with opened(rabbit_url) as parts, bare(rabbit_url) as channel:
        await parts.queue.announce(2)
        await until_depth(channel, QUEUE, 1)
        queue = await channel.get_queue(QUEUE)
        for _ in range(MAX_DELIVERIES + 1):
            await until_depth(channel, QUEUE, 1)
            message = await queue.get()
            assert message is not None
            await message.nack(requeue=True)
        await until_depth(channel, DEAD_QUEUE, 1)
        assert await depth(channel, QUEUE) == 0


async def test_the_queue_is_bounded(rabbit_url: str) -> None:
    async with opened(rabbit_url) as parts, bare(rabbit_url) as channel:
        assert isinstance(parts.queue, RabbitQueue)
        for start in range(1, 2 * MAX_MESSAGES, 500):
            for run_id in range(start, start + 500):
                await parts.queue.announce(run_id)
            assert await parts.queue.outbox.flush(LONG)
        assert MAX_MESSAGES <= await depth(channel, QUEUE) < MAX_MESSAGES * 1.2
        assert await depth(channel, DEAD_QUEUE) == 0
        await parts.queue.check()
        assert (await taken(parts.queue)).run_id == 1


async def test_a_queue_that_was_deleted_is_made_again(rabbit_url: str) -> None:
    async with opened(rabbit_url) as parts, bare(rabbit_url) as channel:
        taking = asyncio.create_task(taken(parts.queue))
        await asyncio.sleep(0)
        await channel.queue_delete(QUEUE)
        async with asyncio.timeout(LONG):
            while not taking.done():
                await parts.queue.announce(8)
                await asyncio.sleep(0.1)
        assert taking.result().run_id == 8


# ---- the consumer timeout


async def test_a_run_outlives_the_consumer_timeout(frail_rabbit: RabbitServer) -> None:
    """Eight seconds there: a message is settled right after the claim, so that the broker has nothing to wait for."""
    url = frail_rabbit.url(frail_rabbit.vhost())
    async with opened(url) as parts:
        with capture_logs() as lines:
            await parts.queue.announce(1)
            hint = await taken(parts.queue)
            await hint.settle()
            await asyncio.sleep(10)  # the run; there is no event for a timeout that does not come
            await parts.queue.announce(2)
            assert (await taken(parts.queue)).run_id == 2
        assert not lines


async def test_a_message_held_for_too_long_comes_back(frail_rabbit: RabbitServer) -> None:
    """What the test before would see if it were not settled."""
    url = frail_rabbit.url(frail_rabbit.vhost())
    async with opened(url) as parts:
        with capture_logs() as lines:
            await parts.queue.announce(1)
            held = await taken(parts.queue)
            assert (await taken(parts.queue)).run_id == 1
            await held.settle()
        assert re.search("timeout|timed out", str(_only(lines, "lost the connection to RabbitMQ")["reason"]))


def _only(lines: Sequence[Mapping[str, object]], event: str) -> Mapping[str, object]:
    (found,) = [line for line in lines if line["event"] == event]
    return found
