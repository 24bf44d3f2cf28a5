"""What everything calls: ambient as logging is. An entry point installs the instruments; until then each of these does
next to nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from types import TracebackType
from typing import Final, Protocol, Self

from treadle.ports import Statistics
from treadle.telemetry.metrics import Metric

#: What a label or a span's attribute may be.
Value = str | int | float | bool

AskStatistics = Callable[[], Awaitable[Statistics]]


class Span(Protocol):
    """A stretch of work that is being measured."""

    def set(self, **attributes: Value) -> None:
        """What is known only by now. Those that are labels of the metric are labels, the rest the span's alone."""

    def rename(self, name: str) -> None: ...


class Timing(Span, Protocol):
    """Begins with `with`, ends with it."""

    def __enter__(self) -> Span: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class OpenSpan(Protocol):
    """A span of a tracer, entered when it was made."""

    def set(self, attributes: dict[str, Value]) -> None: ...
    def rename(self, name: str) -> None: ...
    def end(self, error: BaseException | None) -> None: ...


class Traces(Protocol):
    """Makes spans."""

    def start(self, name: str, attributes: dict[str, Value]) -> OpenSpan:
        """A child of the current span, else the first of a new trace."""

    def resume(self, traceparent: str | None, name: str, attributes: dict[str, Value]) -> OpenSpan:
        """A child of that remote span; without one, or with one that is not valid, the first of a new trace."""

    def traceparent(self) -> str | None: ...


class Meters(Protocol):
    """Keeps the figures. A label that is not given is empty; what is no label is left out."""

    def count(self, metric: Metric, amount: float, labels: dict[str, Value]) -> None: ...
    def observe(self, metric: Metric, value: float, labels: dict[str, Value]) -> None: ...
    def gauge(self, metric: Metric, read: Callable[[], float]) -> None: ...
    def statistics_from(self, ask: AskStatistics) -> None: ...

    async def exposition(self) -> bytes:
        """All of them in Prometheus's text format. Never raises for a part that is away."""


_meters: Meters | None = None
_traces: Traces | None = None


def use(meters: Meters | None, traces: Traces | None) -> None:
    """For `installed`."""
    global _meters, _traces
    _meters, _traces = meters, traces


def is_measuring() -> bool:
    """Whether anything is kept: for callers whose figures cost something to get."""
    return _meters is not None or _traces is not None


def timed(metric: Metric | None, name: str, **attributes: Value) -> Timing:
    """Measures the body: `metric` gets its seconds, and a span has the name. The metric's label `outcome`, where it has
    one, becomes ok, error or cancelled by how the body ends, unless the body sets it."""
    if _meters is None and _traces is None:
        return _NOTHING
    return _Measured(metric, name, attributes)


def span(name: str, **attributes: Value) -> Timing:
    """Traces the body, and measures nothing."""
    return timed(None, name, **attributes) if _traces is not None else _NOTHING


def continued(traceparent: str | None, name: str, **attributes: Value) -> Timing:
    """Traces the body as the continuation of what another process, or a request, began."""
    return _Measured(None, name, attributes, remote=(traceparent,)) if _traces is not None else _NOTHING


def count(metric: Metric, amount: float = 1, **labels: Value) -> None:
    """Adds to a counter."""
    if _meters is not None:
        _meters.count(metric, amount, labels)


def observe(metric: Metric, value: float, **labels: Value) -> None:
    """Puts a value into a histogram."""
    if _meters is not None:
        _meters.observe(metric, value, labels)


def gauge(metric: Metric, read: Callable[[], float]) -> None:
    """Shows what `read` gives at each scrape."""
    if _meters is not None:
        _meters.gauge(metric, read)


def statistics_from(ask: AskStatistics) -> None:
    """Shows the database's figures, asked for when somebody scrapes."""
    if _meters is not None:
        _meters.statistics_from(ask)


async def exposition() -> bytes | None:
    """Every figure in Prometheus's text format; None where nothing is measured."""
    return await _meters.exposition() if _meters is not None else None


def traceparent() -> str | None:
    """The current span as W3C writes it, to be continued elsewhere; None without one."""
    return _traces.traceparent() if _traces is not None else None


def outcome_of(error: BaseException | None) -> str:
    """ok, cancelled or error."""
    if error is None:
        return "ok"
    return "cancelled" if isinstance(error, asyncio.CancelledError | GeneratorExit) else "error"


class _Nothing:
    """One for all, and for nested use: it holds nothing."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return

    def set(self, **attributes: Value) -> None:  # noqa: ARG002 - the protocol's
        return

    def rename(self, name: str) -> None:  # noqa: ARG002 - the protocol's
        return


_NOTHING: Final = _Nothing()


class _Measured:
    __slots__ = ("_attributes", "_meters", "_metric", "_name", "_open", "_remote", "_started", "_traces")

    def __init__(
        self,
        metric: Metric | None,
        name: str,
        attributes: dict[str, Value],
        *,
        remote: tuple[str | None] | None = None,
    ) -> None:
        self._metric = metric
        self._name = name
        self._attributes = attributes
        self._remote = remote
        self._meters, self._traces = _meters, _traces
        self._open: OpenSpan | None = None
        self._started = 0.0

    def __enter__(self) -> Self:
        if self._traces is not None:
            self._open = (
                self._traces.start(self._name, self._attributes)
                if self._remote is None
                else self._traces.resume(self._remote[0], self._name, self._attributes)
            )
        self._started = perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        elapsed = perf_counter() - self._started
        if self._open is not None:
            self._open.end(error)
        if self._metric is not None and self._meters is not None:
            self._meters.observe(self._metric, elapsed, {"outcome": outcome_of(error), **self._attributes})

    def set(self, **attributes: Value) -> None:
        self._attributes.update(attributes)
        if self._open is not None:
            self._open.set(attributes)

    def rename(self, name: str) -> None:
        if self._open is not None:
            self._open.rename(name)
