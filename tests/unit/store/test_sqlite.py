"""The writer's group commits, and what happens when SQLite cannot."""

import asyncio
import logging
import os
import shutil
import sqlite3
import stat
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.stores import NOW, World, open_world, said

from treadle.domain.errors import ConfigurationError, LeaseLost, Unavailable
from treadle.ports import Fence
from treadle.store import schema
from treadle.store.address import sqlite_url
from treadle.store.session import Session
from treadle.store.sql import SqlStore
from treadle.store.sqlite import BATCH, SqliteExecutor

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world(sqlite_template: Path, tmp_path: Path, anyio_backend: str) -> AsyncIterator[World]:
    path = shutil.copyfile(sqlite_template, tmp_path / "treadle.db")
    async with open_world(f"{sqlite_url(path)}?timeout=0.05") as made:
        yield made


def executor_of(world: World) -> SqliteExecutor:
    executor = world.store._executor
    assert isinstance(executor, SqliteExecutor)
    return executor


def path_of(world: World) -> Path:
    return executor_of(world)._path


def modes_in(directory: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}


class Held:
    """Keeps the writer's thread busy with a transaction until it is let go."""

    def __init__(self, world: World) -> None:
        self._is_held = threading.Event()
        self._may_go = threading.Event()
        self._waiting = asyncio.create_task(executor_of(world).write(self._hold))

    async def __aenter__(self) -> None:
        await asyncio.to_thread(self._is_held.wait)

    async def __aexit__(self, *_: object) -> None:
        self._may_go.set()
        await self._waiting

    def _hold(self, _: Session) -> None:
        self._is_held.set()
        assert self._may_go.wait(120)


async def test_what_waits_for_a_commit_shares_the_next(world: World) -> None:
    _, fence = await world.claimed()
    statements: list[str] = []
    executor_of(world).writer.set_trace_callback(statements.append)
    async with Held(world):
        writes = [asyncio.create_task(world.store.record(fence, [said("x")], NOW)) for _ in range(50)]
        await asyncio.sleep(0)
    await asyncio.gather(*writes)
    assert statements.count("COMMIT") == 2  # the one that was held, and all the others'


async def test_a_batch_has_an_end(world: World) -> None:
    _, fence = await world.claimed()
    statements: list[str] = []
    executor_of(world).writer.set_trace_callback(statements.append)
    async with Held(world):
        writes = [asyncio.create_task(world.store.record(fence, [], NOW)) for _ in range(BATCH + 1)]
        await asyncio.sleep(0)
    await asyncio.gather(*writes)
    assert statements.count("COMMIT") == 3


async def test_nothing_is_answered_before_it_is_committed(world: World) -> None:
    run, fence = await world.claimed()
    with closing(sqlite3.connect(path_of(world))) as witness:
        for number in range(3, 20):
            assert await world.store.record(fence, [said("x")], NOW) == number
            assert witness.execute("SELECT max(number) FROM events WHERE run_id = ?", [run.id]).fetchone() == (number,)


async def test_a_commit_waits_for_the_disk(world: World) -> None:
    pragma = executor_of(world).writer.execute("PRAGMA synchronous").fetchone()
    assert pragma == (2,)  # FULL


async def test_a_full_disk_is_said_and_loses_nothing(world: World) -> None:
    run, fence = await world.claimed()
    writer = executor_of(world).writer
    (pages,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count={pages + 5}")
    answers = await asyncio.gather(
        *(world.store.record(fence, [said("x" * 4000)], NOW) for _ in range(40)), return_exceptions=True
    )
    kept = max(answer for answer in answers if isinstance(answer, int))
    with pytest.raises(ConfigurationError, match="disk is full"):
        await world.store.record(fence, [said("x" * 40_000)], NOW)
    assert [event.number for event in await world.told(run.id)] == list(range(1, kept + 1))

    writer.execute("PRAGMA max_page_count=1000000")
    assert await world.store.record(fence, [said("x")], NOW) == kept + 1


async def test_a_full_disk_fails_only_what_does_not_fit(world: World) -> None:
    run, fence = await world.claimed()
    writer = executor_of(world).writer
    (pages,) = writer.execute("PRAGMA page_count").fetchone()
    async with Held(world):
        sizes = (1, 1, 60_000, 60_000, 1)
        writes = [asyncio.create_task(world.store.record(fence, [said("x" * size)], NOW)) for size in sizes]
        await asyncio.sleep(0)
        writer.execute(f"PRAGMA max_page_count={pages + 5}")
    answers = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(answer) for answer in answers] == [int, int, Unavailable, Unavailable, int]
    assert [event.number for event in await world.told(run.id)] == [1, 2, 3, 4, 5]


async def test_a_transaction_that_sqlite_gave_up_fails_alone(world: World) -> None:
    """Some errors of the disk end the whole transaction, savepoints and all: the others are done again without it."""
    run, fence = await world.claimed()
    executor = executor_of(world)

    def give_up(_: Session) -> None:
        executor.writer.execute("ROLLBACK")
        raise sqlite3.OperationalError("disk I/O error")

    async with Held(world):
        before = asyncio.create_task(world.store.record(fence, [said("before")], NOW))
        given_up = asyncio.create_task(executor.write(give_up))
        after = asyncio.create_task(world.store.record(fence, [said("after")], NOW))
        await asyncio.sleep(0)
    answers = await asyncio.gather(before, given_up, after, return_exceptions=True)
    assert [type(answer) for answer in answers] == [int, ConfigurationError, int]
    assert [event.data.get("text") for event in (await world.told(run.id))[2:]] == ["before", "after"]


