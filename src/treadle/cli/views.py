"""How a run is shown while it goes: drawn on a terminal, as plain lines in a pipe, or as JSON lines."""

import contextlib
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol, Self

from treadle.cli import output
from treadle.cli.lines import ending_lines, event_line
from treadle.cli.progress import Happening, RunView, advance


class Report(Happening, Protocol):
    """An event, and its JSON as it came."""

    @property
    def raw(self) -> Mapping[str, object]: ...


class View(Protocol):
    """Entered before the first event, left after the last. `run` is what it knows."""

    @property
    def run(self) -> RunView: ...

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def show(self, event: Report) -> None: ...


def view_of(run: RunView, *, as_json: bool, hint: str = "") -> View:
    """The view that fits standard output."""
    if as_json:
        return JsonView(run)
    if output.is_terminal():
        from treadle.cli.live import LiveView
        from treadle.cli.terminal import console

        return LiveView(console(), run, lambda: datetime.now(UTC), hint=hint)
    return PlainView(run)


class PlainView(contextlib.AbstractAsyncContextManager["PlainView"]):
    """One line an event, and the ending."""

    def __init__(self, run: RunView) -> None:
        self.run = run

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self.run.is_finished:
            for line in ending_lines(self.run):
                output.line(line)

    def show(self, event: Report) -> None:
        self.run = advance(self.run, event)
        output.line(event_line(event, len(self.run.steps)))


class JsonView(contextlib.AbstractAsyncContextManager["JsonView"]):
    """One JSON object a line: the events as the API tells them."""

    def __init__(self, run: RunView) -> None:
        self.run = run

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def show(self, event: Report) -> None:
        self.run = advance(self.run, event)
        output.as_json(event.raw, indent=False)
