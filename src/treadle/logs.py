"""Log lines: structured, with the run and the step they belong to, and never with a live run's secret."""

import logging
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, TextIO
from uuid import UUID

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

from treadle.domain.states import Phase
from treadle.redaction import MASK, Redactor, secrets_of
from treadle.settings import Settings

__all__ = ["MASK", "Redactor", "configure", "redact_live", "redacting", "run_context", "secrets_of"]

#: Libraries whose information is our noise: one line a request, a migration or a connection.
_QUIET = ("alembic", "asyncio", "httpcore2", "httpx2", "mcp", "sqlalchemy", "urllib3")

#: Libraries that report each lost connection and each try to make it again, with tracebacks: our own lines say it once.
_SILENT = ("aio_pika", "aiormq")

#: The redactors of the runs alive in this process. A tuple, replaced whole, so that any thread may read it any time.
_live: tuple[Redactor, ...] = ()
_live_lock = threading.Lock()


@contextmanager
def redacting(redactor: Redactor) -> Iterator[None]:
    """While inside, no log line of this process shows this redactor's secrets, whoever writes it."""
    global _live  # noqa: PLW0603  # log lines are written by libraries that nothing can be handed to
    with _live_lock:
        _live = (*_live, redactor)
    try:
        yield
    finally:
        with _live_lock:
            at = next(index for index, other in enumerate(_live) if other is redactor)
            _live = _live[:at] + _live[at + 1 :]


def redact_live(text: str) -> str:
    """`text` without the secrets of any live run."""
    for redactor in _live:
        text = redactor.text(text)
    return text


@contextmanager
def run_context(*, run: UUID | None = None, step: int | None = None, phase: Phase | None = None) -> Iterator[None]:
    """Puts `run`, `step` (its position) and `phase` on every line that is logged inside; tasks started inside inherit
    them. Beside them stands `trace_id`, where there is a trace (`treadle.telemetry`)."""
    given: Mapping[str, str | int | None] = {"run": str(run) if run is not None else None, "step": step, "phase": phase}
    with structlog.contextvars.bound_contextvars(**{key: value for key, value in given.items() if value is not None}):
        yield


def configure(settings: Settings, *, stream: TextIO | None = None) -> None:
    """Sends everything logged in this process, the libraries' lines too, to `stream` (standard error), formatted as
    `TREADLE_LOG_FORMAT` says. To be called once, by an entry point; a later call replaces the earlier one."""
    stream = stream if stream is not None else sys.stderr
    style = settings.log_format
    if style == "auto":
        style = "text" if stream.isatty() else "json"
    level = getattr(logging, settings.log_level.upper())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[ProcessorFormatter.remove_processors_meta, *_renderers(style, colors=stream.isatty()), _redact],
        )
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old.formatter, ProcessorFormatter):
            root.removeHandler(old)
            old.close()
    root.addHandler(handler)
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _renderers(style: Literal["text", "json"], *, colors: bool) -> list[Processor]:
    if style == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(ensure_ascii=False)]
    return [
        structlog.dev.ConsoleRenderer(
            colors=colors,
            pad_event_to=0,
            # Not rich's: that one shows the local variables, and with them every secret in reach.
            exception_formatter=structlog.dev.plain_traceback,
        )
    ]


def _redact(_logger: WrappedLogger, _method: str, line: str | EventDict) -> str:
    """Last of all, so that nothing is added after it: exceptions and the libraries' arguments are text by now."""
    return redact_live(line if isinstance(line, str) else str(line))
