"""(h) the wide size: POST to claimed, runs a minute with 1, 2 and 4 workers, recovery after a kill, 200 readers."""

import base64
import secrets
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

import psutil
import psycopg
from tests.support.cluster_doors import Doors
from tests.support.cluster_node import Node
from tests.support.git_server import GitServer
from tests.support.postgres import running_postgres
from tests.support.rabbit import running_rabbit
from tests.support.service import Json, Service, step

from benchmarks.measure import Row, scratch
from benchmarks.stream_readers import Readers

IDLE_POSTS = 60
LEASE_SECONDS = 6.0
RUNS = 48
SLOTS = 4
KILLS = 3
READERS = 200
SAID = 200


def rows() -> Iterator[Row]:
    with ExitStack() as stack:
        git = stack.enter_context(GitServer())
        for number in range(RUNS):
            git.create(f"demo{number}", {f"src/{each}.py": f"print({each})\n" for each in range(20)})
        server = stack.enter_context(running_postgres())
        broker = stack.enter_context(running_rabbit())
        with (
            tempfile.TemporaryDirectory(dir=scratch(), prefix="treadle-bench-") as folder,
            Service(Path(folder) / "data", SLOTS=str(SLOTS), POLL_SECONDS="1") as service,
        ):
            doors = Doors(lambda: [service.url], service.key)
            yield from latencies(doors, git, "SQLite, one process")
            doors.close()
        with deployed(1, server.database(), None) as wide:
            yield from latencies(wide.doors, git, "PostgreSQL and its notifications")
        with deployed(1, server.database(), broker.url(broker.vhost())) as wide:
            yield from latencies(wide.doors, git, "PostgreSQL and RabbitMQ")
            yield from delivery(wide, git)
        alone = 0.0
        for workers in (1, 2, 4):
            with deployed(workers, server.database(), broker.url(broker.vhost())) as wide:
                taken, busy, parts = throughput(wide, git)
            alone = alone or taken
            name = f"{workers} worker{'s' * (workers > 1)} of {SLOTS} slots"
            yield Row(f"{name}: Dummy runs a minute", RUNS / taken * 60)
            yield Row(f"{name}: beside one worker", alone / taken)
            yield Row(f"{name}: of both cores, in use", busy)
            for part, share in parts.items():
                yield Row(f"{name}: cores that {part} took", share)
        with deployed(2, server.database(), broker.url(broker.vhost())) as wide:
            yield from recoveries(wide, git)
        database = server.database()
        with deployed(1, database, broker.url(broker.vhost())) as wide:
            yield from needs(wide, git, database, server.directory / "data")


@dataclass(frozen=True)
class Wide:
    """One API process and its workers."""

    doors: Doors
    api: Node
    workers: Sequence[Node]

    def start(self, git: GitServer, number: int, branch: str, text: str = "Append a line") -> str:
        return start(self.doors, git, number, branch, text)


def start(doors: Doors, git: GitServer, number: int, branch: str, text: str = "Append a line") -> str:
    """A run of one step."""
    return doors.start(
        gitUrl=git.url(f"demo{number % RUNS}"),
        branchSource="main",
        branchWork=branch,
        engine="Dummy",
        steps=[step(text)],
    )


@contextmanager
def deployed(workers: int, database: str, broker: str | None) -> Iterator[Wide]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=scratch(), prefix="treadle-bench-")))
        key = f"trd_{secrets.token_urlsafe(24)}"
        settings = {
            "ALLOW_PRIVATE_HOSTS": "1",
            "LEASE_SECONDS": str(LEASE_SECONDS),
            "SLOTS": str(SLOTS),
            "SECRET_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
            "BOOTSTRAP_API_KEY": key,
            "BLOB_URL": f"file://{folder / 'blobs'}",
            "DATABASE_URL": database,
            **({"BROKER_URL": broker} if broker else {}),
        }
        (folder / "blobs").mkdir()
        api = Node("api", folder, settings, is_api=True)
        nodes = [api, *(Node(f"worker{number}", folder, settings, is_api=False) for number in range(workers))]
        for node in nodes:
            stack.callback(node.close)
            node.start()
            stack.callback(node.stop)
        doors = Doors(lambda: [api.url], key)
        stack.callback(doors.close)
        yield Wide(doors, api, nodes[1:])


