"""Batches over many local repositories, with the Dummy engine: some are broken, and the service is killed."""

import csv
import io
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from tests.support.cli import Cli
from tests.support.many_repositories import (
    BREAKAGES,
    MISSING,
    NO_BRANCH,
    NO_PUSH,
    PLAN,
    VARIABLE,
    ManyRepositories,
    many,
    start,
)
from tests.support.service import PATIENCE_SECONDS, Json, Service

#: `benchmarks/batches.py` does the same with two hundred.
REPOSITORIES = 60
EVERY = 8


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path / "data", SLOTS="4", SANDBOX="none")


def batch_of(service: Service, batch: Json) -> Json:
    answer = service.request("GET", f"/batches/{batch['id']}")
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def until(service: Service, batch: Json, is_so: Callable[[Json], bool]) -> Json:
    deadline = time.monotonic() + 2 * PATIENCE_SECONDS
    while not is_so(found := batch_of(service, batch)):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def has_succeeded(count: int, batch: Json) -> bool:
    """Of at least so many of its repositories."""
    return bool(batch["counts"]["succeeded"] >= count)


def ended(service: Service, batch: Json) -> Json:
    return until(service, batch, lambda found: found["status"] != "Running")


def items_of(service: Service, batch: Json) -> list[Json]:
    found: list[Json] = service.request("GET", f"/batches/{batch['id']}/items?limit=1000").json()["items"]
    return found


def processes(service: Service) -> list[Json]:
    found: list[Json] = service.request("GET", "/code-generation/processes?limit=1000").json()
    return found


def check_rows(items: list[Json], repositories: ManyRepositories, broken: set[int]) -> None:
    """Each row of the report, against what is in the repositories themselves."""
    assert [item["position"] for item in items] == list(range(1, len(repositories.targets) + 1))
    for item in items:
        position = item["position"]
        if position in broken:
            assert (item["status"], item["commits"], item["changedFiles"]) == ("Failed", [], None), item
            assert repositories.broken[position].said in item["failureDetails"]
            assert (item["runId"] is None) == (repositories.broken[position] is VARIABLE), item
        else:
            assert (item["status"], item["failureDetails"], item["changedFiles"]) == ("Success", None, 1), item
            assert repositories.commits(position) == 1
            assert len(item["commits"]) == 1
            assert item["branch"] == "work"


@pytest.mark.timeout(600)
def test_the_report_is_right_to_the_last_row_and_a_retry_touches_the_failed(service: Service, tmp_path: Path) -> None:
    repositories = many(tmp_path / "repositories", REPOSITORIES, every=EVERY)
    assert set(repositories.broken.values()) == set(BREAKAGES)
    with service:
        batch = ended(service, start(service, repositories, concurrency=8))
        counts = {"succeeded": REPOSITORIES - 7, "failed": 7, "running": 0, "notStarted": 0, "killed": 0, "skipped": 0}
        assert (batch["status"], batch["counts"]) == ("Failed", {"items": REPOSITORIES, **counts})
        first = items_of(service, batch)
        check_rows(first, repositories, set(repositories.broken))
        assert len({item["runId"] for item in first}) == REPOSITORIES
        at = f"/batches/{batch['id']}/report"
        assert service.request("GET", at).json()["items"] == first
        rows = list(csv.DictReader(io.StringIO(service.request("GET", f"{at}?format=csv").text)))
        assert [(int(row["position"]), row["status"], row["commits"]) for row in rows] == [
            (item["position"], item["status"], " ".join(item["commits"])) for item in first
        ]
        before = len(processes(service))
        repositories.mend()
        assert service.request("POST", f"/batches/{batch['id']}/retry").status_code == 200
        again = ended(service, batch)
        second = items_of(service, again)
        mended = {at for at, what in repositories.broken.items() if what in {MISSING, NO_BRANCH, NO_PUSH}}
        check_rows(second, repositories, set(repositories.broken) - mended)
        for was, item in zip(first, second, strict=True):
            if was["status"] == "Success":
                assert item == was
            else:
                assert item["earlierRuns"] == ([was["runId"]] if was["runId"] is not None else [])
                assert item["attempt"] == 2
        assert len(processes(service)) == before + 6, "one each, but for the one that has no run"


