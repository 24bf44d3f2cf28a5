"""Puts the instruments behind the ambient calls, and takes them away at the end."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from treadle.telemetry import ambient

log = structlog.get_logger(__name__)

#: A process that ends waits this long for the collector to take the last spans, in seconds.
FLUSH_SECONDS = 2.5

_POLL_SECONDS = 0.02


@asynccontextmanager
async def installed(*, otlp_endpoint: str | None = None) -> AsyncIterator[None]:
    """Measures while open, and traces to that collector. For an entry point, once. Leaving sends the last spans, and
    waits no longer than FLUSH_SECONDS for that.

    Raises ConfigurationError for a collector's address that is none, or while the packages for it are missing.
    """
    # Here, so that a command that measures nothing does not load them.
    from treadle.telemetry.prometheus import PrometheusMeters  # noqa: PLC0415

    traces = None
    if otlp_endpoint is not None:
        from treadle.telemetry.traces import OtlpTraces  # noqa: PLC0415 - an extra, too

        traces = OtlpTraces(otlp_endpoint)
    ambient.use(PrometheusMeters(), traces)
    try:
        yield
    finally:
        ambient.use(None, None)
        if traces is not None and not await _is_set_in_time(traces.end()):
            log.warning("the collector did not take the last spans in time")
            traces.abandon()


async def _is_set_in_time(done: threading.Event) -> bool:
    deadline = asyncio.get_running_loop().time() + FLUSH_SECONDS
    while not done.is_set():  # by a thread that may never come back
        if asyncio.get_running_loop().time() >= deadline:
            return False
        await asyncio.sleep(_POLL_SECONDS)
    return True
