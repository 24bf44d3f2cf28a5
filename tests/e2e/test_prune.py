"""`treadle prune`, as an operator and a timer call it: next to a service that goes on."""

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from tests.e2e.conftest import HTTP_CREDENTIALS
from tests.support.cli import PATIENCE_SECONDS, Cli
from tests.support.git_server import GitServer, Kind
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.service import Json, Service, step
from tests.support.stores import World, a_draft, open_world, said

from treadle.blobs.directory import DirectoryBlobs
from treadle.domain.events import EventType
from treadle.domain.run import Artifact
from treadle.domain.states import RunStatus
from treadle.store.address import sqlite_url

__all__ = ["postgres_server"]

EVERYTHING = ("prune", "--events-days", "0", "--artifacts-days", "0", "--mirrors-bytes", "0")
BRANCH = "feature/work"


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """On the same data as the fixture `service`."""
    return Cli(tmp_path)


@pytest.fixture
def client(cli: Cli, service: Service) -> Cli:
    """The same, with an address and a key besides."""
    cli.environment |= {"TREADLE_URL": service.url, "TREADLE_API_KEY": service.key}
    return cli


def request(git: GitServer, **fields: object) -> Json:
    steps = [step(f'dummy: [{{"write": ["{name}.txt", "{name}\\n"]}}]') for name in "ab"]
    given = {"gitUrl": git.url("acme/demo"), "gitHttpCredentials": HTTP_CREDENTIALS, "engine": "Dummy"}
    return {**given, "branchSource": "main", "branchWork": BRANCH, "steps": steps, **fields}


def mirrors(service: Service) -> list[Path]:
    return list((service.data / "mirrors").glob("*/*.git"))


# ---- next to a service -----------------------------------------------------------------------------------------------


def test_a_run_in_progress_loses_nothing(service: Service, client: Cli, git: GitServer) -> None:
    ended = service.start(**request(git, branchWork="earlier"))
    service.wait(ended, "Success")
    gate = git.hold(Kind.RECEIVE)
    running = service.start(**request(git, generateDiffOnCompletion=True))
    gate.wait()

    pruned = client.run(*EVERYTHING, "--json").json
    assert pruned["events"]["runs"] == pruned["artifacts"]["runs"] == 1
    assert pruned["mirrors"] == {"items": 0, "bytes": 0, "bytesLeft": pruned["mirrors"]["bytesLeft"]}
    assert pruned["leftovers"] == {"items": 0, "bytes": 0}
    assert len(mirrors(service)) == 1
    assert "1 mirror would go too, but is in use." in client.run(*EVERYTHING).stderr

    gate.release()
    process = service.wait(running, "Success")
    assert [event["number"] for event in service.events(running)] == list(range(1, len(service.events(running)) + 1))
    assert {file["filename"] for file in process["diff"]["files"]} == {"a.txt", "b.txt"}
    assert git.files("acme/demo", BRANCH)[-2:] == ["b.txt", "src/app.py"]

    assert client.run(*EVERYTHING, "--json").json["mirrors"]["items"] == 1
    assert mirrors(service) == []
    cold = service.start(**request(git, branchWork="later"))
    service.wait(cold, "Success")
    assert len(mirrors(service)) == 1


def test_what_a_user_sees_of_a_pruned_run(service: Service, client: Cli, git: GitServer) -> None:
    run_id = service.start(**request(git))
    last = len(service.events(run_id)) if service.wait(run_id, "Success") else 0
    client.run(*EVERYTHING)
    [event] = service.events(run_id)
    assert (event["number"], event["type"]) == (last, "run.finished")

    for arguments in (("logs", run_id), ("logs", run_id, "--follow"), ("watch", run_id)):
        shown = client.run(*arguments)
        assert "The run's earlier events are not kept any more." in shown.stderr
        assert "run.finished" in shown.stdout.splitlines()[0]
    assert "Success: 2 of 2 steps" in client.run("watch", run_id).stdout, "its steps are known all the same"
    assert [line["number"] for line in client.run("logs", run_id, "--json").json_lines] == [last]
    assert "Success" in client.run("show", run_id).stdout
    assert client.run("artifacts", run_id).stdout == ""

    failed = client.run("diff", run_id, code=1)
    assert "The diff of this process is not kept any more." in failed.stderr
    assert f"Its commits are on the branch '{BRANCH}'." in failed.stderr
    with client.terminal("watch", run_id) as terminal:
        assert terminal.end() == 0
        assert "Success" in terminal.text


