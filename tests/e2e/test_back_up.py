"""The drill of docs/how-to/back-up.md, with its own commands: a service with a living run is backed up while it works,
goes on for a while, and is wrecked. What is restored elsewhere knows every finished run, and ends the living one with
no commit twice."""

import base64
import json
import secrets
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo, sql
from tests.e2e.conftest import HTTP_CREDENTIALS
from tests.support import postgres
from tests.support.git_server import GitServer, Kind
from tests.support.postgres import PostgresServer
from tests.support.s3 import Bucket
from tests.support.service import Json, Service, step, waits
from tests.unit.docs.pages import blocks, page

PATIENCE_SECONDS = 120

#: Of what is restored: so long it waits until it goes on with a run that was at work.
LEASE_SECONDS = "8"

STEPS = [
    step('dummy: [{"append": ["one.txt", "1\\n"]}]'),
    step('dummy: [{"append": ["two.txt", "2\\n"]}]'),
    step(f'dummy: [{{"append": ["three.txt", "3\\n"]}}, {json.dumps(waits())}]'),
    step("Sum it up", commitable=False),
]


@dataclass
class Drill:
    """A service, and one on what is restored of it. Both are given by the same key."""

    service: Service
    restored: Service
    git: GitServer
    backup: Path
    programs: str = ""
    told: list[Json] = field(default_factory=list)
    shown: Json = field(default_factory=dict)
    pushed: list[str] = field(default_factory=list)  # before the accident

    def shell(self, heading: str, number: int, service: Service, **environment: str) -> None:
        """Runs a block of the page, the `number`th under a heading, with the settings of a service."""
        code = [block.code for block in blocks(page("how-to/back-up.md")) if block.heading == heading][number]
        settings = service.environment()
        path = f"{Path(sys.executable).parent}:{self.programs}:{settings['PATH']}"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", code],
            env={**settings, "PATH": path, "BACKUP": str(self.backup), **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"

    def start(self, branch: str, steps: list[Json]) -> str:
        return self.service.start(
            gitUrl=self.git.url("acme/demo"),
            gitHttpCredentials=HTTP_CREDENTIALS,
            branchSource="main",
            branchWork=branch,
            engine="Dummy",
            steps=steps,
        )

    def until_the_accident(self, heading: str) -> tuple[str, str]:
        """A run that has ended, and one that has pushed its first step at the backup and its second before the end.
        Each push waits until there is a gate for the next."""
        finished = self.start("done", [STEPS[0]])
        self.service.wait(finished, "Success")
        self.told, self.shown = self.service.events(finished), diff(self.service, finished)
        first = self.git.hold(Kind.RECEIVE_REFS)
        living = self.start("work", STEPS)
        first.wait()
        push = self.git.hold(Kind.RECEIVE_REFS)
        first.release()
        push.wait()
        self.shell(heading, 0, self.service)
        push.release()
        self.service.wait_at(living)
        self.service.kill9()
        self.pushed = [commit.sha for commit in self.git.log("acme/demo", "work")[:-1]]
        assert len(self.pushed) == 2
        return finished, living

    def check_finished(self, finished: str) -> None:
        """It is as it was."""
        assert self.restored.get(finished)["status"] == "Success"
        assert self.restored.events(finished) == self.told
        assert diff(self.restored, finished) == self.shown
        assert self.shown["files"]

    def check_living(self, living: str) -> None:
        """It has ended, with one commit a step in order, two of them of before the accident."""
        self.restored.let_go(living, lease=2)
        process = self.restored.wait(living, "Success")
        commits = self.git.log("acme/demo", "work")[:-1]
        assert [commit.sha for commit in commits][1:] == self.pushed, "what was pushed stays as it was"
        wanted = [one for one in process["steps"] if one["isCommitableStep"]][::-1]
        assert [commit.sha for commit in commits] == [one["commitSha"] for one in wanted]
        for name, text in (("one", b"1\n"), ("two", b"2\n"), ("three", b"3\n")):
            assert self.git.show("acme/demo", "work", f"{name}.txt") == text
        numbers = [event["number"] for event in self.restored.events(living)]
        assert numbers == list(range(1, len(numbers) + 1))
        assert {one["filename"] for one in diff(self.restored, living)["files"]} == {"one.txt", "two.txt", "three.txt"}


def diff(service: Service, process_id: str) -> Json:
    answer = service.request("GET", f"/code-generation/processes/by-id/{process_id}/diff")
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def content(service: Service, file_id: str) -> bytes:
    """Of an uploaded file."""
    return bytes(service.request("GET", f"/files/by-id/{file_id}/content").content)


def upload(service: Service) -> str:
    answer = service.request("POST", "/files", files={"file": ("notes.txt", b"notes\n")})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def test_one_machine(tmp_path: Path, git: GitServer) -> None:
    service, restored = Service(tmp_path / "data"), Service(tmp_path / "restored", LEASE_SECONDS=LEASE_SECONDS)
    restored.key = service.key
    drill = Drill(service, restored, git, tmp_path / "backup")
    with service:
        file_id = upload(service)
        finished, living = drill.until_the_accident("One machine")
    shutil.rmtree(service.data)
    drill.shell("One machine", 1, restored)
    with restored:
        assert content(restored, file_id) == b"notes\n"
        drill.check_finished(finished)
        drill.check_living(living)


@pytest.mark.postgres
@pytest.mark.s3
def test_postgresql_and_a_bucket(
    tmp_path: Path, git: GitServer, postgres_server: PostgresServer, s3_bucket: Bucket
) -> None:
    """Into a new database and another prefix of the bucket, on a machine that has nothing of the old one but the
    sealing key."""
    shared = {**s3_bucket.settings, "SECRET_KEY": base64.b64encode(secrets.token_bytes(32)).decode()}
    old, maintenance = postgres_server.database(), postgres_server.url("postgres")
    name = f"restored_{secrets.token_hex(4)}"
    new = postgres_server.url(name)
    service = Service(tmp_path / "data", DATABASE_URL=old, **shared)
    shared["BLOB_URL"] = f"{s3_bucket.settings['BLOB_URL']}-restored"
    restored = Service(tmp_path / "restored", DATABASE_URL=new, LEASE_SECONDS=LEASE_SECONDS, **shared)
    restored.key = service.key
    drill = Drill(service, restored, git, tmp_path / "backup", programs=str(postgres._programs()))
    with service:
        file_id = upload(service)
        finished, living = drill.until_the_accident("PostgreSQL and a bucket")
    shutil.rmtree(service.data)
    with psycopg.connect(maintenance, autocommit=True) as connection:
        lost = sql.Identifier(str(conninfo.conninfo_to_dict(old)["dbname"]))
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(lost))
    drill.shell("PostgreSQL and a bucket", 1, restored, MAINTENANCE_URL=maintenance, NEW_DATABASE=name)
    with restored:
        assert content(restored, file_id) == b"notes\n"
        drill.check_finished(finished)
        drill.check_living(living)


def test_without_the_blobs_of_checkpoints(tmp_path: Path, git: GitServer) -> None:
    """They were deleted between the backup of the database and that of the blobs: the phase is done anew."""
    service, restored = Service(tmp_path / "data"), Service(tmp_path / "restored", LEASE_SECONDS=LEASE_SECONDS)
    restored.key = service.key
    drill = Drill(service, restored, git, tmp_path / "backup")
    with service:
        first = git.hold(Kind.RECEIVE_REFS)
        living = drill.start("work", STEPS[:2])
        first.wait()
        push = git.hold(Kind.RECEIVE_REFS)
        first.release()
        push.wait()
        drill.shell("One machine", 0, service)
        service.kill9()
        push.release()
    kept = list((drill.backup / "blobs").rglob("checkpoint"))
    assert kept
    for folder in kept:
        shutil.rmtree(folder)
    drill.shell("One machine", 1, restored)
    with restored:
        process = restored.wait(living, "Success")
        assert [commit.sha for commit in git.log("acme/demo", "work")[:-1]] == [
            one["commitSha"] for one in process["steps"][::-1]
        ]
        assert git.show("acme/demo", "work", "two.txt") == b"2\n"
