"""What happens when PostgreSQL cannot."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psycopg
import pytest
from tests.support.postgres import PostgresServer
from tests.support.stores import NOW, World, open_world, said

from treadle.domain.errors import ConfigurationError, Unavailable
from treadle.store import schema
from treadle.store.session import Session
from treadle.store.sql import SqlStore
from treadle.store.transitions import standing

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


@pytest.fixture
async def world(postgres_server: PostgresServer, anyio_backend: str) -> AsyncIterator[World]:
    async with open_world(postgres_server.upgraded()) as made:
        yield made


def disconnect_everybody(url: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchall()
    return len(rows)


async def test_a_server_that_cannot_be_reached_is_said_without_the_password(tmp_path: Path) -> None:
    url = f"postgresql://ada:lovelace@/treadle?host={tmp_path}&password=lovelace"
    for attempt in (schema.current, schema.upgrade):
        with pytest.raises(ConfigurationError) as caught:
            attempt(url)
        assert "lovelace" not in caught.value.sentence()
        assert str(tmp_path) in caught.value.sentence()
    with pytest.raises(ConfigurationError):
        await SqlStore.open(url)


async def test_broken_connections_are_made_anew(world: World) -> None:
    run, fence = await world.claimed()
    for number in (3, 4):
        assert await asyncio.to_thread(disconnect_everybody, world.url) > 0
        assert await world.store.record(fence, [said("x")], NOW) == number
        assert (await world.store.get_run_by_id(run.id)).last_event == number
        assert len(await world.store.list_runs(world.mine, limit=5)) == 1


async def test_a_transaction_that_lost_its_connection_is_done_again(world: World) -> None:
    run, fence = await world.claimed()
    tries: list[int] = []
    has_begun, may_go = threading.Event(), threading.Event()

    def work(session: Session) -> int:
        tries.append(standing(session, run.id).lease)
        has_begun.set()
        assert may_go.wait(120)
        return standing(session, run.id).lease

    writing = asyncio.create_task(world.store._executor.write(work))
    await asyncio.to_thread(has_begun.wait)
    await asyncio.to_thread(disconnect_everybody, world.url)
    may_go.set()
    assert await writing == fence.lease
    assert len(tries) == 2


async def test_of_two_that_wait_for_each_other_one_is_done_again(world: World) -> None:
    (one, _), (other, _) = await world.claimed(), await world.claimed()
    both = threading.Barrier(2, timeout=120)
    tries: list[int] = []

    def locking(first: int, second: int) -> Callable[[Session], None]:
        def work(session: Session) -> None:
            standing(session, first)
            if len(tries) < 2:  # only at first: the one that is done again finds its way free
                tries.append(first)
                both.wait()
            standing(session, second)

        return work

    await asyncio.gather(
        world.store._executor.write(locking(one.id, other.id)), world.store._executor.write(locking(other.id, one.id))
    )
    assert len(tries) == 2


async def test_a_read_only_server_is_said_and_may_pass(world: World) -> None:
    """As in a failover."""
    run = await world.run()
    set_read_only(world.url, "on")
    disconnect_everybody(world.url)
    with pytest.raises(Unavailable, match="read-only"):
        await world.run()
    assert await world.store.get_run_by_id(run.id) == run
    set_read_only(world.url, "off")
    assert await world.store.claim("worker", NOW, run_id=run.id) is not None


def set_read_only(url: str, state: str) -> None:
    with psycopg.connect(url, autocommit=True, options="-c default_transaction_read_only=off") as connection:
        connection.execute(
            "DO $$ BEGIN EXECUTE format("
            f"'ALTER DATABASE %I SET default_transaction_read_only = {state}', current_database()); END $$"
        )
