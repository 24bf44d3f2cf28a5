"""The server stops, is killed, comes back; the link breaks or swallows everything; an answer is lost at the commit."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, ParamSpec, TypeVar
from uuid import uuid4

import psycopg
import pytest
from tests.support.postgres import PostgresServer, name_of, running_postgres, skipping
from tests.support.stores import NOW, World, a_draft, later, open_world, said, started
from tests.support.tcp_proxy import TcpProxy

from treadle.domain.errors import ConfigurationError, Unavailable
from treadle.domain.run import Artifact, Checkpoint, EngineName
from treadle.domain.states import Phase, RunStatus, StepStatus
from treadle.ports import Fence, StepUpdate
from treadle.store import postgres_line, schema
from treadle.store.postgres_line import Connection
from treadle.store.prepared import Row
from treadle.store.sql import SqlStore

P = ParamSpec("P")
T = TypeVar("T")

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """This file's own: its tests stop it. They leave it running."""
    with skipping() as stack:
        yield stack.enter_context(running_postgres(tcp=True))


@pytest.fixture
async def world(server: PostgresServer, anyio_backend: str) -> AsyncIterator[World]:
    async with open_world(server.upgraded()) as made:
        yield made


# ---- opening ---------------------------------------------------------------------------------------------------------


async def test_what_waiting_cannot_help_is_no_trouble_that_passes(server: PostgresServer) -> None:
    name = name_of(server.database())
    for url in (server.tcp_url(name, password="wrong"), server.tcp_url("nothing-of-that-name")):
        with pytest.raises(ConfigurationError) as caught:
            await SqlStore.open(url)
        assert not isinstance(caught.value, Unavailable)
        assert "wrong" not in caught.value.sentence()


async def test_a_server_that_is_away_may_come(server: PostgresServer) -> None:
    url = server.tcp_url(name_of(server.upgraded()))
    server.stop()
    try:
        with pytest.raises(Unavailable, match="does not answer"):
            await SqlStore.open(url)
        for attempt in (schema.current, schema.require, schema.upgrade):
            with pytest.raises(Unavailable):
                attempt(url)
    finally:
        server.start()
    await (await SqlStore.open(url)).close()


async def test_it_takes_no_more_connections_than_it_may(server: PostgresServer) -> None:
    url = server.upgraded()
    async with open_world(url) as first:
        store = await SqlStore.open(url, connections=3)
        try:
            run = await first.run()
            await asyncio.gather(*(store.get_run_by_id(run.id) for _ in range(50)))
            await asyncio.gather(*(store.set_slots(run.organization_id, number) for number in range(50)))
            with psycopg.connect(url) as connection:
                rows = connection.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND application_name = 'treadle'"
                ).fetchall()
        finally:
            await store.close()
    assert rows[0][0] <= 3 + 10  # those of the world that made it, too


# ---- the server goes and comes ---------------------------------------------------------------------------------------


async def test_while_it_is_away_everybody_is_told_in_time(world: World, server: PostgresServer) -> None:
    run, fence = await world.claimed()
    server.stop()
    try:
        began = time.monotonic()
        answers = await asyncio.gather(
            *(world.store.get_run_by_id(run.id) for _ in range(60)),
            *(world.store.record(fence, [said("x")], NOW) for _ in range(60)),
            world.store.check(),
            return_exceptions=True,
        )
        taken = time.monotonic() - began
        assert {type(answer) for answer in answers} == {Unavailable}
        assert taken < postgres_line.AWAY_SECONDS + 60  # not once for each that waits in line
    finally:
        server.start()
    assert (await world.store.get_run_by_id(run.id)).last_event == run.last_event


