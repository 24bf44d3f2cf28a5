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
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import unquote, urlsplit

from tests.support.git_faults import PATIENCE_SECONDS, Fault, Faults, Hold, Kind
from tests.support.repositories import BareRepositories

__all__ = ["GitRequest", "GitServer", "Hold", "Kind"]

_CHUNK = 1 << 16


@dataclass(frozen=True)
class GitRequest:
    """One request as it arrived; `username` None when it carried no credentials."""

    method: str
    path: str
    kind: Kind
    username: str | None
    is_authorized: bool


class GitServer(Faults, BareRepositories):
    """Bare repositories in a temporary directory, served over HTTP.

    `username` and `password` are read with every request, so a test may change them while the server runs.
    """

    def __init__(self, *, username: str | None = None, password: str | None = None) -> None:
        """Prepare the server; it listens once entered. No `password`: everybody may read and push."""
        Faults.__init__(self)
        BareRepositories.__init__(self, Path(tempfile.mkdtemp(prefix="treadle-git-server-")))
        self.username = username
        self.password = password
        self._lock = threading.Lock()
        self._requests: list[GitRequest] = []
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
        self.stopping.set()
        if self._http is not None and self._thread is not None:
            self._http.shutdown()
            self._thread.join()
            self._http.server_close()
        with self._lock:
            left = list(self._backends)
        for backend in left:
            with suppress(ProcessLookupError):
                os.killpg(backend.pid, signal.SIGKILL)  # its handler reaps it
        shutil.rmtree(self.root, ignore_errors=True)  # a request that came last may still be at work there

    def url(self, repo: str) -> str:
        """The address of a repository, without credentials."""
        assert self._http is not None, "enter the server first"
        return f"http://127.0.0.1:{self._http.server_port}/{repo}.git"

    @property
    def requests(self) -> list[GitRequest]:
        with self._lock:
            return list(self._requests)

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
    disable_nagle_algorithm = True  # an answer in two pieces would wait 40 ms for the client's acknowledgement
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
        fault = git.take_fault(kind) or Fault(kind, 0)
        if fault.delay:
            git.stopping.wait(fault.delay)
        if fault.hold is not None and not fault.holds_after:
            body = iter(list(body))  # whole: its client may be killed at the gate
            git.wait_at(fault.hold)
        if fault.status is not None:
            self._refuse(fault.status, body)
        elif fault.is_dropped:
            self._break_off()
        else:
            self._pass_on(unquote(parts.path), parts.query, body, fault)

    def _pass_on(self, path: str, query: str, body: Iterator[bytes], fault: Fault) -> None:
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

    def _answer(self, output: IO[bytes], fault: Fault) -> None:
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
            self.server.git.wait_at(fault.hold)
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
            while size := self._chunk_size():
                yield from self._read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass  # trailers
        else:
            yield from self._read(int(self.headers.get("Content-Length") or 0))

    def _chunk_size(self) -> int:
        line = self.rfile.readline()
        if not line:
            raise ConnectionError("the client left between two chunks of its request")
        return int(line.split(b";")[0], 16)

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
