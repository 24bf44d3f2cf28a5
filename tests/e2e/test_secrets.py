"""The canary: a marker in every secret of a run is found nowhere afterwards, and in no command line meanwhile."""

import base64
import os
import secrets
import sqlite3
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest
from tests.support.clis import require_claude
from tests.support.git_server import GitServer
from tests.support.model_script import bash, say
from tests.support.model_server import ModelServer
from tests.support.service import Service, step
from tests.support.ssh_server import SshServer


class Watch:
    """Looks at the command lines of all processes, and at the environments of other users', until left."""

    def __init__(self, needles: list[str]) -> None:
        self.found: list[str] = []
        self.looks = 0
        self._needles = needles
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit() and int(entry.name) != os.getpid():
                    self._look(entry)
            self.looks += 1
            time.sleep(0.005)

    def _look(self, process: Path) -> None:
        try:
            seen = (process / "cmdline").read_bytes()
            if process.stat().st_uid != os.geteuid():
                seen += (process / "environ").read_bytes()
        except OSError:
            return
        text = seen.decode(errors="replace")
        self.found += [f"{needle} in {text[:300]!r}" for needle in self._needles if needle in text]


def forms(secret: str) -> list[str]:
    """A secret as it is, and as base64 would carry it at any alignment."""
    found = [secret]
    for shift in range(3):
        code = base64.b64encode(b"\0" * shift + secret.encode()).decode()
        found.append(code[4:-4])
    return found


def search(folder: Path, needles: list[str]) -> list[str]:
    """Files below `folder` that hold a needle, other than the key that seals. Others may remove some meanwhile."""
    found = []
    for path in (Path(place, name) for place, _, names in os.walk(folder) for name in names):
        with suppress(FileNotFoundError):
            if path.is_file() and not path.is_symlink():
                content = path.read_bytes()
                found += [f"{needle} in {path}" for needle in needles if needle.encode() in content]
    return found


@pytest.mark.claude
@pytest.mark.parametrize("sandbox", ["none", "bubblewrap"])
def test_no_secret_of_a_run_is_ever_seen(tmp_path: Path, sandbox: str) -> None:
    password, api_key = (f"canary{secrets.token_hex(12)}" for _ in range(2))
    script = [
        say("I will look."),
        say(bash("env; cat /proc/self/environ | base64 -w0; set | head -200")),
        say(f"The key is {api_key}, is it not?"),
        say("Fine."),
    ]
    with (
        ModelServer(script) as model,
        GitServer(username="ada", password=password) as git,
        Service(
            tmp_path / "data",
            CLAUDE_CLI=str(require_claude()),
            CLAUDE_BASE_URL=model.url,
            SANDBOX=sandbox,
            LOG_LEVEL="debug",
        ) as service,
    ):
        git.create("acme/demo", {"README.md": "# Demo\n"})
        needles = [*forms(password), *forms(api_key), *forms(f"ada:{password}"), service.key]
        with Watch(needles) as watch:
            answer = service.request(
                "POST",
                "/code-generation/processes",
                json={
                    "gitUrl": git.url("acme/demo").replace("://", f"://ada:{password}@"),
                    "branchSource": "main",
                    "branchWork": "work",
                    "steps": [step("Look around")],
                    "engine": "Claude",
                    "claudeAuthentication": {"source": "ClientApiKey", "apiKey": api_key},
                },
            )
            process = service.wait(answer.json()["id"], "Success")
        said = [
            answer.text,
            str(service.events(process["id"])),
            service.request("GET", "/code-generation/processes").text,
            str(service.get(process["id"])),
            service.log,
        ]
        service.stop()  # so that the database is whole on the disk
        assert watch.looks > 5
        assert watch.found == []
        assert [needle for needle in needles for text in said if needle in text] == []
        assert search(tmp_path, needles) == []
        assert search(git.root, needles) == []
        assert search_memory_disk(needles) == []
        assert [turn.credential for turn in model.turns] == [f"x-api-key {api_key}"] * 4


def search_memory_disk(needles: list[str]) -> list[str]:
    found = []
    for folder in Path("/dev/shm").glob("treadle-*"):
        found += search(folder, needles)
    return found


def test_the_secrets_rows_are_gone_when_the_run_is_over(tmp_path: Path, ssh: SshServer, git: GitServer) -> None:
    with Service(tmp_path / "data", ("--no-worker",)) as service:
        process_id = service.start(
            gitUrl=ssh.url(git.path("acme/demo")),
            gitSshKeyBase64=base64.b64encode(ssh.private_key).decode(),
            branchSource="main",
            branchWork="work",
            engine="Dummy",
            steps=[step("dummy: []")],
        )
        with sqlite3.connect(service.data / "treadle.db") as database:
            sealed = database.execute("SELECT name, sealed FROM secrets").fetchall()
            assert [name for name, _ in sealed] == ["git_ssh"]
            assert all(text.startswith("v1:") for _, text in sealed)
            service.stop()
            service.arguments = ()
            service.restart()
            service.wait(process_id, "Success")
            assert database.execute("SELECT count(*) FROM secrets").fetchone() == (0,)
        database.close()
        body = "".join(ssh.private_key.decode().splitlines()[1:-1])
        assert search(tmp_path, [body[100:160], body[-60:-10]]) == []