def test_what_a_killed_service_left_goes(service: Service, cli: Cli, git: GitServer) -> None:
    gate = git.hold(Kind.RECEIVE)
    service.start(**request(git))
    gate.wait()
    assert cli.run("prune", "--json").json["leftovers"]["items"] == 0
    service.kill9()
    gate.release()
    left = cli.run("prune", "--json").json
    assert (left["isDryRun"], left["leftovers"]["items"]) == (True, 1)
    assert [path.suffix for path in service.workspaces] == ["", ".lock"]
    assert cli.run("prune", "--mirrors-days", "1", "--json").json["leftovers"]["items"] == 1
    assert service.workspaces == []
    service.restart()


# ---- what is asked for -----------------------------------------------------------------------------------------------


def test_without_a_limit_it_says_what_there_is(service: Service, cli: Cli, git: GitServer) -> None:
    service.wait(service.start(**request(git)), "Success")
    looked = cli.run("prune")
    assert "no limit is set" in looked.stderr
    assert [row[0] for row in looked.rows] == [
        "events", "sessions", "automation", "artifacts", "mirrors", "leftovers",
    ]  # fmt: skip
    assert [row[3] for row in looked.rows] == ["0", "-", "-", "0", "0", "0"]
    assert all(int(row[4]) > 0 for row in looked.rows[:5] if row[0] not in {"sessions", "automation"})
    assert cli.run("prune", "--json").json["isLimited"] is False
    with cli.terminal("prune") as terminal:
        assert terminal.end() == 0
        assert "WHAT" in terminal.text
        assert "KiB" in terminal.text


def test_a_dry_run_says_what_a_real_one_does(service: Service, cli: Cli, git: GitServer) -> None:
    for branch in ("one", "two"):
        service.wait(service.start(**request(git, branchWork=branch)), "Success")
    dry = cli.run(*EVERYTHING, "--dry-run", "--json").json
    assert "a dry run" in cli.run(*EVERYTHING, "--dry-run").stderr
    real = cli.run(*EVERYTHING, "--json").json
    assert (dry.pop("isDryRun"), real.pop("isDryRun")) == (True, False)
    assert dry["events"]["bytesLeft"] - dry["events"]["bytes"] == real["events"].pop("bytesLeft")
    for part in ("events", "artifacts"):
        assert {name: dry[part][name] for name in ("runs", "bytes")} == {
            name: real[part][name] for name in ("runs", "bytes")
        }
    assert dry["mirrors"] == real["mirrors"]
    assert real["events"]["items"] > real["events"]["runs"] == 2
    again = cli.run(*EVERYTHING, "--json").json
    assert [again[part]["bytes"] for part in ("events", "artifacts", "mirrors", "leftovers")] == [0] * 4


def test_settings_are_the_limits_that_are_not_given(service: Service, cli: Cli, git: GitServer) -> None:
    service.wait(service.start(**request(git)), "Success")
    cli.environment |= {"TREADLE_KEEP_EVENTS_DAYS": "0", "TREADLE_KEEP_ARTIFACTS_BYTES": "1K"}
    within = cli.run("prune", "--events-days", "1", "--artifacts-bytes", "1G", "--json").json
    assert within["isLimited"] is True
    assert within["events"]["runs"] == within["artifacts"]["runs"] == 0
    pruned = cli.run("prune", "--artifacts-bytes", "1.5M", "--json").json
    assert (pruned["events"]["runs"], pruned["artifacts"]["runs"]) == (1, 0)


def test_an_empty_directory(cli: Cli) -> None:
    said_ = cli.run(*EVERYTHING)
    assert [row[3] for row in said_.rows] == ["0", "-", "-", "0", "0", "0"]
    assert "trd_" not in said_.stdout + said_.stderr, "it makes no administrator"


