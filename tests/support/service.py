"""`treadle serve` as a user runs it: a process of its own, with its own data directory, port and key.

    with Service(tmp_path / "data") as service:
        process = service.wait(service.start(git_url=..., branch_source="main", branch_work="w", steps=[...]))

A test may kill it with -9 and start it again on the same data.
"""

import os
import secrets
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
import psutil

from tests.support.ports import ReservedPort

#: How long a test waits for something that should take seconds at most: on a machine that has much else to do, more.
PATIENCE_SECONDS = 120.0

Json = dict[str, Any]  # what tests read of answers; they assert on every field they use

_TREADLE = Path(sys.executable).with_name("treadle")
_PROCESSES = "/code-generation/processes"
_TERMINAL = {"Success", "Failed", "Killed"}


class Service:
    """One service. `settings` are TREADLE_ names without the prefix; `arguments` follow `treadle serve`."""

    def __init__(self, data: Path, arguments: tuple[str, ...] = (), /, **settings: str) -> None:
        self.data = data
        self.key = f"trd_{secrets.token_urlsafe(24)}"
        self.arguments = arguments
        self.settings = {
            "ALLOW_PRIVATE_HOSTS": "1",
            "ALLOW_LOCAL_REPOSITORIES": "1",
            "POLL_SECONDS": "0.2",
            **settings,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""
        self.log_path = data.with_name(f"{data.name}.log")
        self.http = httpx2.Client(timeout=30)
        self._port: ReservedPort | None = None
        self._killed: int | None = None  # the process id of the one before, while its leases last

    def __enter__(self) -> Self:
        try:
            self.launch()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        self.http.close()
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill9()
                raise AssertionError(f"the service did not stop; its log:\n{self.log}") from None
            finally:
                self._release()
        self._release()

    def _release(self) -> None:
        if self._port is not None:
            self._port.close()

    # ---- its life

    def environment(self) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        own = {f"TREADLE_{name}": value for name, value in self.settings.items()}
        return {
            **inherited,
            "TREADLE_DATA_DIR": str(self.data),
            "TREADLE_BOOTSTRAP_API_KEY": self.key,
            **own,
        }

    def launch(self) -> None:
        """Start it, on the same port each time, and wait until it answers."""
        if self._port is None:
            self._port = ReservedPort()
        self.url = f"http://127.0.0.1:{self._port.number}"
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [str(_TREADLE), "serve", "--port", str(self._port.number), *self.arguments],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the service ended with {self.process.returncode}; its log:\n{self.log}")
            with suppress(httpx2.TransportError):
                if self.http.get(f"{self.url}/healthz").status_code == httpx2.codes.OK:
                    self._end_leases()
                    return
            time.sleep(0.02)
        raise AssertionError(f"the service does not answer; its log:\n{self.log}")

    def stop(self) -> None:
        """As an operator does: SIGTERM, and its runs are handed over. Fails unless it ends well."""
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(PATIENCE_SECONDS) == 0, self.log

    def kill9(self) -> None:
        """As a machine that loses power: no handler runs. Waits until the process is gone. Its leases end when the next
        one answers: a test has no time to wait for them, and short ones would end in mid-run on a busy machine."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE_SECONDS)
        self._killed = self.process.pid

    def restart(self) -> None:
        """Start it again on the same data, after `kill9`."""
        self.launch()

    def _end_leases(self) -> None:
        """Those of the process that was killed. While its successor has the database open, so that it is the one that
        finds it as it was left."""
        path = self.data / "treadle.db"
        if self._killed is None or not path.exists():
            return
        hour, worker = 3_600_000_000, f"%:{self._killed}"
        with closing(sqlite3.connect(path, timeout=PATIENCE_SECONDS)) as database, database:
            for table, date in (("runs", "date_runner_ping"), ("chores", "date_lease_ends")):
                database.execute(f"UPDATE {table} SET {date} = {date} - ? WHERE worker LIKE ?", (hour, worker))
        self._killed = None

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def descendants(self) -> list[psutil.Process]:
        """What lives below it now."""
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)

    def wait_until_clean(self) -> None:
        """Until nothing is left of runs that are over. On a busy machine the sweeper may have said so in a worker's
        place, which is at it still."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while left := [*self.descendants(), *self.workspaces]:
            assert time.monotonic() < deadline, left
            time.sleep(0.05)

    @property
    def workspaces(self) -> list[Path]:
        """The workspaces on the disk."""
        folder = self.data / "runs"
        return sorted(folder.iterdir()) if folder.is_dir() else []

    # ---- its API

    def request(self, method: str, path: str, *, key: str | None = None, **options: Any) -> httpx2.Response:
        headers = {"X-Api-Key": key or self.key, **options.pop("headers", {})}
        return self.http.request(method, self.url + path, headers=headers, **options)

    def start(self, **fields: Any) -> str:
        """POST a process, field names as in JSON; its id."""
        answer = self.request("POST", _PROCESSES, json=fields)
        assert answer.status_code == httpx2.codes.OK, answer.text
        return str(answer.json()["id"])

    def get(self, process_id: str) -> Json:
        answer = self.request("GET", f"{_PROCESSES}/by-id/{process_id}")
        assert answer.status_code == httpx2.codes.OK, answer.text
        found: Json = answer.json()
        return found

    def wait(self, process_id: str, status: str | None = None, seconds: float = PATIENCE_SECONDS) -> Json:
        """The process once it has ended; fails unless it ended as `status`, when that is given."""
        for _ in self.follow(process_id, seconds=seconds):
            pass
        process = self.get(process_id)
        assert process["status"] in _TERMINAL, process
        if status is not None:
            assert process["status"] == status, (process["failureDetails"], process["steps"], self.log[-4000:])
        return process

    def events(self, process_id: str) -> list[Json]:
        """Every event so far."""
        answer = self.request(
            "GET", f"{_PROCESSES}/by-id/{process_id}/events?limit=1000", headers={"Accept": "application/json"}
        )
        assert answer.status_code == httpx2.codes.OK, answer.text
        found: list[Json] = answer.json()
        return found

    def follow(self, process_id: str, *, seconds: float = PATIENCE_SECONDS) -> Iterator[Json]:
        """Events as they happen, to the last; polls, so that it also survives a restart of the service."""
        after, deadline = 0, time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(httpx2.TransportError):
                answer = self.request(
                    "GET",
                    f"{_PROCESSES}/by-id/{process_id}/events?after={after}",
                    headers={"Accept": "application/json"},
                )
                assert answer.status_code == httpx2.codes.OK, answer.text
                for event in answer.json():
                    after = event["number"]
                    yield event
                    if event["type"] == "run.finished":
                        return
            time.sleep(0.05)
        raise AssertionError(f"the run did not end in {seconds} s: {self.get(process_id)}\n{self.log[-4000:]}")

    def wait_for(self, process_id: str, wanted: Callable[[Json], bool], seconds: float = PATIENCE_SECONDS) -> Json:
        """The first event that `wanted` accepts."""
        for event in self.follow(process_id, seconds=seconds):
            if wanted(event):
                return event
        raise AssertionError(f"the run ended without that event: {self.get(process_id)}")

    def wait_at(self, process_id: str, gate: str = "go", *, lease: int = 1) -> None:
        """Until the step that does `waits(gate)` is there, under that lease or a later one."""
        assert is_waiting(self.follow(process_id), gate, lease), f"it ended without waiting: {self.get(process_id)}"

    def let_go(self, process_id: str, gate: str = "go", *, lease: int = 1) -> None:
        """Lets the step that does `waits(gate)` go on, once it is there."""
        self.wait_at(process_id, gate, lease=lease)
        for code in (self.data / "runs").glob("*/code"):
            (code / gate).touch()


def waits(gate: str = "go") -> Json:
    """What a step of the Dummy engine does until `Service.let_go`. It leaves nothing to commit, and sees it in any
    sandbox."""
    return {"run": f"until rm {gate} 2>&-; do sleep 0.05; done"}


def is_waiting(events: Iterable[Json], gate: str = "go", lease: int = 1) -> bool:
    """Reads until the step that does `waits(gate)` is there, under that lease or a later one."""
    line, held = str(waits(gate)["run"]), 0
    for event in events:
        if event["type"] == "run.started":
            held = int(event["data"]["lease"])
        if held >= lease and event["type"] == "tool.started" and line in str(event["data"]):
            return True
    return False


def is_event(kind: str, **fields: object) -> Callable[[Json], bool]:
    """Accepts events of a type whose own fields, or else fields of data, are as given."""

    def accepts(event: Json) -> bool:
        found: Mapping[str, object] = {**event["data"], **{name: event.get(name) for name in ("step", "phase")}}
        return event["type"] == kind and all(found.get(name) == value for name, value in fields.items())

    return accepts


def step(text: str, *, commitable: bool = True, structured: bool = False) -> Json:
    return {"step": text, "isCommitableStep": commitable, "isStructuredOutput": structured}


def is_alive(process: psutil.Process) -> bool:
    """A zombie has ended; it waits for the machine's init."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
