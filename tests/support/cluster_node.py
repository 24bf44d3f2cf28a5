"""One process of a cluster, `treadle serve --no-worker` or `treadle worker`, as on a machine of its own: a data
directory that nobody else looks into, and links of its own to the database and the broker.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import psutil

from tests.support.ports import ReservedPort
from tests.support.service import PATIENCE_SECONDS, is_alive
from tests.support.tcp_proxy import TcpProxy

#: Graceful ends: TREADLE_DRAIN_SECONDS and what comes after, on a busy machine.
STOP_SECONDS = 120.0

_TREADLE = (str(Path(sys.executable).with_name("treadle")),)
#: So that a test run which is killed leaves no process behind. It is the thread's death that counts: start nodes from
#: the main one.
_BOUND = ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()
_SERVE, _WORKER = ("serve", "--no-worker"), ("worker",)


@dataclass
class Node:
    """`settings` are TREADLE_ names without the prefix; `command` starts some version of Treadle. `url` is where an
    API answers, "" for a worker; the port stays the same through restarts."""

    name: str
    folder: Path
    settings: dict[str, str]
    is_api: bool
    database: TcpProxy | None = None
    broker: TcpProxy | None = None
    command: Sequence[str] = _TREADLE
    environment: Mapping[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None
    _port: ReservedPort | None = field(init=False, default=None)
    _log_from: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        if self.is_api:
            self._port = ReservedPort()

    @property
    def data(self) -> Path:
        return self.folder / self.name

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port.number}" if self._port is not None else ""

    @property
    def links(self) -> list[TcpProxy]:
        return [link for link in (self.database, self.broker) if link is not None]

    # ---- its life

    def launch(self) -> None:
        """Starts it; does not wait."""
        assert not self.is_running, f"{self.name} runs"
        self.data.mkdir(parents=True, exist_ok=True)
        self._log_from = self.log_path.stat().st_size if self.log_path.exists() else 0
        arguments = (*_SERVE, "--port", str(self._port.number)) if self._port is not None else _WORKER
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        own = {f"TREADLE_{name}": value for name, value in self.settings.items()}
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*_BOUND, *self.command, *arguments],
                env={**inherited, "TREADLE_DATA_DIR": str(self.data), **own, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )

    def close(self) -> None:
        """It is not started again."""
        if self._port is not None:
            self._port.close()

    def start(self) -> None:
        """Starts it, and waits until it answers or, a worker, works."""
        self.launch()
        self.wait_ready()

    def wait_ready(self, seconds: float = PATIENCE_SECONDS) -> None:
        self.wait_until(self.is_ready, "is not ready", seconds)

    def is_ready(self) -> bool:
        if not self.is_api:
            return " works. Data: " in self.new_log
        with suppress(httpx2.TransportError):
            return httpx2.get(f"{self.url}/healthz", timeout=5).status_code == httpx2.codes.OK
        return False

    @property
    def was_ready(self) -> bool:
        """Since its last start, by what it says; before that it knows no signals."""
        return "Ctrl-C ends it" in self.new_log

    def wait_until(self, holds: Callable[[], bool], said: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Fails when the process ends meanwhile."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert self.is_running, f"{self.name} ended; its log:\n{self.log[-4000:]}"
            assert time.monotonic() < deadline, f"{self.name} {said}; its log:\n{self.log[-4000:]}"
            time.sleep(0.02)

    def terminate(self) -> None:
        """SIGTERM; does not wait."""
        self._send(signal.SIGTERM)

    def stop(self) -> None:
        """SIGTERM: its runs are handed over. Fails unless it ends well."""
        self.terminate()
        assert self.process is not None
        assert self.process.wait(STOP_SECONDS) == 0, self.log[-4000:]

    def kill9(self) -> None:
        """No handler runs; waits until the process is gone."""
        self._send(signal.SIGKILL)
        assert self.process is not None
        self.process.wait(STOP_SECONDS)

    def pause(self) -> None:
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    # ---- what it says, and leaves

    @property
    def log_path(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    @property
    def new_log(self) -> str:
        """Since its last start."""
        if not self.log_path.exists():
            return ""
        with self.log_path.open("rb") as log:
            log.seek(self._log_from)
            return log.read().decode(errors="replace")

    def descendants(self) -> list[psutil.Process]:
        """What lives below it now."""
        assert self.process is not None
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    @property
    def workspaces(self) -> list[Path]:
        """On its disk, and in memory: of runs, and of what they need besides."""
        digest = hashlib.sha256(os.fsencode(self.data.absolute())).hexdigest()[:12]
        memory = Path(f"/dev/shm/treadle-{os.getuid()}-{digest}")
        return [path for folder in (self.data / "runs", memory) if folder.is_dir() for path in sorted(folder.iterdir())]


def processes_about(folder: Path) -> list[psutil.Process]:
    """Processes of this machine that have to do with something below `folder`: by their command line, environment,
    working directory, or what is mounted in their sandbox."""
    sought = str(folder)
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        seen = ""
        with suppress(psutil.Error):
            seen += " ".join(process.cmdline()) + process.cwd()
        with suppress(psutil.Error, OSError):
            seen += " ".join(process.environ().values())
            seen += Path(f"/proc/{process.pid}/mountinfo").read_text(errors="replace")
        if sought in seen and is_alive(process):
            found.append(process)
    return found
