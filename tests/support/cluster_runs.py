"""Runs on a cluster: how the tests start them, and what must hold when one is over."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import psutil
import psycopg

from tests.support.cluster import Cluster
from tests.support.cluster_node import Node
from tests.support.git_server import GitServer
from tests.support.service import PATIENCE_SECONDS, Json, is_alive, is_waiting, waits

REPOSITORY = "acme/demo"

#: Everything that is written down of a run, but for when it was read.
_SNAPSHOT = """
    SELECT 'run', row_to_json(runs)::text FROM runs WHERE uuid = %(uuid)s
    UNION ALL SELECT 'step', row_to_json(steps)::text FROM steps
        WHERE run_id = (SELECT id FROM runs WHERE uuid = %(uuid)s)
    UNION ALL SELECT 'event', row_to_json(events)::text FROM events
        WHERE run_id = (SELECT id FROM runs WHERE uuid = %(uuid)s)
    UNION ALL SELECT 'artifact', row_to_json(artifacts)::text FROM artifacts
        WHERE run_id = (SELECT id FROM runs WHERE uuid = %(uuid)s)
    ORDER BY 1, 2
"""


def start(
    cluster: Cluster,
    git: GitServer,
    steps: Sequence[Json],
    *,
    branch: str = "work",
    repository: str = REPOSITORY,
    **more: Any,
) -> str:
    """`more`: where to ask (`through`, `key`), and fields of the request."""
    return cluster.start(
        gitUrl=git.url(repository),
        branchSource="main",
        branchWork=branch,
        engine="Dummy",
        steps=list(steps),
        **more,
    )


def writes(path: str, *, sleeps: float = 0, waits_in: str | None = None) -> Json:
    """A step that adds a line to a file, and takes its time; in the phase that is named until it is let go."""
    more = f', {{"sleep": {sleeps}}}' if sleeps else ""
    if waits_in is not None:
        more += f", {json.dumps({'phase': waits_in, **waits()})}"
    return {"step": f'dummy: [{{"append": ["{path}", "1\\n"]}}{more}]', "isCommitableStep": True}


def wait_at_gate(cluster: Cluster, process_id: str, *, lease: int = 1) -> None:
    """Until the step that waits is there, under that lease or a later one."""
    is_there = is_waiting(cluster.follow(process_id), lease=lease)
    assert is_there, f"it ended without waiting: {cluster.get(process_id)}"


def let_go(cluster: Cluster, process_id: str, *, lease: int = 1) -> None:
    """Lets it go on, with the worker that has it then."""
    wait_at_gate(cluster, process_id, lease=lease)
    open_gate(cluster.worker_of(process_id))


def open_gate(worker: Node) -> None:
    for code in (worker.data / "runs").glob("*/code"):
        (code / "go").touch()


def check(
    cluster: Cluster, git: GitServer, process_id: str, *, branch: str = "work", repository: str = REPOSITORY
) -> Json:
    """Waits for Success; then: one commit a step in order, no event missing or double, nothing left."""
    process = cluster.wait(process_id, "Success")
    commits = git.log(repository, branch)[:-1]
    wanted = [each for each in process["steps"] if each["isCommitableStep"]][::-1]
    assert [commit.sha for commit in commits] == [each["commitSha"] for each in wanted]
    for commit, done in zip(commits, wanted, strict=True):
        assert commit.message.count("Treadle-Step:") == 1
        assert commit.message.endswith(done["id"])
    numbers = [event["number"] for event in cluster.events(process_id)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert cluster.wait_until_clean() == []
    return process


def calls(events: Sequence[Json]) -> list[tuple[int, str]]:
    """The engine's calls: step and phase of each."""
    return [(event["step"], event["phase"]) for event in events if event["type"] == "phase.started"]


def leases(events: Sequence[Json]) -> list[int]:
    return [int(event["data"]["lease"]) for event in events if event["type"] == "run.started"]


def began_work(cluster: Cluster, process_id: str) -> str:
    """When its first worker first told of something, which is after it had the run. `dateStarted` is when it asked for
    one; what the run waited for may have come between."""
    events = cluster.events(process_id)
    at = next(at for at, event in enumerate(events) if event["type"] == "run.started")
    return str(events[at + 1]["date"])


def snapshot(cluster: Cluster, process_id: str) -> list[tuple[Any, ...]]:
    """All that the database says of a run."""
    with psycopg.connect(cluster.database_url) as connection:
        return connection.execute(_SNAPSHOT, {"uuid": process_id}).fetchall()


def wait_until(holds: Callable[[], bool], cluster: Cluster, said: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Fails with the ends of the logs."""
    try:
        cluster.nodes[0].wait_until(holds, said, seconds)
    except AssertionError as error:
        raise AssertionError(f"{said}\n{cluster.logs()}") from error


def alive(processes: Sequence[psutil.Process]) -> list[str]:
    """Command lines of those that live still."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if is_alive(process):
                found.append(" ".join(process.cmdline())[:200])
    return found
