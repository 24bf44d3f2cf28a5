"""The new version next to the old one: the database is migrated while runs are done, and none is lost."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.cluster import Cluster, database_of
from tests.support.cluster_node import Node
from tests.support.cluster_runs import REPOSITORY, began_work, check, leases, start, writes
from tests.support.git_server import GitServer, Kind
from tests.support.postgres import PostgresServer
from tests.support.previous import NoPrevious, unpack_previous
from tests.support.service import PATIENCE_SECONDS, Json, Service, is_event, step, waits

from treadle.store import schema


@pytest.fixture
def git() -> Iterator[GitServer]:
    with GitServer() as server:
        server.create(REPOSITORY, {"README.md": "# Demo\n"})
        yield server


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which `treadle` is the previous version."""
    try:
        return {"PYTHONPATH": str(unpack_previous(tmp_path_factory.mktemp("previous")))}
    except NoPrevious as error:  # on CI too: a shallow clone is no fault of the code
        pytest.skip(str(error))


def slow_steps() -> list[Json]:
    return [writes("one.txt", sleeps=2), writes("two.txt", sleeps=2), writes("three.txt", sleeps=2)]


@pytest.mark.postgres
def test_old_and_new_work_side_by_side_on_postgres(
    tmp_path: Path, git: GitServer, postgres_server: PostgresServer, previous: dict[str, str]
) -> None:
    with Cluster(
        tmp_path,
        database=database_of(postgres_server),
        apis=0,
        workers=0,
        is_started=False,
        settings={"SLOTS": "2", "LEASE_SECONDS": "10"},
    ) as cluster:
        old_api = cluster.add("old-api", is_api=True, environment=previous)
        old_worker = cluster.add("old-worker", is_api=False, environment=previous)
        old_api.start()
        old_worker.start()
        assert schema.current(cluster.database_url) == "0001"
        # The upgrade is to find them at it: at the push of their first step, which Git gives two minutes, then of their
        # second.
        gates = [git.hold(Kind.RECEIVE_REFS) for _ in range(2)]
        under_way = [start(cluster, git, slow_steps(), branch=f"old-{number}") for number in range(2)]
        under_way += [start(cluster, git, slow_steps(), branch=f"old-{number}") for number in range(2, 4)]
        for gate in gates:
            gate.wait()

        assert upgrade(old_worker) == 0
        assert schema.current(cluster.database_url) == schema.head() != "0001"
        after = start(cluster, git, slow_steps(), branch="asked-of-the-old", through=old_api.url)
        statuses = [cluster.get(process_id, through=old_api.url)["status"] for process_id in [*under_way, after]]
        assert statuses == ["Running", "Running", "New", "New", "New"]
        later = [git.hold(Kind.RECEIVE_REFS) for _ in range(2)]
        for gate in gates:
            gate.release()

        new_api, new_worker = cluster.add("new-api", is_api=True), cluster.add("new-worker", is_api=False)
        new_api.start()
        new_worker.start()
        # On a work branch that a run of the old version has: it waits for it.
        second = start(cluster, git, [writes("four.txt")], branch="old-0", through=new_api.url)
        fresh = start(cluster, git, slow_steps(), branch="asked-of-the-new", through=new_api.url)
        for gate in later:
            gate.release()
        cluster.wait_for(under_way[0], is_event("phase.started", step=2))
        old_worker.stop()
        assert old_worker.workspaces == []
        old_api.stop()
        cluster.nodes.remove(old_api)

        for process_id in (*under_way[1:], after, fresh):
            cluster.wait(process_id, "Success")  # nothing is clean while another is at work
        for process_id, branch in zip(
            [*under_way[1:], after, fresh],
            ["old-1", "old-2", "old-3", "asked-of-the-old", "asked-of-the-new"],
            strict=True,
        ):
            check(cluster, git, process_id, branch=branch)
        first, last = cluster.wait(under_way[0], "Success"), cluster.wait(second, "Success")
        shas = [commit.sha for commit in git.log(REPOSITORY, "old-0")][-2::-1]
        assert shas == [step["commitSha"] for process in (first, last) for step in process["steps"]]
        for process_id in (under_way[0], second):
            numbers = [event["number"] for event in cluster.events(process_id)]
            assert numbers == list(range(1, len(numbers) + 1))
        assert first["dateCompleted"] <= began_work(cluster, second)


def upgrade(node: Node) -> int:
    """`treadle db upgrade`, of this version, on the node's database."""
    environment = {f"TREADLE_{name}": value for name, value in node.settings.items()}
    done = subprocess.run(
        [*node.command, "db", "upgrade"],
        env={"PATH": os.environ["PATH"], "TREADLE_DATA_DIR": str(node.data), **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return done.returncode


class VersionedService(Service):
    """A service of the version that `code` names."""

    code: dict[str, str]

    def environment(self) -> dict[str, str]:
        return {**super().environment(), **self.code}


@pytest.mark.parametrize("end", ["stop", "kill9"])
def test_the_new_version_goes_on_with_the_old_ones_data_on_sqlite(
    tmp_path: Path, git: GitServer, previous: dict[str, str], end: str
) -> None:
    waiting = step(f'dummy: [{{"append": ["two.txt", "1\\n"]}}, {json.dumps(waits())}]')
    service = VersionedService(tmp_path / "data", SLOTS="1", RETRY_SECONDS="0.1,0.1,0.1")
    service.code = previous
    with service:
        url = f"sqlite:///{service.data / 'treadle.db'}"
        assert schema.current(url) == "0001"
        under_way, queued = (
            service.start(
                gitUrl=git.url(REPOSITORY), branchSource="main", branchWork=branch, engine="Dummy", steps=steps
            )
            for branch, steps in (("one", [writes("one.txt"), waiting, writes("three.txt")]), ("two", slow_steps()))
        )
        service.wait_for(under_way, is_event("phase.started", step=2, phase="Implementation"))
        getattr(service, end)()
        service.code = {}
        service.restart()
        assert schema.current(url) == schema.head()
        service.let_go(under_way, lease=2)
        for process_id, branch in ((under_way, "one"), (queued, "two")):
            process = service.wait(process_id, "Success")
            shas = [commit.sha for commit in git.log(REPOSITORY, branch)][-2::-1]
            assert shas == [step["commitSha"] for step in process["steps"]]
            numbers = [event["number"] for event in service.events(process_id)]
            assert numbers == list(range(1, len(numbers) + 1))
        assert leases(service.events(under_way)) == [1, 2]
        assert service.workspaces == []
