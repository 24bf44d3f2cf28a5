"""(g) claims a second on both stores, beside the driver's bare SQL, and with ten thousand runs in the queue."""

import asyncio
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import psycopg
from tests.support.postgres import NoPostgres, running_postgres
from tests.support.stores import a_draft

from benchmarks.measure import Row, ratio, scratch
from treadle.domain.identity import Principal, Role
from treadle.domain.run import RunDraft
from treadle.domain.states import RunStatus
from treadle.ports import Fence
from treadle.store.address import SqliteAddress, parse, sqlite_url
from treadle.store.sql import SqlStore
from treadle.store.sqlite_file import PRAGMAS

RUNS = 400  # a process and round
ROUNDS = 5
QUEUED = 10_000
PROCESSES = (1, 4)

#: What a claim cannot do without: one statement, one commit.
_BARE = (
    "UPDATE runs SET status = 'Running', lease = lease + 1, worker = 'bare', date_started = 1, date_runner_ping = 1"
    " WHERE id = (SELECT id FROM runs WHERE status = 'New' ORDER BY id LIMIT 1{}) RETURNING id"
)
_SQLITE, _POSTGRES = _BARE.format(""), _BARE.format(" FOR UPDATE SKIP LOCKED")


def rows() -> Iterator[Row]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=scratch(), prefix="treadle-bench-")))
        yield from _of("SQLite", sqlite_url(folder / "treadle.db"))
        try:
            server = stack.enter_context(running_postgres())
        except NoPostgres as error:
            print(f"  PostgreSQL is left out: {error}", flush=True)
            return
        yield from _of("PostgreSQL (fsync off)", server.database())


def _of(name: str, url: str) -> Iterator[Row]:
    asyncio.run(_owner(url))
    for count in PROCESSES:
        taken: dict[str, list[float]] = {"bare": [], "treadle": []}
        spread: list[float] = []
        for _ in range(ROUNDS):
            for kind, seconds in taken.items():
                asyncio.run(_refill(url, RUNS * count))
                began, counts = _race(url, kind, count)
                seconds.append(began)
                if kind == "treadle":
                    spread.append(min(counts) / max(counts))
        claims = RUNS * count
        who = "1 process" if count == 1 else f"{count} processes"
        for kind, seconds in taken.items():
            yield Row(f"claims, {name}, {who}, {kind}", claims / statistics.median(seconds), "1/s")
        yield Row(f"  ratio, {who}", ratio(taken["bare"], taken["treadle"]))
        if count > 1:
            yield Row("  least beside most of a process", statistics.median(spread))
    empty, full = asyncio.run(_queue_times(url))
    yield Row(f"one claim, {name}, empty queue", 1000 * statistics.median(empty), "ms")
    yield Row(f"  with {QUEUED:,} in the queue", 1000 * statistics.median(full), "ms")
    yield Row("  ratio", statistics.median(full) / statistics.median(empty))


async def _owner(url: str) -> None:
    store = await SqlStore.open(url)
    try:
        now = datetime.now(UTC)
        organization = await store.add_organization("Example", uuid4(), now)
        user = await store.add_user("ada@example.org", "Ada", uuid4(), now)
        await store.set_role(organization.id, user.id, Role.ADMIN)
    finally:
        await store.close()


async def _principal(store: SqlStore) -> Principal:
    organization, user = (await store.organizations())[0], await store.find_user("ada@example.org")
    found = await store.principal_by_uuids(organization.uuid, user.uuid)
    if found is None:
        raise RuntimeError("the owner is not there")
    return found


async def _fill(store: SqlStore, count: int) -> None:
    principal, draft = await _principal(store), a_draft("one")

    async def make(wanted: RunDraft) -> None:
        now = datetime.now(UTC)
        await store.create_run(wanted, principal, uuid=uuid4(), step_ids=[uuid4()], secrets={}, now=now)

    for start in range(0, count, 200):
        chunk = [replace(draft, branch_work=f"work-{uuid4()}") for _ in range(start, min(start + 200, count))]
        await asyncio.gather(*map(make, chunk))


