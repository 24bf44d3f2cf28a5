"""A scripted model on loopback, speaking both APIs that the engine CLIs speak.

No model API can be reached from a test; the real CLI in front of this server is the honest end-to-end test.

    with ModelServer([say(write("/repo/a.txt", "hi")), say("done")]) as model:
        ...  # ANTHROPIC_BASE_URL=model.url, or KIMI_MODEL_BASE_URL=model.openai_url
        assert model.turns[0].credential == "x-api-key canary"
"""

import json
import select
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from pydantic import JsonValue

from tests.support.model_script import Drop, Fail, Hang, ModelRequest, Raw, Say, Script, Turn
from tests.support.model_wire import Anthropic, Dialect, Json, OpenAI, Stalled

#: How long a test may wait for something the server should see.
PATIENCE_SECONDS = 120.0


class ModelServer:
    """Answers by script and remembers what it was asked.

    A script that is a sequence is played once, a turn a request; asking for more is answered 400 (which no CLI
    retries) and makes leaving the context fail, so that a script which is too short is not overlooked.
    """

    def __init__(self, script: Script = (), *, unix_socket: Path | None = None) -> None:
        """Prepare the server; it listens once entered.

        Args:
            script: turns, or a function from a request to its turn.
            unix_socket: where to listen instead of on a free loopback port.
        """
        self._lock = threading.Condition()
        self._requests: list[ModelRequest] = []
        self._play = _player(script)
        self._exhausted: list[ModelRequest] = []
        self._reported: list[Say] = []
        #: Streams are cut into pieces of this size, wherever that falls; 0: an event a piece.
        self.piece_bytes = 0
        self._stopping = threading.Event()
        self._unix_socket = unix_socket
        self._http: _Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._http = _Server(self, self._unix_socket)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), name="model server")
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
        if kind is None and self._exhausted:
            asked = "; ".join(request.last[:200] for request in self._exhausted)
            raise AssertionError(f"the script was too short: it was asked for {len(self._exhausted)} more ({asked})")

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    @property
    def url(self) -> str:
        """For `ANTHROPIC_BASE_URL`."""
        assert self._http is not None, "enter the server first"
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def openai_url(self) -> str:
        """For `KIMI_MODEL_BASE_URL`."""
        return f"{self.url}/v1"

    @property
    def requests(self) -> list[ModelRequest]:
        """Everything asked so far, in order of arrival."""
        with self._lock:
            return list(self._requests)

    @property
    def reported(self) -> list[Say]:
        """The turns that were told to their end, and so with their tokens: the server's own count."""
        with self._lock:
            return list(self._reported)

    @property
    def turns(self) -> list[ModelRequest]:
        """The requests that asked the model for a turn."""
        return [request for request in self.requests if request.is_turn]

    def play(self, script: Script) -> None:
        """From now on, answer by another script."""
        player = _player(script)
        with self._lock:
            self._play = player

    def wait_for_turns(self, count: int, seconds: float = PATIENCE_SECONDS) -> list[ModelRequest]:
        """Block until that many turns were asked for.

        Raises:
            TimeoutError: fewer came.
        """
        with self._lock:
            if not self._lock.wait_for(lambda: sum(r.is_turn for r in self._requests) >= count, seconds):
                raise TimeoutError(f"{len(self._requests)} requests after {seconds} s, none of them turn {count}")
        return self.turns

    def wait_for_reports(self, count: int, seconds: float = PATIENCE_SECONDS) -> list[Say]:
        """Block until that many turns were told to their end: whoever reads one may know its last words before this
        server has noted them.

        Raises:
            TimeoutError: fewer were.
        """
        with self._lock:
            if not self._lock.wait_for(lambda: len(self._reported) >= count, seconds):
                raise TimeoutError(f"{len(self._reported)} turns were told to their end after {seconds} s, not {count}")
        return self.reported

    def _report(self, turn: Say) -> None:
        with self._lock:
            self._reported.append(turn)
            self._lock.notify_all()

    def _answer(self, request: ModelRequest) -> Turn | None:
        """Note the request and pick its turn; None for what is not a turn."""
        with self._lock:
            self._requests.append(request)
            self._lock.notify_all()
            play = self._play
        if not request.is_turn:
            return None
        turn = play(request)
        if turn is None:
            with self._lock:
                self._exhausted.append(request)
            return Fail(400, "the test's script has no more turns")
        return turn


