"""A small forge on loopback that answers as GitHub, GitLab or Gitea documents, and fails on demand.

    with ForgeServer(ForgeKind.GITLAB) as forge:
        forge.add("acme/demo").branches.add("work")
        ...  # ask forge.api_url with forge.token
        assert forge.projects["acme/demo"].pulls[0].head == "work"

Beside real bare repositories (`ForgeServer(kind, repositories)`) a pull request needs branches that are there.
"""

import json
import ssl
import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import JsonValue

from tests.support.forge_dialects import DIALECTS, ROOTS
from tests.support.forge_state import ForgeRequest, ForgeState, Project, Reply
from tests.support.repositories import BareRepositories
from treadle.domain.repository import ForgeAccess, ForgeKind
from treadle.ports.forges import ForgeRepository

__all__ = ["ForgeRequest", "ForgeServer", "Meet"]

TOKEN = "canary-forge-token"

#: More than a client reads.
HUGE_BYTES = 3 << 20

#: More than a parser follows.
DEEP_LEVELS = 100_000


class Meet(Enum):
    """What a request may meet in place of an answer, or after it was done."""

    STATUS = auto()
    CLOSE = auto()  # the connection, in the middle of the answer
    LOST = auto()  # the same, after it was done
    SLOW = auto()  # no answer until the server stops
    GARBAGE = auto()
    DEEP = auto()  # JSON of very many levels, with a status
    HUGE = auto()
    PACKED = auto()  # a little answer that unpacks to a huge one
    REDIRECT = auto()


@dataclass
class _Fault:
    what: Meet
    method: str | None
    times: int
    status: int
    headers: Mapping[str, str]
    body: JsonValue


@dataclass
class ForgeServer:
    kind: ForgeKind
    repositories: BareRepositories | None = None
    tls: ssl.SSLContext | None = None
    state: ForgeState = field(default_factory=lambda: ForgeState(TOKEN))
    requests: list[ForgeRequest] = field(default_factory=list)
    arrived: threading.Event = field(default_factory=threading.Event)  # set when there is a request
    stopping: threading.Event = field(default_factory=threading.Event)
    _faults: list[_Fault] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._http = _Server(self)
        if self.tls is not None:  # the handshake in the request's own thread
            self._http.socket = self.tls.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), name=f"{self.kind} server")
        self._thread.start()
        scheme = "http" if self.tls is None else "https"
        self.state.site = f"{scheme}://127.0.0.1:{self._http.server_port}"
        self.state.logs_site = f"{scheme}://localhost:{self._http.server_port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    @property
    def api_url(self) -> str:
        return f"{self.state.site}{ROOTS[self.kind]}"

    @property
    def access(self) -> ForgeAccess:
        return ForgeAccess(self.kind, self.api_url)

    @property
    def token(self) -> str:
        return self.state.token

    @property
    def projects(self) -> Mapping[str, Project]:
        return self.state.projects

    def add(self, name: str) -> Project:
        return self.state.add(name, self.repositories, are_numbered_together=self.kind is not ForgeKind.GITLAB)

    def repository(self, name: str) -> ForgeRepository:
        """What a client is told of it."""
        return ForgeRepository(self.access, name, self.token)

    def meet(
        self,
        what: Meet,
        *,
        method: str | None = None,
        times: int = 1,
        status: int = 500,
        headers: Mapping[str, str] | None = None,
        body: JsonValue = None,
    ) -> None:
        """The next requests (of a method) meet that; `status`, `headers` and `body` are STATUS's."""
        with self.state.lock:
            self._faults.append(_Fault(what, method, times, status, headers or {}, body))

    def asked(self, method: str) -> list[ForgeRequest]:
        return [request for request in self.requests if request.method == method]

    def _take(self, method: str) -> _Fault | None:
        for fault in self._faults:
            if fault.times and fault.method in {None, method}:
                fault.times -= 1
                return fault
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # an idle connection is not waited for
    block_on_close = False
    request_queue_size = 128

    def __init__(self, forge: ForgeServer) -> None:
        self.forge = forge
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing when a client leaves in the middle of an answer: tests do that."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        self._respond()

    def do_POST(self) -> None:
        self._respond()

    def do_PATCH(self) -> None:
        self._respond()

    def do_PUT(self) -> None:
        self._respond()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class names it
        """Say nothing: tests read `ForgeServer.requests`."""

    def _respond(self) -> None:
        forge, request = self.server.forge, self._read()
        with forge.state.lock:
            forge.requests.append(request)
            forge.arrived.set()
            fault = forge._take(self.command)
            is_done = fault is None or fault.what is Meet.LOST
            reply = DIALECTS[forge.kind](forge.state, request) if is_done else Reply(200, {})
        if fault is None:
            self._send(reply)
        else:
            self._fail(fault)

    def _fail(self, fault: _Fault) -> None:
        match fault.what:
            case Meet.STATUS:
                self._send(Reply(fault.status, fault.body, fault.headers))
            case Meet.CLOSE | Meet.LOST:
                self._raw(200, b'{"numb', {}, length=100)
                self.close_connection = True
            case Meet.SLOW:
                self.server.forge.stopping.wait(60)
                self.close_connection = True
            case Meet.GARBAGE:
                self._raw(200, b"<html>Sign in</html>", {})
            case Meet.DEEP:
                self._raw(fault.status, b"[" * DEEP_LEVELS + b"]" * DEEP_LEVELS, {})
            case Meet.HUGE:
                self._raw(200, b"[" + b" " * HUGE_BYTES + b"]", {})
            case Meet.PACKED:
                self._raw(200, zlib.compress(b"[" + b" " * HUGE_BYTES + b"]"), {"Content-Encoding": "deflate"})
            case Meet.REDIRECT:
                self._raw(301, b"{}", {"Location": f"{self.server.forge.state.site}/elsewhere"})

    def _read(self) -> ForgeRequest:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body: JsonValue = json.loads(raw) if raw else None
        return ForgeRequest(self.command, unquote(parts.path), parts.path, dict(parse_qsl(parts.query)), headers, body)

    def _send(self, reply: Reply) -> None:
        raw = json.dumps(reply.body) if reply.text is None else reply.text
        self._raw(reply.status, raw.encode(), reply.headers)

    def _raw(self, status: int, body: bytes, headers: Mapping[str, str], *, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(length if length is not None else len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
