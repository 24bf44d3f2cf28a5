"""Two workers that both believe they hold a run: one is stopped in its tracks until the other has taken over.
Woken, the late one writes nothing, pushes nothing, ends its engine and cleans up; then it works on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.cluster import Cluster, database_of
from tests.support.cluster_node import Node
from tests.support.cluster_runs import (
    REPOSITORY,
    alive,
    check,
    leases,
    let_go,
    open_gate,
    snapshot,
    start,
    wait_at_gate,
    wait_until,
    writes,
)
from tests.support.git_server import GitServer, Kind
from tests.support.postgres import PostgresServer
from tests.support.service import is_event

pytestmark = pytest.mark.postgres

STEPS = [writes("one.txt"), writes("two.txt"), writes("three.txt")]


@pytest.fixture
def git() -> Iterator[GitServer]:
    with GitServer() as server:
        server.create(REPOSITORY, {"README.md": "# Demo\n"})
        yield server


@pytest.fixture
def sandbox() -> str:
    """The best of this machine, unless a test says otherwise."""
    return ""


@pytest.fixture
def cluster(sandbox: str, tmp_path: Path, postgres_server: PostgresServer) -> Iterator[Cluster]:
    with Cluster(tmp_path, database=database_of(postgres_server), settings={"SANDBOX": sandbox}) as made:
        yield made


def take_over(cluster: Cluster, process_id: str) -> tuple[Node, Node]:
    """The worker that has the run stands still; the other one has it then. Both."""
    late = cluster.worker_of(process_id)
    [other] = [worker for worker in cluster.workers if worker is not late]
    late.pause()
    cluster.wait_for(process_id, is_event("run.started", lease=2))
    return late, other


def wake_after_the_end(cluster: Cluster, git: GitServer, process_id: str, late: Node) -> None:
    """The other worker has done the run; what the late one does then is nothing."""
    cluster.wait(process_id, "Success")
    left = late.descendants()
    before, refs = snapshot(cluster, process_id), git.git(REPOSITORY, "show-ref")
    late.resume()
    wait_until(lambda: not alive(left) and not late.workspaces, cluster, "the late worker keeps things")
    assert snapshot(cluster, process_id) == before
    assert git.git(REPOSITORY, "show-ref") == refs
    check(cluster, git, process_id)
    assert leases(cluster.events(process_id)) == [1, 2]


def goes_on(cluster: Cluster, git: GitServer, late: Node, other: Node) -> None:
    """The late worker alone does another run."""
    other.stop()
    next_id = start(cluster, git, [writes("next.txt")], branch="next")
    check(cluster, git, next_id, branch="next")
    assert cluster.worker_of(next_id) is late
    late.stop()


@pytest.mark.parametrize("sandbox", ["none", "bubblewrap"])
def test_while_its_engine_works(cluster: Cluster, git: GitServer) -> None:
    """It wakes while its engine is still at it, and the other worker's, too."""
    process_id = start(cluster, git, [STEPS[0], writes("two.txt", waits_in="implementation"), STEPS[2]])
    wait_at_gate(cluster, process_id)
    late, other = take_over(cluster, process_id)
    engines = late.descendants()
    assert alive(engines)
    late.resume()
    wait_until(lambda: not alive(engines) and not late.workspaces, cluster, "its engine goes on")
    let_go(cluster, process_id, lease=2)
    check(cluster, git, process_id)
    events = cluster.events(process_id)
    assert leases(events) == [1, 2]
    taken = next(event["number"] for event in events if is_event("run.started", lease=2)(event))
    implemented = [e for e in events if e["number"] > taken and is_event("phase.finished", step=2)(e)]
    assert [event["phase"] for event in implemented] == ["Implementation", "Validation"]
    goes_on(cluster, git, late, other)


def test_between_two_phases(cluster: Cluster, git: GitServer) -> None:
    """Its engine has ended while it stood still."""
    process_id = start(cluster, git, [STEPS[0], writes("two.txt", waits_in="implementation"), STEPS[2]])
    wait_at_gate(cluster, process_id)
    engines = cluster.worker_of(process_id).descendants()
    late, other = take_over(cluster, process_id)
    open_gate(late)
    wait_until(lambda: not alive(engines), cluster, "its engine goes on")
    let_go(cluster, process_id, lease=2)
    wake_after_the_end(cluster, git, process_id, late)
    goes_on(cluster, git, late, other)


@pytest.mark.parametrize("kind", [Kind.RECEIVE_REFS, Kind.RECEIVE])
def test_while_its_push_is_held_before_the_server_takes_it(cluster: Cluster, git: GitServer, kind: Kind) -> None:
    """The other worker finds no commit of the step, does it and pushes; then the old push arrives."""
    hold = git.hold(kind)
    process_id = start(cluster, git, STEPS)
    hold.wait()
    late, other = take_over(cluster, process_id)
    cluster.wait(process_id, "Success")
    done = git.git(REPOSITORY, "show-ref")
    hold.release()
    wake_after_the_end(cluster, git, process_id, late)
    assert git.git(REPOSITORY, "show-ref") == done
    goes_on(cluster, git, late, other)


def test_after_the_server_took_its_push(cluster: Cluster, git: GitServer) -> None:
    """The other worker finds the step's commit, and does not do it again."""
    hold = git.hold(Kind.RECEIVE, after=True)
    process_id = start(cluster, git, STEPS)
    hold.wait()
    first = git.log(REPOSITORY, "work")[0].sha
    late, other = take_over(cluster, process_id)
    cluster.wait(process_id, "Success")
    hold.release()
    wake_after_the_end(cluster, git, process_id, late)
    assert cluster.get(process_id)["steps"][0]["commitSha"] == first
    goes_on(cluster, git, late, other)