async def _refill(url: str, count: int) -> None:
    """Exactly so many New runs, and none Running."""
    store = await SqlStore.open(url)
    try:
        await _fill(store, count)
    finally:
        await store.close()


def _race(url: str, kind: str, count: int) -> tuple[float, Sequence[int]]:
    """Seconds until so many processes have claimed all there is, beginning together; and what each got."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.claims", kind, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    try:
        for process in processes:
            _read(process)
        for process in processes:
            print("go", file=process.stdin, flush=True)
        done = [json.loads(_read(process)) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    _clear(url)
    return max(end for _, _, end in done) - min(began for _, began, _ in done), [claimed for claimed, _, _ in done]


def _read(process: "subprocess.Popen[str]") -> str:
    if process.stdout is None:
        raise RuntimeError("no pipe")
    return process.stdout.readline()


def _clear(url: str) -> None:
    """Ends what was claimed, past the store: it does not count here."""
    statement = "UPDATE runs SET status = 'Success', date_completed = 1 WHERE status = 'Running'"
    address = parse(url)
    if isinstance(address, SqliteAddress):
        with closing(sqlite3.connect(address.path)) as connection:
            connection.execute(statement)
            connection.execute("DELETE FROM branch_holders")
            connection.commit()
    else:
        with psycopg.connect(url, autocommit=True) as server:
            server.execute(statement.encode())
            server.execute("DELETE FROM branch_holders")


async def _queue_times(url: str) -> tuple[list[float], list[float]]:
    """Of one claim after another, while nothing else waits and while thousands do."""
    store = await SqlStore.open(url)
    try:
        times: list[list[float]] = []
        for queued in (0, QUEUED):
            await _fill(store, queued)
            times.append([await _one(store) for _ in range(300)][100:])
    finally:
        await store.close()
    return times[0], times[1]


async def _one(store: SqlStore) -> float:
    await _fill(store, 1)
    began = time.perf_counter()
    run = await store.claim("bench", datetime.now(UTC))
    taken = time.perf_counter() - began
    if run is None:
        raise RuntimeError("there was one to claim")
    await store.finish(Fence(run.id, run.lease), RunStatus.SUCCESS, None, datetime.now(UTC))
    return taken


# ---- a process that claims all there is ------------------------------------------------------------------------------


def _bare_sqlite(path: Path, ready: Callable[[], None]) -> int:
    with closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as connection:
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").fetchall()
        ready()
        claimed = 0
        while True:
            connection.execute("BEGIN IMMEDIATE")
            found = connection.execute(_SQLITE).fetchall()
            connection.execute("COMMIT")
            if not found:
                return claimed
            claimed += 1


def _bare_postgres(url: str, ready: Callable[[], None]) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        ready()
        claimed = 0
        while connection.execute(_POSTGRES.encode()).fetchall():
            claimed += 1
        return claimed


async def _treadle(url: str, ready: Callable[[], None]) -> int:
    """As a worker does: one claim after another."""
    store = await SqlStore.open(url)
    try:
        await store.check()
        ready()
        claimed = 0
        while await store.claim("bench", datetime.now(UTC)) is not None:
            claimed += 1
        return claimed
    finally:
        await store.close()


def _main(kind: str, url: str) -> None:
    began: list[float] = []

    def ready() -> None:
        print("ready", flush=True)
        sys.stdin.readline()
        began.append(time.monotonic())

    address = parse(url)
    if kind == "treadle":
        claimed = asyncio.run(_treadle(url, ready))
    elif isinstance(address, SqliteAddress):
        claimed = _bare_sqlite(address.path, ready)
    else:
        claimed = _bare_postgres(url, ready)
    print(json.dumps([claimed, began[0], time.monotonic()]), flush=True)


if __name__ == "__main__":
    _main(*sys.argv[1:])