def test_a_retry_commits_nothing_again_that_was_pushed(service: Service, tmp_path: Path) -> None:
    """A plan without a branch: each run would get one of its own."""
    repositories = many(tmp_path / "repositories", 1, ())
    steps = ['dummy: [{"append": ["done.txt", "1\\n"]}]', 'dummy: [{"fail": 400}]']
    with service:
        asked = {"plan": {"engine": "dummy", "steps": steps}, "targets": [{"url": repositories.targets[0]["url"]}]}
        answer = service.request("POST", "/batches", json=asked)
        assert answer.status_code in (200, 201), answer.text
        batch = ended(service, answer.json())
        first = items_of(service, batch)[0]
        assert service.request("POST", f"/batches/{batch['id']}/retry").status_code == 200
        ended(service, batch)
        second = items_of(service, batch)[0]
    assert (first["status"], second["status"], second["attempt"]) == ("Failed", "Failed", 2)
    assert second["runId"] != first["runId"]
    assert second["branch"] == first["branch"]
    assert len(first["commits"]) == 1
    assert second["commits"] == first["commits"]
    assert repositories.commits(1, first["branch"]) == 1


def test_killed_in_the_middle_no_run_is_started_twice_and_none_is_lost(service: Service, tmp_path: Path) -> None:
    repositories = many(tmp_path / "repositories", 16, ())
    with service:
        batch = start(service, repositories, concurrency=5)
        for count in (2, 8):
            until(service, batch, partial(has_succeeded, count))
            service.kill9()
            service.restart()
        batch = ended(service, batch)
        assert (batch["status"], batch["counts"]["succeeded"]) == ("Success", 16)
        check_rows(items_of(service, batch), repositories, set())
        made = processes(service)
        assert len(made) == 16
        assert len({process["gitUrl"] for process in made}) == 16


def test_a_kill_ends_its_runs_and_starts_no_more(service: Service, tmp_path: Path) -> None:
    repositories = many(tmp_path / "repositories", 12, ())
    for target in repositories.targets[2:]:
        target["variables"]["does"] = '{"hang": true}'
    with service:
        batch = start(service, repositories, concurrency=4)
        until(service, batch, lambda found: found["counts"]["succeeded"] == 2 and found["counts"]["running"] == 4)
        assert service.request("POST", f"/batches/{batch['id']}/kill").status_code == 200
        batch = ended(service, batch)
        assert (batch["status"], batch["counts"]["killed"], batch["counts"]["succeeded"]) == ("Killed", 10, 2)
        assert len(processes(service)) == 6
        assert {process["status"] for process in processes(service)} == {"Success", "Killed"}


def test_it_stops_when_its_budget_is_used_up(service: Service, tmp_path: Path) -> None:
    repositories = many(tmp_path / "repositories", 10, ())
    for target in repositories.targets:
        target["variables"]["does"] = '{"usage": {"input": 1, "output": 1, "cost": 0.4}}'
    with service:
        batch = ended(service, start(service, repositories, concurrency=2, maxCostUsd=1))
        assert batch["status"] == "Failed"
        assert "and its budget is $1.00." in batch["failureDetails"]
        assert batch["counts"]["skipped"] > 0
        assert batch["counts"]["failed"] + batch["counts"]["succeeded"] == len(processes(service))
        assert 1 <= batch["costUsd"] <= 1 + 2 * 0.4, "passed by an answer of each run at most"
        assert batch["costUsd"] == pytest.approx(sum(item["costUsd"] for item in items_of(service, batch)))


def test_by_the_command_line(service: Service, tmp_path: Path) -> None:
    repositories = many(tmp_path / "repositories", 4, ())
    plan, table = tmp_path / "plan.yaml", tmp_path / "targets.csv"
    plan.write_text(json.dumps(PLAN))  # which is YAML
    lines = [[target["url"], target["variables"]["does"]] for target in repositories.targets[:3]]
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([["url", "does"], *lines])
    with service:
        cli = Cli(tmp_path / "cli", URL=service.url, API_KEY=service.key)
        done = cli.run("batch", "start", "--plan", str(plan), "--targets", str(table), "--wait")
        assert "Success 3/3" in done.stdout.splitlines()[-1]
        wanted = ["--plan", str(plan), "--repository", repositories.targets[3]["url"], "--var", "check=false"]
        does = f"does={repositories.targets[3]['variables']['does']}"
        done = cli.run("batch", "start", *wanted, "--var", does, "--wait", code=1)
        assert "1 of 1 repositories did not succeed." in done.stderr
        assert "`false` failed with exit code 1" in cli.run("batch", "show", "2").stdout
        assert len(list(csv.reader(io.StringIO(cli.run("batch", "report", "1").stdout)))) == 4
        assert [row[0] for row in cli.run("batch", "list").rows] == ["2", "1"]
        cli.run("batch", "retry", "2", "--wait", code=1)
        cli.run("batch", "kill", "2", code=1)
        cli.run("batch", "start", "--plan", str(plan), code=2)