def _player(script: Script) -> Callable[[ModelRequest], Turn | None]:
    if not isinstance(script, Sequence):
        return script
    turns = iter(script)
    return lambda _request: next(turns, None)


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(self, model: ModelServer, unix_socket: Path | None) -> None:
        self.model = model
        if unix_socket is None:
            super().__init__(("127.0.0.1", 0), _Handler)
        else:
            self.address_family = socket.AF_UNIX
            super().__init__(str(unix_socket), _Handler)  # type: ignore[arg-type]  # a path is a unix address

    def server_bind(self) -> None:
        if self.address_family == socket.AF_UNIX:  # HTTPServer would look up the name of a TCP address
            self.socket.bind(self.server_address)
            self.server_name, self.server_port = "localhost", 0
        else:
            super().server_bind()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing when a client is killed in the middle of an answer: tests do that."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet for head and body
    server: _Server

    def handle_one_request(self) -> None:
        """Serve the connection's next request, unless the server stops or the client leaves before it comes."""
        if self._wait_for_client():
            super().handle_one_request()
        else:
            self.close_connection = True

    def do_POST(self) -> None:
        self._respond()

    def do_GET(self) -> None:
        self._respond()

    def do_HEAD(self) -> None:
        self._respond()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class names it
        """Say nothing: tests read `ModelServer.requests`."""

    def _respond(self) -> None:
        request = self._read()
        dialect: Dialect = OpenAI() if "chat/completions" in request.path else Anthropic()
        match self.server.model._answer(request):
            case None:
                self._side_request(request, dialect)
            case Fail(status, message, body, headers):
                self._send(status, dialect.error(status, message) if body is None else body, headers)
            case Hang():
                self._hang()
            case Drop():
                self.close_connection = True
            case Raw() as raw:
                self._raw(raw)
            case Say() as turn if request.wants_stream:
                self._stream(self._reporting(turn, dialect.stream(turn, request)))
            case Say() as turn:
                try:
                    answer = dialect.whole(turn, request)
                except Stalled:
                    self._hang()
                else:
                    self.server.model._report(turn)
                    self._send(200, answer)

    def _read(self) -> ModelRequest:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body: JsonValue = None
        if raw:
            try:
                body = json.loads(raw)
            except ValueError:  # a form, or bytes: kept as text, for a test to look at
                body = raw.decode(errors="replace")
        headers = {name.lower(): value for name, value in self.headers.items()}
        return ModelRequest(self.command, urlsplit(self.path).path, headers, body)

    def _side_request(self, request: ModelRequest, dialect: Dialect) -> None:
        if request.path.endswith("/count_tokens"):
            self._send(200, {"input_tokens": len(request.transcript) // 4})
        elif request.path.endswith("/v1/models"):
            self._send(200, {"object": "list", "data": []})
        elif request.method == "HEAD":
            self._send(200, "")
        else:
            self._send(404, dialect.error(404, f"no such endpoint: {request.path}"))

    def _send(self, status: int, body: Json | str, headers: Mapping[str, str] | None = None) -> None:
        payload = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(payload)

    def _stream(self, pieces: Iterator[bytes]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for piece in pieces:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
        except Stalled:
            self._hang()
        else:
            self.wfile.write(b"0\r\n\r\n")

    def _reporting(self, turn: Say, events: Iterator[bytes]) -> Iterator[bytes]:
        size, rest = self.server.model.piece_bytes, b""
        for event in events:
            if not size:
                yield event
                continue
            rest += event
            while len(rest) >= size:
                yield rest[:size]
                rest = rest[size:]
        self.server.model._report(turn)
        if rest:
            yield rest

    def _raw(self, raw: Raw) -> None:
        self.send_response(raw.status)
        for name, value in raw.headers.items():
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        try:
            for piece in raw.pieces:
                time.sleep(raw.pause_seconds)
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
        finally:
            if isinstance(raw.pieces, Generator):
                raw.pieces.close()  # so that it learns of a client that hung up
        if raw.is_cut:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def _hang(self) -> None:
        self._wait_for_client()
        self.close_connection = True

    def _wait_for_client(self) -> bool:
        """Block until the client sends something or hangs up (True), or the server stops (False)."""
        poll = select.poll()
        poll.register(self.connection, select.POLLIN)
        while not self.server.model.is_stopping:
            if poll.poll(50):
                return True
        return False
