"""Many processes on PostgreSQL, with RabbitMQ and without: runs move, wait, wake and are killed across them."""

import base64
import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import httpx2
import psycopg
import pytest
from tests.support.cluster import Cluster, Upstream, broker_of, database_of
from tests.support.cluster_doors import PROCESSES
from tests.support.cluster_node import Node
from tests.support.cluster_runs import (
    REPOSITORY,
    began_work,
    calls,
    check,
    leases,
    let_go,
    start,
    wait_at_gate,
    wait_until,
    writes,
)
from tests.support.git_server import GitServer, Kind
from tests.support.postgres import PostgresServer
from tests.support.rabbit import RabbitServer, running_rabbit
from tests.support.service import PATIENCE_SECONDS, Json, is_event

pytestmark = pytest.mark.postgres

#: So rarely that what happens before was not found by looking, but told.
RARELY = {"POLL_SECONDS": "90", "LEASE_SECONDS": "270"}

#: What is told must be there in this time, on a busy machine: seconds.
PROMPT_SECONDS = 60.0


@pytest.fixture
def git() -> Iterator[GitServer]:
    with GitServer() as server:
        server.create(REPOSITORY, {"README.md": "# Demo\n"})
        yield server


@pytest.fixture(params=["broker", "notify"])
def broker(request: pytest.FixtureRequest) -> Upstream | None:
    """A virtual host of RabbitMQ; None: the processes tell each other through PostgreSQL."""
    if request.param == "notify":
        return None
    server: RabbitServer = request.getfixturevalue("rabbit_server")
    return broker_of(server)


def analysed_and_implemented() -> list[Json]:
    """The second step waits in validation, when there is something to lose."""
    return [writes("one.txt"), writes("two.txt", waits_in="validation"), writes("three.txt")]


def was_continued(cluster: Cluster, process_id: str) -> None:
    """At the phase that was hit, in the same conversation, and nothing was paid for twice but that phase."""
    events = cluster.events(process_id)
    assert leases(events) == [1, 2]
    [restored] = [event["data"] for event in events if event["type"] == "workspace.restored"]
    assert restored == {"steps": [1], "phase": "Implementation", "isConversationKept": True}
    once = [(step, phase) for step in (1, 2, 3) for phase in ("Analysis", "Implementation", "Validation")]
    again = once.index((2, "Validation"))
    assert calls(events) == [*once[: again + 1], *once[again:]]


def test_a_graceful_stop_hands_its_runs_over_at_once(
    tmp_path: Path, git: GitServer, postgres_server: PostgresServer, broker: Upstream | None
) -> None:
    with Cluster(tmp_path, database=database_of(postgres_server), broker=broker, settings=RARELY) as cluster:
        process_id = start(cluster, git, analysed_and_implemented())
        wait_at_gate(cluster, process_id)
        holder = cluster.worker_of(process_id)
        began = time.monotonic()
        holder.terminate()
        cluster.wait_for(process_id, is_event("run.started", lease=2))
        assert time.monotonic() - began < PROMPT_SECONDS
        let_go(cluster, process_id, lease=2)
        check(cluster, git, process_id)
        was_continued(cluster, process_id)
        assert cluster.worker_of(process_id) is not holder


def test_a_killed_worker_costs_the_phase_that_was_hit(
    tmp_path: Path, git: GitServer, postgres_server: PostgresServer, rabbit_server: RabbitServer
) -> None:
    with Cluster(tmp_path, database=database_of(postgres_server), broker=broker_of(rabbit_server)) as cluster:
        process_id = start(cluster, git, analysed_and_implemented())
        wait_at_gate(cluster, process_id)
        holder = cluster.worker_of(process_id)
        holder.kill9()
        let_go(cluster, process_id, lease=2)
        holder.start()  # which sweeps up what the dead one left on that disk
        check(cluster, git, process_id)
        was_continued(cluster, process_id)


def test_a_kill_through_one_process_reaches_the_worker_elsewhere(
    tmp_path: Path, git: GitServer, postgres_server: PostgresServer, broker: Upstream | None
) -> None:
    with Cluster(
        tmp_path, database=database_of(postgres_server), broker=broker, apis=2, workers=1, settings=RARELY
    ) as cluster:
        process_id = start(cluster, git, [{"step": 'dummy: [{"hang": true}]'}], through=cluster.apis[0].url)
        cluster.wait_for(process_id, is_event("phase.started", phase="Implementation"))
        began = time.monotonic()
        cluster.kill(process_id, through=cluster.apis[1].url)
        finished = cluster.wait_for(process_id, is_event("run.finished"))
        assert time.monotonic() - began < PROMPT_SECONDS
        # The worker said so itself; nobody had to do it in its place.
        assert finished["data"] == {"status": "Killed", "failureDetails": "The run was killed."}
        assert cluster.wait_until_clean() == []


