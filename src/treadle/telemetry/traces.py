"""Spans, made by the OpenTelemetry SDK and sent to a collector by OTLP over HTTP.

What a span says is bounded and known to the code: names, codes, positions. An error is on it by its code, never by its
message, which may quote what a user or a server wrote.
"""

import os
import re
import socket
import threading
from collections.abc import Mapping
from contextvars import Token
from typing import Any, Final
from urllib.parse import urlsplit

import structlog

from treadle.domain.errors import ConfigurationError, TreadleError
from treadle.telemetry.ambient import OpenSpan, Value, outcome_of
from treadle.version import __version__

try:
    from opentelemetry import context as otel_context
    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
except ImportError as missing:
    raise ConfigurationError(
        "TREADLE_OTLP_ENDPOINT is set, and the packages that send traces are not installed.",
        hint="pip install 'treadle[telemetry]'",
    ) from missing

#: A collector gets this long for one batch of spans, in seconds, before it is dropped.
EXPORT_SECONDS = 5.0

#: Spans that wait for the collector; beyond that the oldest are dropped, and the log says so.
WAITING_SPANS = 8192

_PATH: Final = "/v1/traces"

#: Attributes that OpenTelemetry has names for; the others are ours.
_NAMES: Final[Mapping[str, str]] = {
    "method": "http.request.method",
    "route": "http.route",
    "status_code": "http.response.status_code",
}

_TRACEPARENT: Final = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?", re.ASCII)


class OtlpTraces:
    """ambient.Traces. Nobody waits for the collector: spans are handed to a thread of the SDK's."""

    def __init__(self, endpoint: str) -> None:
        """Raises ConfigurationError for an address that is none."""
        parts = urlsplit(endpoint)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigurationError(
                "TREADLE_OTLP_ENDPOINT is no address of a collector.", hint="Give http://host:4318 or https://…"
            )
        address = endpoint.rstrip("/")
        self._exporter = OTLPSpanExporter(
            endpoint=address if address.endswith(_PATH) else address + _PATH, timeout=EXPORT_SECONDS
        )
        # Not OpenTelemetry's global provider, which a process can set only once, and any library writes to.
        self._provider = TracerProvider(
            resource=Resource.create(
                {
                    "service.name": "treadle",
                    "service.version": __version__,
                    "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
                }
            ),
            shutdown_on_exit=False,  # `end` does it, within a time
        )
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter, max_queue_size=WAITING_SPANS))
        self._tracer = self._provider.get_tracer("treadle", __version__)

    def start(self, name: str, attributes: Mapping[str, Value]) -> OpenSpan:
        return self._open(name, attributes, otel_context.get_current())

    def resume(self, traceparent: str | None, name: str, attributes: Mapping[str, Value]) -> OpenSpan:
        remote = _parse(traceparent)
        parent = trace.set_span_in_context(NonRecordingSpan(remote), Context()) if remote is not None else Context()
        return self._open(name, attributes, parent, kind=SpanKind.CONSUMER if name == "run" else SpanKind.SERVER)

    def traceparent(self) -> str | None:
        here = trace.get_current_span().get_span_context()
        if not here.is_valid:
            return None
        return f"00-{here.trace_id:032x}-{here.span_id:016x}-{here.trace_flags:02x}"

    def end(self) -> threading.Event:
        """Sends what waits, in a thread that no process waits for; set when done."""
        done = threading.Event()

        def flush() -> None:
            try:
                self._provider.shutdown()
            finally:
                done.set()

        threading.Thread(target=flush, name="telemetry flush", daemon=True).start()
        return done

    def abandon(self) -> None:
        """Ends the tries of `end` that are still going on; what was not sent by then is lost."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # its annotations lack this one

    def _open(
        self, name: str, attributes: Mapping[str, Value], parent: Context, *, kind: SpanKind = SpanKind.INTERNAL
    ) -> "_Open":
        span = self._tracer.start_span(name, parent, kind, _named(attributes))
        token = otel_context.attach(trace.set_span_in_context(span, parent))
        return _Open(span, token, structlog.contextvars.bind_contextvars(trace_id=_trace_id(span)))


class _Open:
    __slots__ = ("_span", "_token", "_variables")

    def __init__(self, span: trace.Span, token: Token[Context], variables: Mapping[str, Token[Any]]) -> None:
        self._span = span
        self._token = token
        self._variables = variables

    def set(self, attributes: Mapping[str, Value]) -> None:
        self._span.set_attributes(_named(attributes))

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def end(self, error: BaseException | None) -> None:
        if error is not None:
            code = error.code if isinstance(error, TreadleError) else type(error).__name__
            self._span.set_attribute("error.type", code)
            if outcome_of(error) == "error":
                self._span.set_status(Status(StatusCode.ERROR, code))
        self._span.end()
        otel_context.detach(self._token)
        structlog.contextvars.reset_contextvars(**self._variables)


def _named(attributes: Mapping[str, Value]) -> dict[str, Value]:
    return {_NAMES.get(name, f"treadle.{name}"): value for name, value in attributes.items()}


def _trace_id(span: trace.Span) -> str:
    return f"{span.get_span_context().trace_id:032x}"


def _parse(traceparent: str | None) -> SpanContext | None:
    """None for what is not valid, as W3C asks: then a new trace begins."""
    found = _TRACEPARENT.fullmatch(traceparent.strip()) if traceparent is not None else None
    if found is None:
        return None
    context = SpanContext(
        int(found[1], 16), int(found[2], 16), is_remote=True, trace_flags=TraceFlags(int(found[3], 16) & 1)
    )
    return context if context.is_valid else None
