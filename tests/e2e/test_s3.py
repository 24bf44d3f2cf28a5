"""The service with its files in S3, and the way there and back."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.e2e.conftest import HTTP_CREDENTIALS
from tests.support.apply_diff import apply_diff
from tests.support.cli import Cli
from tests.support.git_server import GitServer
from tests.support.s3 import SECRET, Bucket
from tests.support.service import PATIENCE_SECONDS, Json, Service, step, waits

pytestmark = pytest.mark.s3

SLOW = f'dummy: [{{"append": ["two.txt", "2\\n"]}}, {json.dumps({"phase": "validation", **waits()})}]'


def upload(service: Service, name: str, content: bytes) -> str:
    answer = service.request("POST", "/files", files={"file": (name, content)})
    assert answer.is_success, answer.text
    return str(answer.json()["id"])


def start(service: Service, git: GitServer, *steps: str, **fields: object) -> str:
    return service.start(
        gitUrl=git.url("acme/demo"),
        gitHttpCredentials=HTTP_CREDENTIALS,
        branchSource="main",
        branchWork="work",
        engine="Dummy",
        generateDiffOnCompletion=True,
        steps=[step(text) for text in steps],
        **fields,
    )


def settled(keys: Callable[[], Sequence[str]]) -> set[str]:
    """The checkpoints that are kept, by name: of a run that is over all but the last, which a resume goes on from, are
    removed a moment later."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = {key.rpartition(".")[0].rpartition("/")[2] for key in keys() if "/checkpoint/" in key}
        if len(found) == 1 or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def diff(service: Service, process: Json) -> bytes:
    answer = service.request("GET", f"/code-generation/processes/by-id/{process['id']}/diff")
    assert answer.is_success, answer.text
    return answer.content


def tree(git: GitServer, branch: str) -> dict[bytes, tuple[str, bytes | None]]:
    return {path.encode(): ("100644", git.show("acme/demo", branch, path)) for path in git.files("acme/demo", branch)}


@pytest.mark.bubblewrap
def test_a_run_whose_files_are_in_s3(tmp_path: Path, git: GitServer, s3_bucket: Bucket) -> None:
    with Service(tmp_path / "data", **s3_bucket.settings) as service:
        assert service.http.get(f"{service.url}/readyz").is_success
        large = upload(service, "large.bin", b"z" * 12_000_000)
        note = upload(service, "note.txt", b"mind the gap\n")
        script = 'dummy: [{"run": "cat /files/note.txt > note.txt"}]'
        process = service.wait(start(service, git, script, fileIds=[note, large]), "Success")
        assert apply_diff(diff(service, process), tree(git, "main")) == tree(git, "work")
        assert git.show("acme/demo", "work", "note.txt") == b"mind the gap\n"
        content = service.request("GET", f"/files/by-id/{large}/content").content
        assert content == b"z" * 12_000_000
        assert service.request("DELETE", f"/files/by-id/{note}").is_success
        kept = s3_bucket.objects()
        assert all(key.startswith("some/prefix/") for key in kept)
        assert [key for key in kept if "/files/" in key and key.endswith(large)]
        assert not [key for key in kept if key.endswith(note) or "/check-" in key]
        assert settled(s3_bucket.objects) == {"1-validation-1"}
        assert not (tmp_path / "data" / "blobs").exists()
        assert SECRET not in service.log


def test_a_machine_that_dies_leaves_its_checkpoint_in_s3(tmp_path: Path, git: GitServer, s3_bucket: Bucket) -> None:
    """Killed in validation: analysis and implementation are not paid for again, their work comes from S3."""
    with Service(tmp_path / "data", **s3_bucket.settings) as service:
        process_id = start(service, git, 'dummy: [{"append": ["one.txt", "1\\n"]}]', SLOW)
        service.wait_at(process_id)
        service.kill9()
        assert [key for key in s3_bucket.objects() if "/checkpoint/2-implementation" in key]
        service.restart()
        service.let_go(process_id, lease=2)
        service.wait(process_id, "Success")
        phases = [
            event["phase"]
            for event in service.events(process_id)
            if event["type"] == "phase.started" and event["step"] == 2
        ]
        assert phases == ["Analysis", "Implementation", "Validation", "Validation"]
        assert git.show("acme/demo", "work", "two.txt") == b"2\n"
        assert settled(s3_bucket.objects) == {"2-validation-2"}