async def test_a_lock_held_too_long_is_said(world: World) -> None:
    _, fence = await world.claimed()
    with closing(sqlite3.connect(path_of(world), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(ConfigurationError, match="locked for too long"):
            await world.store.record(fence, [said("x")], NOW)
        run = await world.store.get_run_by_id(fence.run_id)  # readers wait for nobody
        assert run.last_event == 2
        other.execute("ROLLBACK")
    assert await world.store.record(fence, [said("x")], NOW) == 3


async def test_a_write_waits_for_another_process(tmp_path: Path) -> None:
    async with open_world(sqlite_url(tmp_path / "treadle.db")) as world:
        _, fence = await world.claimed()
        with closing(sqlite3.connect(path_of(world), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("UPDATE runs SET has_diff = 1")
            write = asyncio.create_task(world.store.record(fence, [said("x")], NOW))
            await asyncio.wait([write], timeout=0.2)
            assert not write.done()
            other.execute("COMMIT")
        assert await write == 3
        assert (await world.store.get_run_by_id(fence.run_id)).has_diff


async def test_a_read_only_database_is_said(world: World) -> None:
    _, fence = await world.claimed()
    executor_of(world).writer.execute("PRAGMA query_only=ON")
    with pytest.raises(ConfigurationError, match="read-only"):
        await world.store.record(fence, [said("x")], NOW)
    assert (await world.store.get_run_by_id(fence.run_id)).last_event == 2


async def test_readers_cannot_write(world: World) -> None:
    executor = executor_of(world)
    for connection in executor._connections[1:]:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("DELETE FROM runs")


async def test_a_snapshot_does_not_move(world: World) -> None:
    """A list is read by two statements: what is committed between them is not in it."""
    executor = executor_of(world)
    may_go, has_looked = threading.Event(), threading.Event()

    def work(session: Session) -> tuple[int, int]:
        from treadle.store.run_list import QUEUE_DEPTH

        first = session.one(QUEUE_DEPTH)
        has_looked.set()
        assert may_go.wait(120)
        second = session.one(QUEUE_DEPTH)
        assert first is not None
        assert second is not None
        return first[0], second[0]

    reading = asyncio.create_task(executor.read(work))
    await asyncio.to_thread(has_looked.wait)
    await world.run()
    may_go.set()
    assert await reading == (0, 0)
    assert await world.store.queue_depth() == 1


async def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    path = tmp_path / "treadle.db"
    path.write_bytes(b"not a database at all, but long enough to be looked at" * 20)
    with pytest.raises(ConfigurationError, match="no SQLite database"):
        await SqlStore.open(sqlite_url(tmp_path / "treadle.db"))


async def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be"):
        await SqlStore.open(f"sqlite:///{tmp_path}/file/treadle.db")


async def test_a_new_database_is_its_owners_alone(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "with space, %20, #, ? and ☃"
    old = os.umask(0)
    try:
        async with open_world(sqlite_url(directory / "treadle.db")):
            modes = await asyncio.to_thread(modes_in, directory)
    finally:
        os.umask(old)
    assert set(modes) == {"treadle.db", "treadle.db-wal", "treadle.db-shm", "treadle.db.lock"}
    assert set(modes.values()) == {0o600}


async def test_only_a_fresh_file_is_opened_beside_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing a second descriptor of the file would drop SQLite's locks on it."""
    url = sqlite_url(tmp_path / "treadle.db")
    schema.upgrade(url)
    opened: list[str] = []
    real = os.open

    def spy(path: str, flags: int, mode: int = 0o777) -> int:
        opened.append(str(path))
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", spy)
    async with open_world(url) as world:
        await world.run()
    assert [path for path in opened if path.endswith("treadle.db")] == []


async def test_a_closed_store_says_so(world: World) -> None:
    await world.store.close()
    with pytest.raises(ConfigurationError, match="closed"):
        await world.store.queue_depth()
    with pytest.raises(ConfigurationError, match="closed"):
        await world.run()


async def test_closing_twice_is_harmless(world: World) -> None:
    await world.store.close()
    await world.store.close()


async def test_a_failure_that_nobody_waits_for_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async with Held(world):
        write = asyncio.create_task(world.store.record(Fence(77, 1), [], NOW))
        await asyncio.sleep(0)
        write.cancel()
        with pytest.raises(asyncio.CancelledError):
            await write
    with caplog.at_level(logging.WARNING, "treadle.store"), pytest.raises(LeaseLost):
        await world.store.record(Fence(78, 1), [], NOW)
    assert "Lease 1 on run 77" in caplog.text


async def test_a_store_serves_several_loops(world: World) -> None:
    run = await world.run()
    answers = await asyncio.gather(
        *(asyncio.to_thread(asyncio.run, world.store.get_run_by_id(run.id)) for _ in range(4)),
        *(world.store.get_run_by_id(run.id) for _ in range(4)),
    )
    assert answers == [run] * 8
