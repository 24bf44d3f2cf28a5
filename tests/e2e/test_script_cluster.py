"""Stored scripts on many machines: one PostgreSQL, two workers of which one is killed while scripts wait."""

import time
from collections import Counter
from pathlib import Path

from tests.support.cluster import Cluster, database_of
from tests.support.postgres import PostgresServer
from tests.support.repositories import BareRepositories
from tests.support.service import PATIENCE_SECONDS, Json, is_event

SCRIPTS = 6

#: Two runs, one after the other, which end when the file that they are given is there.
TWICE = """
def once(branch):
    waits = "until test -e " + inputs.gate + "; do sleep 0.05; done"
    step = 'dummy: Wait\\n[{"run": "' + waits + '"}, {"write": ["a.txt", "a"]}]'
    run = codegeneration.start(
        git_url = inputs.url, branch_source = "main", branch_work = branch, engine = "Dummy", steps = [step],
    )
    print("started", branch)
    return codegeneration.await(run.id)

ended = [once(inputs.name + "-" + str(number)) for number in range(2)]
output([[run.id, run.status] for run in ended])
"""


def test_scripts_outlive_a_worker_and_each_call_is_done_once(tmp_path: Path, postgres_server: PostgresServer) -> None:
    bare = BareRepositories(tmp_path)
    bare.create("words", {"README.md": "# Words\n"})
    gate = tmp_path / "gate"
    settings = {"ALLOW_LOCAL_REPOSITORIES": "1", "SANDBOX": "none", "SLOTS": "2"}
    with Cluster(tmp_path / "cluster", database=database_of(postgres_server), settings=settings) as cluster:
        runs = [
            cluster.request(
                "POST",
                "/script-runs",
                json={
                    "source": TWICE,
                    "inputs": {"url": str(bare.path("words")), "name": f"script-{number}", "gate": str(gate)},
                },
            ).json()["id"]
            for number in range(SCRIPTS)
        ]
        waiting = some_waits(cluster, runs)
        cluster.wait_for(waiting, is_event("step.started"))
        cluster.worker_of(waiting).kill9()
        gate.touch()
        scripts = [ended(cluster, run) for run in runs]

        processes = cluster.request("GET", "/code-generation/processes?limit=100").json()
        assert [script["status"] for script in scripts] == ["Success"] * SCRIPTS, scripts
        assert any(map(is_event("run.requeued"), cluster.events(waiting))), "no run was under way"
        assert {process["failureDetails"] for process in processes} == {None}
        told = [tuple(each) for script in scripts for each in script["outputs"]]
        assert Counter(told) == Counter((process["id"], "Success") for process in processes)
        branches = Counter(process["branchWork"] for process in processes)
        expected = [f"script-{number}-{at}" for number in range(SCRIPTS) for at in range(2)]
        assert branches == Counter(expected), "each start made one run"
        assert {len(bare.log("words", branch)) for branch in expected} == {len(bare.log("words", "main")) + 1}
        for number, script in enumerate(scripts):
            lines = cluster.request("GET", f"/script-runs/{script['id']}/logs").json()["lines"]
            assert [line["text"] for line in lines] == [f"started script-{number}-{at}" for at in range(2)]
            assert (script["calls"], script["waitsFor"]) == (4, None)


def some_waits(cluster: Cluster, runs: list[int]) -> str:
    """The process that one of them awaits, once half of them await some that a worker has begun."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        waits = [seen(cluster, run)["waitsFor"] for run in runs]
        awaited = [str(each["run"]) for each in waits if each is not None]
        begun = [each for each in awaited if cluster.get(each)["status"] == "Running"]
        if begun and len(awaited) >= len(runs) // 2:
            return begun[0]
        assert time.monotonic() < deadline, cluster.logs()
        time.sleep(0.05)


def ended(cluster: Cluster, run: int) -> Json:
    deadline = time.monotonic() + 2 * PATIENCE_SECONDS
    while (found := seen(cluster, run))["status"] in {"New", "Running"}:
        assert time.monotonic() < deadline, (found, cluster.logs())
        time.sleep(0.1)
    return found


def seen(cluster: Cluster, run: int) -> Json:
    found: Json = cluster.request("GET", f"/script-runs/{run}").json()
    return found