def test_a_service_moves_to_s3_and_back(tmp_path: Path, git: GitServer, s3_bucket: Bucket) -> None:
    data, cli = tmp_path / "data", Cli(tmp_path)
    cli.environment |= {f"TREADLE_{name}": value for name, value in s3_bucket.settings.items() if name != "BLOB_URL"}
    url = s3_bucket.settings["BLOB_URL"]
    with Service(data) as service:
        first = upload(service, "first", b"1" * 1000)
        process = service.wait(start(service, git, 'dummy: [{"append": ["one.txt", "1\\n"]}]'), "Success")
        shown = diff(service, process)
        blobs = data / "blobs"
        assert len(settled(lambda: [str(path) for path in blobs.glob("runs/*/checkpoint/*")])) == 1
        copied = cli.run("blobs", "copy", "--to", url, "--verify", "--json").json
        assert copied["copied"] == len(s3_bucket.objects()) > 2
        assert (copied["there"], copied["failed"]) == (0, [])
        second = upload(service, "second", b"2" * 1000)
    settings = {**s3_bucket.settings, "BOOTSTRAP_API_KEY": service.key}
    with Service(data, **settings) as moved:
        moved.key = service.key
        done = cli.run("blobs", "copy", "--to", url)
        assert done.stdout.startswith("1 blob copied (1000 B), ")
        assert f"{copied['copied']} there already" in done.stdout
        (data / "blobs").rename(data / "unused")
        for file_id, content in ((first, b"1" * 1000), (second, b"2" * 1000)):
            answer = moved.request("GET", f"/files/by-id/{file_id}/content")
            assert answer.content == content
        assert diff(moved, process) == shown
        third = upload(moved, "third", b"3" * 1000)
    back = f"file://{data / 'blobs'}"
    assert cli.run("blobs", "copy", "--from", url, "--to", back, "--json").json["copied"] == copied["copied"] + 2
    with Service(data) as returned:
        returned.key = service.key
        answer = returned.request("GET", f"/files/by-id/{third}/content")
        assert answer.content == b"3" * 1000
        assert diff(returned, process) == shown


def test_the_commands_say_what_is_wrong(tmp_path: Path, s3_bucket: Bucket) -> None:
    cli = Cli(tmp_path, **s3_bucket.settings)
    url = s3_bucket.settings["BLOB_URL"]
    assert cli.run("blobs", "check").stdout == f"{url} can be written, read and deleted.\n"
    assert cli.run("blobs", "check", "--json").json == {"place": url, "works": True}
    found = {
        check["name"]: check
        for check in json.loads(cli.begin("doctor", "--json").communicate(timeout=PATIENCE_SECONDS)[0])["checks"]
    }
    assert found["blobs"]["level"] == "OK"
    assert found["blobs"]["found"].startswith(url)
    wrong = {"TREADLE_S3_SECRET_ACCESS_KEY": "not-the-secret"}
    for arguments in (("check",), ("copy", "--from", f"file://{tmp_path}", "--to", url)):
        failed = cli.run("blobs", *arguments, code=2, extra=wrong)
        assert "Hint: Mend TREADLE_S3_SECRET_ACCESS_KEY." in failed.stderr
        assert "not-the-secret" not in failed.stderr
    failed = cli.run("blobs", "copy", "--to", f"{url}/below", code=2)
    assert "is within" in failed.stderr
    failed = cli.run("blobs", "copy", "--from", "file:///no/such/place", "--to", url, code=2)
    assert "There is no directory /no/such/place." in failed.stderr
    assert s3_bucket.objects() == []


def test_a_copy_shows_its_progress_on_a_terminal(tmp_path: Path, s3_bucket: Bucket) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(300):
        (source / f"{number}").write_bytes(b"x" * 1000)
    cli = Cli(tmp_path, **s3_bucket.settings)
    with cli.terminal("blobs", "copy", "--from", f"file://{source}", "--to", s3_bucket.settings["BLOB_URL"]) as shown:
        assert shown.end() == 0
        assert "Looking at what is there" in shown.text
        assert "300 blobs copied (293.0 KiB), 0 there already (0 B)." in shown.text