# ---- from POST to claimed, while nothing else is to do ---------------------------------------------------------------


def latencies(doors: Doors, git: GitServer, name: str) -> Iterator[Row]:
    posts, claims = [], []
    for number in range(IDLE_POSTS):
        asked = time.time()
        run = start(doors, git, number, f"idle-{secrets.token_hex(4)}")
        posts.append(time.time() - asked)
        doors.wait(run, "Success")
        claims.append(_date(_first(doors.events(run), "run.started")) - asked)
    yield Row(f"{name}: POST, median", statistics.median(posts) * 1000, "ms")
    yield Row(f"{name}: POST to claimed, idle, p50", statistics.median(claims) * 1000, "ms")
    yield Row(f"{name}: POST to claimed, idle, p99", statistics.quantiles(claims, n=100)[98] * 1000, "ms")


def _first(events: Sequence[Json], kind: str) -> Json:
    return next(event for event in events if event["type"] == kind)


def _date(event: Json) -> float:
    return datetime.fromisoformat(event["date"]).timestamp()


# ---- runs a minute ---------------------------------------------------------------------------------------------------


def throughput(wide: Wide, git: GitServer) -> tuple[float, float, dict[str, float]]:
    """Seconds for RUNS runs, each on a repository of its own; the share of the machine in use; cores by part."""
    runs = [wide.start(git, number, "warm") for number in range(RUNS)]  # mirrors, and whatever else is made once
    for run in runs:
        wide.doors.wait(run, "Success", seconds=300)
    with Usage({"the API": [wide.api], "the workers and their Git and engines": wide.workers}) as usage:
        began = time.perf_counter()
        runs = [wide.start(git, number, "measured") for number in range(RUNS)]
        ended = [wide.doors.wait(run, "Success", seconds=300) for run in runs]
        taken = time.perf_counter() - began
    assert len(ended) == RUNS
    return taken, usage.busy, {part: seconds / taken for part, seconds in usage.seconds.items()}


class Usage:
    """Processor time of nodes and their descendants, ended ones included, and of the whole machine, while inside."""

    def __init__(self, parts: dict[str, Sequence[Node]]) -> None:
        self._parts = {part: nodes for part, nodes in parts.items() if nodes}
        self.seconds: dict[str, float] = {}
        self.busy = 0.0

    def __enter__(self) -> Self:
        self._before = self._taken()
        psutil.cpu_percent()
        return self

    def __exit__(self, *_error: object) -> None:
        self.busy = psutil.cpu_percent() / 100
        self.seconds = {part: taken - self._before[part] for part, taken in self._taken().items()}

    def _taken(self) -> dict[str, float]:
        return {part: sum(_processor_seconds(node) for node in nodes) for part, nodes in self._parts.items()}


def _processor_seconds(node: Node) -> float:
    assert node.process is not None
    times = psutil.Process(node.process.pid).cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


# ---- what a run needs ------------------------------------------------------------------------------------------------


def needs(wide: Wide, git: GitServer, database: str, data: Path) -> Iterator[Row]:
    """Of three steps that take their engines no time: what each part does for one run, to plan with."""
    steps = [step("Append a line") for _ in range(3)]

    def batch(branch: str) -> list[str]:
        runs = [
            wide.doors.start(
                gitUrl=git.url(f"demo{number}"), branchSource="main", branchWork=branch, engine="Dummy", steps=steps
            )
            for number in range(RUNS)
        ]
        for run in runs:
            wide.doors.wait(run, "Success", seconds=300)
        return runs

    batch("needs-warm")
    server = psutil.Process(int((data / "postmaster.pid").read_text().splitlines()[0]))
    with (
        psycopg.connect(database, autocommit=True) as connection,
        Usage({"the API": [wide.api], "a worker, its Git and engines": wide.workers}) as usage,
    ):
        before, took = _work_of(connection), _seconds_of(server)
        runs = batch("needs")
        after, took = _work_of(connection), _seconds_of(server) - took
        kept = connection.execute(
            "SELECT avg(event_bytes), avg(last_event) FROM (SELECT * FROM runs ORDER BY id DESC LIMIT %s) AS measured",
            (RUNS,),
        ).fetchone()
    assert kept is not None
    for name, unit in (
        ("transactions", ""),
        ("rows written", ""),
        ("write-ahead log", "kB"),
        ("tables and indexes", "kB"),
    ):
        yield Row(
            f"a run of three steps: {name}", (after[name] - before[name]) / len(runs) / (1e3 if unit else 1), unit
        )
    yield Row("a run of three steps: events", float(kept[1]))
    yield Row("a run of three steps: their data", float(kept[0]) / 1e3, "kB")
    for part, seconds in {**usage.seconds, "PostgreSQL": took}.items():
        yield Row(f"a run of three steps: processor time of {part}", seconds / len(runs) * 1000, "ms")


