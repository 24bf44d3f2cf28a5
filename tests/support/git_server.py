"""A smart-HTTP Git server on loopback: real `git http-backend`, optional basic authentication, faults on demand.

    with GitServer(username="ada", password="canary") as server:
        server.create("acme/demo", {"README.md": "# Demo\n"})
        ...  # clone and push server.url("acme/demo")
        assert [commit.subject for commit in server.log("acme/demo", "work")] == ["Add a file", "Initial commit"]

`GitServer(password="token")` without a username is the bare-token mode: any username, the token as password.
"""

import base64
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import unquote, urlsplit

from tests.support.repositories import BareRepositories

#: How long a test may wait for something the server should see.
PATIENCE_SECONDS = 60.0

_CHUNK = 1 << 16


class Kind(Enum):
    """What a request is for."""

    UPLOAD_REFS = "info/refs?service=git-upload-pack"
    UPLOAD = "git-upload-pack"
    RECEIVE_REFS = "info/refs?service=git-receive-pack"
    RECEIVE = "git-receive-pack"
    OTHER = "other"


@dataclass(frozen=True)
class GitRequest:
    """One request as it arrived; `username` None when it carried no credentials."""

    method: str
    path: str
    kind: Kind
    username: str | None
    is_authorized: bool


@dataclass
class Hold:
    """Requests that wait at a gate: `reached` is set by the first, `release()` lets all pass."""

    reached: threading.Event = field(default_factory=threading.Event)
    _released: threading.Event = field(default_factory=threading.Event)

    def wait(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Block until a request stands at the gate.

        Raises:
            TimeoutError: none came.
        """
        if not self.reached.wait(seconds):
            raise TimeoutError(f"no request reached the gate in {seconds} s")

    def release(self) -> None:
        self._released.set()


@dataclass
class _Fault:
    """What to do with the next `times` requests of a kind."""

    kind: Kind
    times: int
    status: int | None = None
    is_dropped: bool = False
    is_dropped_after: bool = False
    delay: float = 0.0
    hold: Hold | None = None
    holds_after: bool = False


class GitServer(BareRepositories):
    """Bare repositories in a temporary directory, served over HTTP.

    `username` and `password` are read with every request, so a test may change them while the server runs.
    """

    def __init__(self, *, username: str | None = None, password: str | None = None) -> None:
        """Prepare the server; it listens once entered. No `password`: everybody may read and push."""
        super().__init__(Path(tempfile.mkdtemp(prefix="treadle-git-server-")))
        self.username = username
        self.password = password
        self._lock = threading.Lock()
        self._requests: list[GitRequest] = []
        self._faults: list[_Fault] = []
        self._stopping = threading.Event()
        self._backends: set[subprocess.Popen[bytes]] = set()
        self._http: _Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._http = _Server(self)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), name="git server")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopping.set()
        if self._http is not None and self._thread is not None:
            self._http.shutdown()
            self._thread.join()
            self._http.server_close()
        with self._lock:
            left = list(self._backends)
        for backend in left:
            os.killpg(backend.pid, signal.SIGKILL)  # its handler reaps it
        shutil.rmtree(self.root, ignore_errors=bool(left))

    def url(self, repo: str) -> str:
        """The address of a repository, without credentials."""
        assert self._http is not None, "enter the server first"
        return f"http://127.0.0.1:{self._http.server_port}/{repo}.git"

    # ---- what was asked, and faults

    @property
    def requests(self) -> list[GitRequest]:
        with self._lock:
            return list(self._requests)

    def answer(self, kind: Kind, status: int, *, times: int = 1) -> None:
        """Answer the next requests of a kind with a status instead of passing them on."""
        self._add(_Fault(kind, times, status=status))

    def drop(self, kind: Kind, *, times: int = 1, after: bool = False) -> None:
        """Close the connection of the next requests of a kind before the answer is whole.

        Args:
            after: let git do its work first, so that a push is taken but never acknowledged.
        """
        self._add(_Fault(kind, times, is_dropped=not after, is_dropped_after=after))

    def delay(self, kind: Kind, seconds: float, *, times: int = 1) -> None:
        self._add(_Fault(kind, times, delay=seconds))

    def hold(self, kind: Kind, *, times: int = 1, after: bool = False) -> Hold:
        """Stop the next requests of a kind until released, before git sees them or, `after`, before the answer."""
        hold = Hold()
        self._add(_Fault(kind, times, hold=hold, holds_after=after))
        return hold

    def _add(self, fault: _Fault) -> None:
        with self._lock:
            self._faults.append(fault)

    def _take_fault(self, kind: Kind) -> _Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.kind is kind and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def _authorize(self, given: tuple[str, str] | None) -> bool:
        if self.password is None:
            return True
        if given is None:
            return False
        username, password = given
        return password == self.password and self.username in {None, username}

    def _note(self, request: GitRequest) -> None:
        with self._lock:
            self._requests.append(request)

    def _started(self, backend: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._backends.add(backend)

    def _ended(self, backend: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._backends.discard(backend)

    def _wait_at(self, hold: Hold) -> None:
        hold.reached.set()
        while not (hold._released.wait(0.05) or self._stopping.is_set()):
            pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # an idle connection is not waited for
    block_on_close = False
    request_queue_size = 256

    def __init__(self, git: GitServer) -> None:
        self.git = git
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing when a client is killed in the middle of a request: tests do that."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._respond()

    def do_POST(self) -> None:
        self._respond()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class names it
        """Say nothing: tests read `GitServer.requests`."""

    def _respond(self) -> None:
        git = self.server.git
        parts = urlsplit(self.path)
        kind = _kind(parts.path, parts.query)
        given = self._credentials()
        is_authorized = git._authorize(given)
        git._note(GitRequest(self.command, parts.path, kind, given[0] if given else None, is_authorized))
        body = self._body()
        if not is_authorized:
            self._refuse(401, body, {"WWW-Authenticate": 'Basic realm="git"'})
            return
        fault = git._take_fault(kind) or _Fault(kind, 0)
        if fault.delay:
            git._stopping.wait(fault.delay)
        if fault.hold is not None and not fault.holds_after:
            git._wait_at(fault.hold)
        if fault.status is not None:
            self._refuse(fault.status, body)
        elif fault.is_dropped:
            self._break_off()
        else:
            self._pass_on(unquote(parts.path), parts.query, body, fault)

    def _pass_on(self, path: str, query: str, body: Iterator[bytes], fault: _Fault) -> None:
        """Run `git http-backend`, feeding it the body while its answer is read: either may be large."""
        backend = subprocess.Popen(
            ["git", "http-backend"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self._environment(path, query),
            start_new_session=True,  # so that it ends with its children
        )
        self.server.git._started(backend)
        assert backend.stdin is not None
        assert backend.stdout is not None
        feeder = threading.Thread(target=_feed, args=(body, backend.stdin), daemon=True)
        feeder.start()
        try:
            self._answer(backend.stdout, fault)
        finally:
            backend.stdout.close()  # ends a backend whose client is gone
            try:
                backend.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(backend.pid, signal.SIGKILL)
                backend.wait()
            self.server.git._ended(backend)
            feeder.join(PATIENCE_SECONDS)

    def _answer(self, output: IO[bytes], fault: _Fault) -> None:
        status, headers = 200, list[tuple[str, str]]()
        while line := output.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            if name.lower() == "status":
                status = int(value.split()[0])
            else:
                headers.append((name, value.strip()))
        if fault.is_dropped_after or fault.holds_after:
            whole = output.read()  # git is done once it has closed its output
            if fault.is_dropped_after:
                self._break_off()
                return
            assert fault.hold is not None
            self.server.git._wait_at(fault.hold)
            chunks: Iterator[bytes] = iter([whole] if whole else [])
        else:
            chunks = iter(lambda: output.read1(_CHUNK), b"")  # type: ignore[attr-defined]  # a pipe is buffered
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        has_length = any(name.lower() == "content-length" for name, _ in headers)
        if not has_length:
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for chunk in chunks:
            self.wfile.write(chunk if has_length else b"%x\r\n%s\r\n" % (len(chunk), chunk))
        if not has_length:
            self.wfile.write(b"0\r\n\r\n")

    def _environment(self, path: str, query: str) -> dict[str, str]:
        """The CGI variables, and git with no configuration but the repository's."""
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.server.git.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REMOTE_ADDR": "127.0.0.1",
            "REMOTE_USER": "somebody",
            "SERVER_PROTOCOL": self.request_version,
        }
        for name, variable in (
            ("Content-Type", "CONTENT_TYPE"),
            ("Content-Length", "CONTENT_LENGTH"),  # absent for a chunked body: git then reads to its end
            ("Content-Encoding", "HTTP_CONTENT_ENCODING"),
            ("Accept-Encoding", "HTTP_ACCEPT_ENCODING"),
            ("Git-Protocol", "GIT_PROTOCOL"),
        ):
            if value := self.headers.get(name):
                environment[variable] = value
        return environment

    def _credentials(self) -> tuple[str, str] | None:
        scheme, _, encoded = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            username, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except ValueError:
            return None
        return username, password

    def _body(self) -> Iterator[bytes]:
        """The request's body piece by piece, whichever way it comes."""
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield from self._read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass  # trailers
        else:
            yield from self._read(int(self.headers.get("Content-Length") or 0))

    def _read(self, size: int) -> Iterator[bytes]:
        while size > 0:
            piece = self.rfile.read(min(size, _CHUNK))
            if not piece:
                raise ConnectionError("the client left in the middle of its request")
            size -= len(piece)
            yield piece

    def _break_off(self) -> None:
        """Close the connection after the head: before it, libcurl would quietly ask once more."""
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.close_connection = True

    def _refuse(self, status: int, body: Iterator[bytes], headers: Mapping[str, str] | None = None) -> None:
        for _ in body:
            pass  # read to its end, so that the connection stays usable and the client sees the answer
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _kind(path: str, query: str) -> Kind:
    wanted = f"{path}?{query}" if path.endswith("/info/refs") else path
    return next((kind for kind in Kind if wanted.endswith(f"/{kind.value}")), Kind.OTHER)


def _feed(body: Iterator[bytes], sink: IO[bytes]) -> None:
    is_wanted = True
    with suppress(ConnectionError):  # the client left
        for piece in body:
            try:
                if is_wanted:
                    sink.write(piece)
            except OSError:
                is_wanted = False  # the backend has seen enough; the rest is read, so that the connection stays usable
    with suppress(OSError):
        sink.close()