def test_a_stream_shows_at_once_what_a_worker_elsewhere_writes(
    tmp_path: Path, git: GitServer, postgres_server: PostgresServer, broker: Upstream | None
) -> None:
    with Cluster(
        tmp_path, database=database_of(postgres_server), broker=broker, apis=2, workers=1, settings=RARELY
    ) as cluster:
        process_id = start(cluster, git, [writes("one.txt", sleeps=1)], through=cluster.apis[0].url)
        late: list[float] = []
        numbers: list[int] = []
        for event in streamed(cluster, cluster.apis[1], process_id):
            numbers.append(event["number"])
            late.append(time.time() - datetime.fromisoformat(event["date"]).timestamp())
        assert numbers == list(range(1, len(numbers) + 1))
        assert max(late) < PROMPT_SECONDS, late
        check(cluster, git, process_id)


def streamed(cluster: Cluster, api: Node, process_id: str) -> Iterator[Json]:
    """To the last event."""
    headers = {"X-Api-Key": cluster.key, "Accept": "text/event-stream"}
    url = f"{api.url}{PROCESSES}/by-id/{process_id}/events"
    with httpx2.stream("GET", url, headers=headers, timeout=PATIENCE_SECONDS) as answer:
        for line in answer.iter_lines():
            if line.startswith("data:"):
                event: Json = json.loads(line.removeprefix("data:"))
                yield event
                if event["type"] == "run.finished":
                    return


def test_a_run_outlives_the_brokers_consumer_timeout(
    tmp_path: Path, git: GitServer, postgres_server: PostgresServer
) -> None:
    """The broker takes a message back that is held for longer; a run's is acknowledged as soon as it is claimed."""
    with (
        running_rabbit(settings={"consumer_timeout": "2000"}, application={"channel_tick_interval": 500}) as rabbit,
        Cluster(tmp_path, database=database_of(postgres_server), broker=broker_of(rabbit), settings=RARELY) as cluster,
    ):
        process_id = start(cluster, git, [writes("one.txt", sleeps=8), writes("two.txt")])
        check(cluster, git, process_id)
        events = cluster.events(process_id)
        assert leases(events) == [1]
        assert len(calls(events)) == 6


def test_processes_wait_for_a_broker_that_is_away_at_the_start(
    tmp_path: Path, git: GitServer, postgres_server: PostgresServer
) -> None:
    with running_rabbit() as rabbit:
        upstream = broker_of(rabbit)
        rabbit.stop()
        with Cluster(
            tmp_path, database=database_of(postgres_server), broker=upstream, workers=1, is_started=False
        ) as cluster:
            for node in cluster.nodes:
                node.launch()
            for node in cluster.nodes:
                node.wait_until(lambda node=node: "RabbitMQ" in node.log, "does not say that it waits")  # type: ignore[misc] # a default binds the loop's variable
                assert not node.is_ready()
            rabbit.start()
            for node in cluster.nodes:
                node.wait_ready()
            check(cluster, git, start(cluster, git, [writes("one.txt")]))


def test_a_lost_broker_delays_runs_and_loses_none(
    tmp_path: Path, git: GitServer, postgres_server: PostgresServer
) -> None:
    settings = {"POLL_SECONDS": "40", "LEASE_SECONDS": "120"}
    with (
        running_rabbit() as rabbit,
        Cluster(
            tmp_path, database=database_of(postgres_server), broker=broker_of(rabbit), settings=settings
        ) as cluster,
    ):
        check(cluster, git, start(cluster, git, [writes("one.txt")]))
        rabbit.kill9()
        away = [start(cluster, git, [writes("two.txt")], branch=f"away-{number}") for number in range(3)]
        for number, process_id in enumerate(away):
            check(cluster, git, process_id, branch=f"away-{number}")
        rabbit.start()
        for node in cluster.nodes:
            node.wait_until(lambda node=node: "connected to RabbitMQ again" in node.log, "does not come back")  # type: ignore[misc] # a default binds the loop's variable
        waits = []
        for number in range(3):
            began = time.monotonic()
            process_id = start(cluster, git, [writes("three.txt")], branch=f"back-{number}")
            cluster.wait_for(process_id, is_event("run.started"))
            waits.append(time.monotonic() - began)
            check(cluster, git, process_id, branch=f"back-{number}")
        # The first hint may be lost still: a queue on a broker that was killed takes its time to answer.
        assert sorted(waits)[1] < PROMPT_SECONDS / 2, waits


