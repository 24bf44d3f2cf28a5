"""A collector of traces: takes OTLP over HTTP, and shows the spans that it was sent.

with Collector() as collector:
    ... TREADLE_OTLP_ENDPOINT=collector.url ...
    spans = collector.wait_for(lambda spans: any(span.name == "run" for span in spans))
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

PATIENCE_SECONDS = 120.0


@dataclass(frozen=True)
class Seen:
    """A span. Ids are in hexadecimal; `parent` is "" for the first of a trace."""

    name: str
    trace: str
    id: str
    parent: str
    kind: str
    attributes: Mapping[str, str | int | float | bool]
    is_error: bool
    status: str
    resource: Mapping[str, str | int | float | bool]


class Collector:
    """On a free port of the loopback. `is_silent`: takes requests and never answers."""

    def __init__(self, *, is_silent: bool = False) -> None:
        self.raw: list[bytes] = []  # every request's body
        self.paths: list[str] = []
        self._spans: list[Seen] = []
        self._arrived = threading.Condition()
        self._closing = threading.Event()
        self._is_silent = is_silent
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def spans(self) -> Sequence[Seen]:
        with self._arrived:
            return tuple(self._spans)

    def wait_for(self, wanted: Callable[[Sequence[Seen]], bool], seconds: float = PATIENCE_SECONDS) -> Sequence[Seen]:
        """All spans, once they are as `wanted`."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: wanted(self._spans), seconds), [span.name for span in self._spans]
            return tuple(self._spans)

    def _take(self, path: str, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        found = [
            _seen(span, {pair.key: _value(pair.value) for pair in resource.resource.attributes})
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        with self._arrived:
            self.raw.append(body)
            self.paths.append(path)
            self._spans += found
            self._arrived.notify_all()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if collector._is_silent:
                    collector._closing.wait()
                    self.close_connection = True
                    return
                collector._take(self.path, body)
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002, ARG002 - the library's
                return

        return Handler


def _seen(span: Span, resource: Mapping[str, str | int | float | bool]) -> Seen:
    return Seen(
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        attributes={pair.key: _value(pair.value) for pair in span.attributes},
        is_error=span.status.code == Status.STATUS_CODE_ERROR,
        status=span.status.message,
        resource=resource,
    )


def _value(value: object) -> str | int | float | bool:
    which = value.WhichOneof("value")  # type: ignore[attr-defined]  # protobuf's messages come without types
    found: str | int | float | bool = getattr(value, which)
    return found
