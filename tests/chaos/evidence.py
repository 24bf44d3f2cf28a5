"""What is left after the chaos, read without any of the service's own code: by SQL, by git, from the disk."""

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
from psycopg.rows import dict_row

from tests.chaos.watch import Sample, Seen, digest_of
from tests.chaos.work import PlannedRun
from tests.support.rabbit import RabbitServer

#: Between the fields of a commit in git's log; no message holds it.
_FIELD = "\x1f"


@dataclass(frozen=True, slots=True)
class CommitSeen:
    """`steps`: the ids in its trailers; `paths`: what it changes."""

    sha: str
    parents: tuple[str, ...]
    steps: tuple[str, ...]
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StepRow:
    position: int
    uuid: str
    status: str
    commit_sha: str | None


@dataclass(frozen=True, slots=True)
class EventRow:
    number: int
    type: str
    data: Mapping[str, object]
    date: int  # microseconds since 1970
    step: int | None
    digest: str


@dataclass(frozen=True, slots=True)
class RunRow:
    status: str
    lease: int
    last_event: int
    lost_workers: int
    failure_details: str | None
    steps: Sequence[StepRow] = ()
    events: Sequence[EventRow] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """`ids`: by a planned run's number, the id that the POST was answered with."""

    planned: Sequence[PlannedRun]
    ids: Mapping[int, str]
    runs: Mapping[str, RunRow]
    branches: Mapping[tuple[str, str], Sequence[CommitSeen]]  # oldest first, without the source's
    files: Mapping[tuple[str, str], Mapping[str, str]]  # at the branch's end
    samples: Mapping[str, Sequence[Sample]] = field(default_factory=dict)
    seen: Mapping[str, Sequence[Seen]] = field(default_factory=dict)
    leftovers: Sequence[str] = ()
    messages: Mapping[str, int] = field(default_factory=dict)  # by queue, those that wait
    faults: Sequence[str] = ()  # what the harness itself saw go wrong


def read_runs(database_url: str) -> dict[str, RunRow]:
    """Every run in the database."""
    with psycopg.connect(database_url, row_factory=dict_row) as connection:
        found = connection.execute("SELECT * FROM runs ORDER BY id").fetchall()
        steps = connection.execute("SELECT * FROM steps ORDER BY run_id, position").fetchall()
        events = connection.execute("SELECT * FROM events ORDER BY run_id, number").fetchall()
    return {
        run["uuid"]: RunRow(
            run["status"],
            run["lease"],
            run["last_event"],
            run["lost_workers"],
            run["failure_details"],
            [
                StepRow(row["position"], row["uuid"], row["status"], row["commit_sha"])
                for row in steps
                if row["run_id"] == run["id"]
            ],
            [_event(row) for row in events if row["run_id"] == run["id"]],
        )
        for run in found
    }


def _event(row: dict[str, object]) -> EventRow:
    data = json.loads(str(row["data"]))
    told = {"number": row["number"], "type": row["type"], "step": row["step"], "phase": row["phase"], "data": data}
    step = row["step"]
    return EventRow(
        int(str(row["number"])),
        str(row["type"]),
        data,
        int(str(row["date"])),
        int(str(step)) if step is not None else None,
        digest_of(told),
    )


def read_branch(repository: Path, branch: str, source: str = "main") -> list[CommitSeen]:
    """The branch's commits that the source has not, oldest first; none where there is no such branch."""
    form = _FIELD.join(("%x1e%H", "%P", "%(trailers:key=Treadle-Step,valueonly,separator=%x2c)", ""))
    arguments = ["log", "--reverse", "--topo-order", "--name-only", f"--format={form}"]
    done = _git(repository, *arguments, f"refs/heads/{source}..refs/heads/{branch}", check=False)
    commits = []
    for entry in done.split("\x1e")[1:]:
        sha, parents, trailers, paths = entry.split(_FIELD)
        commits.append(
            CommitSeen(
                sha,
                tuple(parents.split()),
                tuple(each.strip() for each in trailers.split(",") if each.strip()),
                tuple(path for path in paths.splitlines() if path),
            )
        )
    return commits


def read_files(repository: Path, branch: str) -> dict[str, str]:
    """Every file at the branch's end."""
    paths = _git(repository, "ls-tree", "-r", "--name-only", f"refs/heads/{branch}", check=False).splitlines()
    return {path: _git(repository, "cat-file", "blob", f"refs/heads/{branch}:{path}") for path in paths}


def messages_in(broker: RabbitServer, vhost: str) -> dict[str, int]:
    """By queue: those that wait, and those that are not acknowledged."""
    listed = broker.evaluate(
        "[{element(4, proplists:get_value(name, Q)), proplists:get_value(messages, Q)} "
        f'|| Q <- rabbit_amqqueue:info_all(<<"{vhost}">>, [name, messages])].'
    )
    return {name: int(count) for name, count in re.findall(r'<<"([^"]*)">>,(\d+)', listed)}


def _git(repository: Path, *arguments: str, check: bool = True) -> str:
    done = subprocess.run(
        ["git", "-C", str(repository), *arguments], capture_output=True, text=True, timeout=120, check=check
    )
    return done.stdout