def _work_of(connection: "psycopg.Connection[tuple[int, ...]]") -> dict[str, int]:
    connection.execute("SELECT pg_stat_clear_snapshot()")
    row = connection.execute(
        "SELECT xact_commit, tup_inserted + tup_updated, pg_current_wal_lsn() - '0/0'::pg_lsn,"
        " pg_database_size(datname) FROM pg_stat_database WHERE datname = current_database()"
    ).fetchone()
    assert row is not None
    return dict(
        zip(("transactions", "rows written", "write-ahead log", "tables and indexes"), map(int, row), strict=True)
    )


def _seconds_of(server: psutil.Process) -> float:
    """Of a server whose processes go on."""
    return sum(sum(process.cpu_times()[:2]) for process in (server, *server.children(recursive=True)))


# ---- after a kill ----------------------------------------------------------------------------------------------------


def recoveries(wide: Wide, git: GitServer) -> Iterator[Row]:
    """Until the other worker has the run: after -9, and after SIGTERM."""
    text = 'dummy: [{"append": ["x", "1\\n"]}, {"sleep": 4}]'

    def moved(end: Callable[[Node], None], name: str) -> float:
        run = wide.start(git, 0, name, text)
        wide.doors.wait_for(run, lambda event: event["type"] == "phase.started" and event["phase"] == "Implementation")
        started = [event for event in wide.doors.events(run) if event["type"] == "run.started"][-1]
        holder = next(node for node in wide.workers if _is(node, started))
        at = time.time()
        end(holder)
        again = wide.doors.wait_for(
            run, lambda event: event["type"] == "run.started" and event["number"] > started["number"], seconds=60
        )
        wide.doors.wait(run, "Success")
        holder.start()
        return _date(again) - at

    killed = [moved(Node.kill9, f"killed-{number}") for number in range(KILLS)]
    ended = [moved(Node.terminate, f"ended-{number}") for number in range(KILLS)]
    yield Row("kill -9 to the next claim, median", statistics.median(killed), "s")
    yield Row("kill -9 to the next claim, beside the lease", statistics.median(killed) / LEASE_SECONDS)
    yield Row("SIGTERM to the next claim, median", statistics.median(ended), "s")


def _is(node: Node, started: Json) -> bool:
    return node.process is not None and str(started["data"]["worker"]).endswith(f":{node.process.pid}")


# ---- readers ---------------------------------------------------------------------------------------------------------


def delivery(wide: Wide, git: GitServer) -> Iterator[Row]:
    """An engine says something every 20 ms, on another process than the one that the readers ask."""
    said = [part for number in range(SAID) for part in ({"say": f"line {number}"}, {"sleep": 0.02})]
    text = "dummy: " + str(said).replace("'", '"')
    run = wide.start(git, 1, "read", text)
    path = f"/code-generation/processes/by-id/{run}/events"
    readers = Readers(wide.api.url + path, wide.doors.key, READERS)
    reading = threading.Thread(target=readers.read)
    reading.start()
    wide.doors.wait(run, "Success", seconds=120)
    reading.join(60)
    lags = sorted(readers.lags("engine.text"))
    wanted = READERS * sum(event["type"] == "engine.text" for event in wide.doors.events(run))
    assert wanted >= READERS * SAID
    assert len(lags) == wanted, f"{len(lags)} of {wanted} lines arrived"
    yield Row(f"{READERS} readers: event to reader, p50", statistics.median(lags) * 1000, "ms")
    yield Row(f"{READERS} readers: event to reader, p99", lags[int(len(lags) * 0.99)] * 1000, "ms")