def test_processes_that_start_on_an_empty_database_together_make_one_organization(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    with Cluster(tmp_path, database=database_of(postgres_server), apis=3, workers=1) as cluster:
        with psycopg.connect(cluster.database_url) as connection:
            for table in ("organizations", "users", "memberships", "api_keys"):
                row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
                assert row == (1,), table
        for api in cluster.apis:
            assert cluster.request("GET", PROCESSES, through=api.url).status_code == httpx2.codes.OK


def test_of_two_runs_on_one_work_branch_the_second_waits(
    tmp_path: Path, git: GitServer, postgres_server: PostgresServer
) -> None:
    with Cluster(tmp_path, database=database_of(postgres_server)) as cluster:
        gate = git.hold(Kind.RECEIVE_REFS)
        first = start(cluster, git, [writes("one.txt"), writes("two.txt")])
        gate.wait()
        second = start(cluster, git, [writes("three.txt")])
        elsewhere = start(cluster, git, [writes("one.txt")], branch="elsewhere")
        cluster.wait(elsewhere, "Success")
        assert cluster.get(second)["status"] == "New"
        gate.release()
        done, last = cluster.wait(first, "Success"), cluster.wait(second, "Success")
        assert done["dateCompleted"] <= began_work(cluster, second)
        shas = [commit.sha for commit in git.log(REPOSITORY, "work")][-2::-1]
        assert shas == [each["commitSha"] for process in (done, last) for each in process["steps"]]
        assert cluster.wait_until_clean() == []


def test_an_organization_with_a_long_queue_does_not_starve_another(
    tmp_path: Path, git: GitServer, postgres_server: PostgresServer
) -> None:
    with Cluster(
        tmp_path, database=database_of(postgres_server), workers=2, is_started=False, settings={"SLOTS": "1"}
    ) as cluster:
        cluster.apis[0].start()
        key = other_organization(cluster)
        many = [start(cluster, git, [writes("one.txt")], branch=f"many-{number}") for number in range(8)]
        few = [start(cluster, git, [writes("one.txt")], branch=f"few-{number}", key=key) for number in range(2)]
        for worker in cluster.workers:
            worker.start()
        for process_id in many:
            cluster.wait(process_id, "Success")
        began = started_in_order(cluster)
        assert sorted(began.index(process_id) for process_id in few) < [4, 6]
        assert len(began) == len(many) + len(few)


def other_organization(cluster: Cluster) -> str:
    """A key of its own, made by the CLI on the same database."""
    admin(cluster, "org", "add", "Few")
    admin(cluster, "user", "add", "grace@example.org", "--org", "2", "--role", "admin")
    made = admin(cluster, "key", "create", "--user", "grace@example.org", "--org", "2", "--json")
    return str(json.loads(made)["key"])


def admin(cluster: Cluster, *arguments: str) -> str:
    node = cluster.apis[0]
    environment = {f"TREADLE_{name}": value for name, value in node.settings.items()}
    done = subprocess.run(
        [*node.command, "admin", *arguments],
        env={"PATH": "/usr/bin:/bin", "TREADLE_DATA_DIR": str(node.data), **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def started_in_order(cluster: Cluster) -> Sequence[str]:
    """The ids of all runs, by when a worker took them first."""
    wait_until(lambda: not _unfinished(cluster), cluster, "runs are left")
    with psycopg.connect(cluster.database_url) as connection:
        return [str(row[0]) for row in connection.execute("SELECT uuid FROM runs ORDER BY date_started, id").fetchall()]


def _unfinished(cluster: Cluster) -> bool:
    with psycopg.connect(cluster.database_url) as connection:
        return connection.execute("SELECT 1 FROM runs WHERE date_completed IS NULL").fetchone() is not None


def test_a_process_with_another_sealing_key_does_not_start(
    tmp_path: Path, git: GitServer, postgres_server: PostgresServer
) -> None:
    """It would fail every run that it takes."""
    with Cluster(tmp_path, database=database_of(postgres_server), workers=1) as cluster:
        run = start(cluster, git, [writes("one.txt")])
        stranger = cluster.add("stranger", is_api=False)
        stranger.settings["SECRET_KEY"] = base64.b64encode(bytes(32)).decode()
        token = cluster.request("POST", "/auth/token")  # makes the key that signs, which is sealed and stays
        assert token.status_code == httpx2.codes.OK
        stranger.launch()
        assert stranger.process is not None
        assert stranger.process.wait(PATIENCE_SECONDS) == 2
        assert "which is not loaded here" in stranger.log
        cluster.wait(run, "Success")