@pytest.mark.parametrize("how", ["stop", "kill9"])
async def test_a_call_outlives_a_restart(
    world: World, server: PostgresServer, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(postgres_line, "AWAY_SECONDS", 90.0)  # as long as a busy machine needs to start one
    run, fence = await world.claimed()
    await asyncio.gather(*(world.store.get_run_by_id(run.id) for _ in range(20)))
    (server.stop if how == "stop" else server.kill9)()
    calls = [asyncio.create_task(world.store.record(fence, [said("x")], NOW, write=1)) for _ in range(10)]
    calls += [asyncio.create_task(_last_event(world, run.id)) for _ in range(10)]
    await asyncio.sleep(0)
    await asyncio.to_thread(server.start)
    assert set(await asyncio.gather(*calls)) <= {run.last_event, run.last_event + 1}
    assert await _last_event(world, run.id) == run.last_event + 1


async def _last_event(world: World, run_id: int) -> int:
    return (await world.store.get_run_by_id(run_id)).last_event


async def insist(call: Callable[P, Awaitable[T]], *args: P.args, **named: P.kwargs) -> T:
    """Again, for as long as it is Unavailable."""
    while True:
        try:
            return await call(*args, **named)
        except Unavailable:
            await asyncio.sleep(0.05)


async def test_restarts_under_load_lose_and_double_nothing(world: World, server: PostgresServer) -> None:
    """Each worker makes runs, claims them, writes and ends them, and calls again whatever was Unavailable."""
    over = asyncio.Event()
    done: list[tuple[int, int]] = []
    each: asyncio.Queue[None] = asyncio.Queue()

    async def one(number: int) -> None:
        draft, uuid, steps = a_draft("one"), uuid4(), [uuid4()]
        run, _ = await insist(
            world.store.create_run, draft, world.principal, uuid=uuid, step_ids=steps, secrets={}, now=NOW
        )
        now = later(len(done) + number / 1000)
        if await insist(world.store.claim, f"worker{number}", now, run_id=run.id) is None:
            # Nobody else claims it: it was saved, and the server was away for too long to say so.
            found = await insist(world.store.get_run_by_id, run.id)
            assert (found.status, found.lease) == (RunStatus.RUNNING, 1)
        for write in range(1, 6):
            await insist(world.store.record, Fence(run.id, 1), [said(str(write))] * 3, NOW, write=write)
        done.append((run.id, number))
        each.put_nowait(None)

    async def work(number: int) -> None:
        while not over.is_set():
            await one(number)

    workers = [asyncio.create_task(work(number)) for number in range(4)]
    for end in (server.stop, server.kill9, server.stop, server.kill9):
        async with asyncio.timeout(120):
            for _ in range(8):
                await each.get()
        await asyncio.to_thread(end)
        await asyncio.to_thread(server.start)
    over.set()
    await asyncio.gather(*workers)
    for run_id, _ in done:
        events = await world.told(run_id)
        assert [event.number for event in events] == list(range(1, 18))
        assert [event.data["text"] for event in events[2:]] == [str(write) for write in range(1, 6) for _ in range(3)]
    statistics = await world.store.statistics(NOW)
    assert (statistics.new, statistics.running) == (0, len(done))


# ---- the link --------------------------------------------------------------------------------------------------------


async def test_a_link_that_swallows_everything_is_noticed(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = name_of(server.upgraded())
    assert server.port is not None
    with TcpProxy(("127.0.0.1", server.port)) as link:
        async with open_world(server.tcp_url(name, port=link.port)) as world:
            run, fence = await world.claimed()
            link.hang()
            with monkeypatch.context() as patch:
                patch.setattr(postgres_line, "TRANSACTION_SECONDS", 1.0)
                patch.setattr(postgres_line, "AWAY_SECONDS", 3.0)
                began = time.monotonic()
                answers = await asyncio.gather(
                    *(world.store.get_run_by_id(run.id) for _ in range(20)),
                    *(world.store.record(fence, [said("x")], NOW) for _ in range(20)),
                    return_exceptions=True,
                )
                assert {type(answer) for answer in answers} == {Unavailable}
                assert time.monotonic() - began < 90
            link.heal()
            await world.store.ping(fence, NOW)
            link.cut()
            with pytest.raises(Unavailable):
                await world.store.ping(fence, NOW)
            link.heal()
            await world.store.ping(fence, NOW)


# ---- the answer to a commit is lost ----------------------------------------------------------------------------------

CALLS: dict[str, Callable[[World, Fence], Awaitable[object]]] = {
    "ping": lambda world, fence: world.store.ping(fence, later(1)),
    "record": lambda world, fence: world.store.record(fence, [said("x")], later(1), write=1),
    "finish": lambda world, fence: world.store.finish(fence, RunStatus.SUCCESS, "because", later(1)),
    "release": lambda world, fence: world.store.release(fence, later(1)),
    "kill": lambda world, fence: world.store.request_kill(fence.run_id, later(1)),
    "artifact": lambda world, fence: world.store.add_artifact(
        fence, Artifact(fence.run_id, "patch", "text/plain", 3, "blob", later(1))
    ),
    "checkpoint": lambda world, fence: world.store.save_checkpoint(
        fence, Checkpoint(fence.run_id, 1, Phase.ANALYSIS, None, EngineName.DUMMY, None, None, "a" * 40)
    ),
    "slots": lambda world, _: world.store.set_slots(world.principal.organization_id, 3),
}


def lose_the_answer(monkeypatch: pytest.MonkeyPatch, *, is_committed: bool) -> list[str]:
    """At the next commit, once. The list has an entry when it happened."""
    lost: list[str] = []
    execute = psycopg.Connection.execute

    def breaking(self: Connection, query: bytes | str, *rest: Any, **named: Any) -> psycopg.Cursor[Row]:
        if query == "COMMIT" and not lost:
            lost.append("COMMIT")
            if is_committed:
                execute(self, "COMMIT")
            self.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        return execute(self, query, *rest, **named)

    monkeypatch.setattr(psycopg.Connection, "execute", breaking)
    return lost


@pytest.mark.parametrize("is_committed", [True, False])
@pytest.mark.parametrize("call", CALLS)
async def test_a_call_whose_answer_was_lost_happens_once(
    world: World, monkeypatch: pytest.MonkeyPatch, call: str, is_committed: bool
) -> None:
    (one, first), (other, second) = await world.started(), await world.started()
    plain = await CALLS[call](world, first)
    lost = lose_the_answer(monkeypatch, is_committed=is_committed)
    answer = await CALLS[call](world, second)
    assert lost
    assert answer == plain
    told, retold = await world.told(one.id), await world.told(other.id)
    assert [(event.number, event.type, event.data) for event in told] == [
        (event.number, event.type, event.data) for event in retold
    ]
    found, again = await world.store.get_run_by_id(one.id), await world.store.get_run_by_id(other.id)
    assert (found.status, found.lost_workers, found.lease) == (again.status, again.lost_workers, again.lease)


@pytest.mark.parametrize("is_committed", [True, False])
async def test_a_sweep_whose_answer_was_lost_takes_a_run_away_once(
    world: World, monkeypatch: pytest.MonkeyPatch, is_committed: bool
) -> None:
    run, _ = await world.started()
    lost = lose_the_answer(monkeypatch, is_committed=is_committed)
    async with asyncio.timeout(60):
        while True:
            await world.store.sweep(later(60), lease_seconds=30, kill_seconds=5, max_lost_workers=3)
            found = await world.store.get_run_by_id(run.id)
            if found.status is RunStatus.NEW:  # else the server has not noticed yet that the first one is gone
                break
    assert lost
    assert (found.status, found.lost_workers, found.last_event) == (RunStatus.NEW, 1, run.last_event + 1)


@pytest.mark.parametrize("is_committed", [True, False])
async def test_a_claim_whose_answer_was_lost_is_had(
    world: World, monkeypatch: pytest.MonkeyPatch, is_committed: bool
) -> None:
    runs = [await world.run() for _ in range(2)]
    lost = lose_the_answer(monkeypatch, is_committed=is_committed)
    claimed = await world.store.claim("worker", NOW)
    assert lost
    assert claimed is not None
    assert (claimed.lease, claimed.last_event) == (1, 2)
    if is_committed:
        assert claimed.id == runs[0].id
    # Else the server may not have noticed yet that the first claim is gone, and its row was passed over.
    async with asyncio.timeout(60):
        following = None
        while following is None:
            following = await world.store.claim("worker", later(1))
    assert {claimed.id, following.id} == {run.id for run in runs}


@pytest.mark.parametrize("is_committed", [True, False])
async def test_a_run_whose_answer_was_lost_is_made_once(
    world: World, monkeypatch: pytest.MonkeyPatch, is_committed: bool
) -> None:
    lost = lose_the_answer(monkeypatch, is_committed=is_committed)
    run = await world.run()
    assert lost
    assert await world.store.get_run_by_id(run.id) == run
    assert await world.store.queue_depth() == 1


@pytest.mark.parametrize("is_committed", [True, False])
async def test_the_first_admin_is_made_once(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch, is_committed: bool
) -> None:
    store = await SqlStore.open(server.upgraded())
    try:
        lost = lose_the_answer(monkeypatch, is_committed=is_committed)
        made = await store.add_first_admin(
            ("Default", uuid4()), ("ada@example.org", "Ada", uuid4()), prefix="trd_", digest="d" * 64, now=NOW
        )
        assert lost
        assert made is not None
        assert await store.organizations() == (made[0],)
        assert [user for user, _ in await store.users(made[0].id)] == [made[1]]
    finally:
        await store.close()


async def test_what_may_not_be_repeated_is_said_to_be_unknown(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run, fence = await world.claimed()
    lose_the_answer(monkeypatch, is_committed=True)
    with pytest.raises(Unavailable, match="while a change was saved"):
        await world.store.record(fence, [started(1)], NOW, step=StepUpdate(1, StepStatus.RUNNING))
    assert (await world.store.get_run_by_id(run.id)).steps[0].status is StepStatus.RUNNING