@pytest.mark.parametrize(
    ("arguments", "said_"),
    [
        (("--events-bytes", "much"), "500M, 10G or a number of bytes"),
        (("--events-days", "-1"), "--events-days"),
        (("--mirrors-bytes", "-1"), "--mirrors-bytes"),
    ],
)
def test_what_is_wrong_is_said(cli: Cli, arguments: tuple[str, ...], said_: str) -> None:
    assert said_ in cli.run("prune", *arguments, code=2).stderr


# ---- killed, and on PostgreSQL ---------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest, cli: Cli) -> Iterator[str]:
    cli.data.mkdir()
    if request.param == "sqlite":
        yield sqlite_url(cli.data / "treadle.db")
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        cli.environment["TREADLE_DATABASE_URL"] = url = server.database()
        yield url


async def fill(world: World, blobs: DirectoryBlobs, count: int) -> list[str]:
    """Runs that ended a day ago, with an artifact each; the keys."""
    then, found = datetime.now(UTC) - timedelta(days=1), []
    for _ in range(count):
        run, fence = await world.claimed(a_draft("x"), now=then)
        key = f"runs/{run.uuid}/artifacts/1-diff.json"
        await blobs.put(key, b"{}" * 50)
        await world.store.add_artifact(fence, Artifact(run.id, "diff.json", "application/json", 100, key, then))
        await world.store.record(fence, [said("x")] * 20, then, has_diff=True)
        await world.store.finish(fence, RunStatus.SUCCESS, None, then)
        found.append(key)
    return found


#: All that `fill` makes.
TAKES = ("prune", "--artifacts-days", "0.5", "--events-days", "0.5")


async def kill_in_the_middle(cli: Cli, blobs: DirectoryBlobs) -> None:
    """As soon as something is gone."""
    before = [entry.key async for entry in blobs.entries("runs")]
    process = cli.begin(*TAKES)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len([entry async for entry in blobs.entries("runs")]) == len(before) and process.poll() is None:
        assert time.monotonic() < deadline
    process.send_signal(signal.SIGKILL)
    await asyncio.to_thread(process.communicate)


@pytest.mark.anyio
async def test_a_prune_that_is_killed_is_taken_up(cli: Cli, database: str) -> None:
    blobs = DirectoryBlobs(cli.data / "blobs")
    async with open_world(database) as world:
        for tries in range(1, 6):  # now and then a machine stands still until it is done
            await fill(world, blobs, 200)
            runs = range(1, 200 * tries + 1)
            await kill_in_the_middle(cli, blobs)
            rows = [artifact.blob for run in runs for artifact in await world.store.artifacts(run)]
            if rows:
                break
        assert 0 < len(rows) < 200
        there = {entry.key async for entry in blobs.entries("runs")}
        assert there >= set(rows)
        again = await asyncio.to_thread(cli.run, *TAKES, "--json")
        assert again.json["artifacts"] == {
            "runs": len(rows),
            "items": len(rows),
            "bytes": 100 * len(rows),
            "bytesLeft": 0,
        }
        for run in runs:
            [event] = await world.told(run)
            assert event.type is EventType.RUN_FINISHED
        left = {entry.key async for entry in blobs.entries("runs")}
        assert left == there - set(rows), "to be found as left over, when they are a day old"


def test_prunes_at_once_are_harmless(service: Service, cli: Cli, git: GitServer) -> None:
    for number in range(3):
        service.wait(service.start(**request(git, branchWork=f"work-{number}")), "Success")
    processes = [cli.begin(*EVERYTHING, "--json") for _ in range(3)]
    done = [process.communicate(timeout=PATIENCE_SECONDS) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], done
    found = [json.loads(out) for out, _ in done]
    assert sum(one["artifacts"]["runs"] for one in found) == 3
    assert sum(one["mirrors"]["items"] for one in found) == 1
    service.wait(service.start(**request(git, branchWork=str(uuid4()))), "Success")
