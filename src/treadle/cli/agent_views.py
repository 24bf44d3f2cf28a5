"""How an agent run is shown while it goes: drawn on a terminal, as plain lines in a pipe, or not at all."""

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Protocol, Self

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from treadle import AgentLog, AgentRun
from treadle.cli import output
from treadle.cli.agent_lines import log_detail, log_line
from treadle.cli.block import Block, spinner
from treadle.cli.lines import duration
from treadle.cli.text import columns, cut, one_line, pad

#: What is in neither is at work, or has ended well or badly.
_WAITING: Final = frozenset({"PENDING"})
_STOPPED: Final = frozenset({"STOPPED", "CANCELLED"})

#: Longest lines: on wide terminals what belongs together would stand too far apart.
_MAX_COLUMNS: Final = 120


class AgentView(Protocol):
    """Entered before the first entry, left after the last. `wants_status`: it is told of the run, now and then."""

    wants_status: bool

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def show(self, entry: AgentLog) -> None: ...
    def tell(self, run: AgentRun) -> None: ...


def view_of(run: AgentRun, title: str, *, as_json: bool) -> AgentView:
    """The view that fits standard output. With JSON the run is shown at its end only."""
    if output.is_terminal() and not as_json:
        from treadle.cli.terminal import console

        return LiveAgentView(console(), run, title, lambda: datetime.now(UTC))
    return LinesView(is_silent=as_json)


class LinesView(contextlib.AbstractAsyncContextManager["LinesView"]):
    """One line an entry."""

    wants_status = False

    def __init__(self, *, is_silent: bool) -> None:
        self._is_silent = is_silent

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def show(self, entry: AgentLog) -> None:
        if not self._is_silent:
            output.line(log_line(entry))

    def tell(self, run: AgentRun) -> None:
        """The lines say enough."""


class LiveAgentView(Block):
    """Its status, for how long it has been watched, and what it did last."""

    wants_status = True

    def __init__(self, console: Console, run: AgentRun, title: str, now: Callable[[], datetime]) -> None:
        self._run = run
        self._title = title
        self._last = ""
        self._hint = "Ctrl-C leaves the run going"
        self._now = now
        self._began = now()
        super().__init__(console, self._picture)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hint = self._last = ""
        await super().__aexit__(kind, error, trace)

    def show(self, entry: AgentLog) -> None:
        self._last = log_detail(entry) or self._last

    def tell(self, run: AgentRun) -> None:
        self._run = run

    def _picture(self) -> "AgentPicture":
        return AgentPicture(self._run, self._title, self._began, self._now(), (self._last, self._hint))


class AgentPicture:
    """What rich draws: a run as it is at one moment, and `notes` below it."""

    def __init__(self, run: AgentRun, title: str, began: datetime, now: datetime, notes: tuple[str, ...] = ()) -> None:
        self._run = run
        self._title = title
        self._began = began
        self._now = now
        self._notes = notes

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, is_unicode = min(options.max_width, _MAX_COLUMNS), options.encoding.startswith("utf")
        sign, style = self._look(is_unicode=is_unicode)
        took = duration(max(0.0, (self._now - self._began).total_seconds()))
        right = f"{one_line(self._run.status)}  {took:>5}"
        room = max(0, width - columns(right) - 4)
        head = Text(no_wrap=True, overflow="crop")
        head.append(f"{sign} ", style=style)
        head.append(pad(one_line(f"{self._run.id}  {self._title}", room), room), style="bold")
        head.append(f"  {right}", style=style)
        yield head
        for note in self._notes:
            if note:
                yield Text(cut(f"  {note}", width), style="dim", no_wrap=True, overflow="crop")

    def _look(self, *, is_unicode: bool) -> tuple[str, str]:
        """Sign and style."""
        run = self._run
        if not run.is_finished:
            is_waiting = run.status in _WAITING
            return (
                ("·" if is_unicode else ".", "dim")
                if is_waiting
                else (spinner(self._now, is_unicode=is_unicode), "cyan")
            )
        if run.succeeded:
            return "✓" if is_unicode else "+", "green"
        if run.status in _STOPPED:
            return "■" if is_unicode else "#", "yellow"
        return "✗" if is_unicode else "x", "red"
