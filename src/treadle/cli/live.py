"""A run on a terminal: one block that is drawn again in place, and stays as a summary at the end."""

from collections.abc import Callable, Iterator
from datetime import datetime
from types import TracebackType
from typing import Final

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from treadle.cli.block import Block, spinner
from treadle.cli.event_data import Cost
from treadle.cli.lines import ID_COLUMNS, change_text, cost_text, counted, duration, step_state
from treadle.cli.progress import Happening, RunView, StepView, advance
from treadle.cli.text import columns, cut, neutral, one_line, pad

_STYLES: Final = {
    "New": "dim",
    "NotStarted": "dim",
    "Running": "cyan",
    "Success": "green",
    "Failed": "red",
    "Killed": "yellow",
}
_SIGNS: Final = {"New": "·", "NotStarted": "·", "Success": "✓", "Failed": "✗", "Killed": "■"}
_ASCII_SIGNS: Final = {"New": ".", "NotStarted": ".", "Success": "+", "Failed": "x", "Killed": "#"}

#: Lines get no longer than this on wide terminals: what belongs together would stand too far apart.
_MAX_COLUMNS: Final = 120

#: A step's text gets at least this many columns, whatever stands beside it.
_MIN_TEXT_COLUMNS: Final = 12


class RunPicture:
    """What rich draws: a run as it is at one moment."""

    def __init__(self, run: RunView, now: datetime, *, hint: str = "") -> None:
        self._run = run
        self._now = now
        self._hint = hint

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width, is_unicode = min(options.max_width, _MAX_COLUMNS), options.encoding.startswith("utf")
        yield _cropped(self._head(width, is_unicode=is_unicode))
        room = None if self._run.is_finished else options.size.height - 3 - bool(self._hint)
        for line in self._steps(width, room, is_unicode=is_unicode):
            yield _cropped(line)
        if self._run.is_finished:
            yield from _ending(self._run, self._now)
        elif self._hint:
            yield _cropped(Text(cut("  " + self._hint, width), style="dim"))

    def _steps(self, width: int, room: int | None, *, is_unicode: bool) -> Iterator[Text]:
        """The steps; where there are more than `room` lines for them, those around the running one."""
        steps = self._run.steps
        first, last = 0, len(steps)
        if room is not None and len(steps) + 1 > room:
            shown = max(1, room - 3)  # what the running one does takes a line, and so does what is left out at each end
            first = max(0, min(self._run.done - shown // 2, len(steps) - shown))
            last = first + shown
        if first:
            yield Text(f"       {first} earlier", style="dim")
        for step in steps[first:last]:
            yield self._step(step, width, is_unicode=is_unicode)
            if step.status == "Running" and step.activity:
                yield Text("       " + one_line(step.activity, width - 8), style="dim")
            elif step.status == "Failed" and step.failure and step.failure != self._run.failure:
                yield Text("       " + one_line(step.failure, width - 8), style="red")
        if last < len(steps):
            yield Text(f"       {len(steps) - last} more", style="dim")

    def _head(self, width: int, *, is_unicode: bool) -> Text:
        run = self._run
        arrow = "→" if is_unicode else "->"
        style = _STYLES.get(run.status, "")
        said = f"{run.status}: {run.activity}" if run.activity and not run.is_finished else run.status
        took = run.seconds(self._now)
        right = f"{said}  {duration(took):>5}" if took is not None else said
        names = one_line(f"{run.branch_source} {arrow} {run.branch_work}")
        left = f"{names}  {one_line(run.engine)}  {run.id[:ID_COLUMNS]}"
        room = max(_MIN_TEXT_COLUMNS, width - columns(right) - 5)
        head = Text()
        head.append(self._sign(run.status, is_unicode=is_unicode) + " ", style=style)
        head.append(pad(cut(left, room), room), style="bold")
        head.append("  " + right, style=style)
        return head

    def _step(self, step: StepView, width: int, *, is_unicode: bool) -> Text:
        style = _STYLES.get(step.status, "")
        took = step.seconds(self._now)
        right = [step_state(step), f"{duration(took):>5}" if took is not None else ""]
        if step.cost != Cost():
            right.insert(1, cost_text(step.cost))
        said = "  ".join(part for part in right if part)
        room = max(_MIN_TEXT_COLUMNS, width - columns(said) - 9)
        line = Text("  ")
        line.append(self._sign(step.status, is_unicode=is_unicode), style=style)
        line.append(f" {step.position:>2} ", style="dim")
        line.append(pad(one_line(step.title, room), room), style="" if step.status != "NotStarted" else "dim")
        line.append("  " + said, style=style)
        return line

    def _sign(self, status: str, *, is_unicode: bool) -> str:
        if status == "Running":
            return spinner(self._now, is_unicode=is_unicode)
        return (_SIGNS if is_unicode else _ASCII_SIGNS).get(status, "?")


def _cropped(line: Text) -> Text:
    line.no_wrap, line.overflow = True, "crop"
    return line


def _ending(run: RunView, now: datetime) -> Iterator[Text]:
    parts = [f"{run.done} of {counted(len(run.steps), 'step')}"]
    if (took := run.seconds(now)) is not None:
        parts.append(f"in {duration(took)}")
    if run.files is not None:
        parts.append(change_text(run.files, run.additions, run.deletions))
    if run.cost != Cost():
        parts.append(cost_text(run.cost))
    yield Text(f"{run.status}: {', '.join(parts)}", style=_STYLES.get(run.status, ""))
    if run.failure:
        for line in neutral(run.failure).splitlines():
            wrapped = Text(line, style="red" if run.status == "Failed" else "")
            wrapped.no_wrap, wrapped.overflow = False, "fold"
            yield wrapped


class LiveView(Block):
    """A view for a terminal. Entered before the first event, left after the last."""

    def __init__(self, console: Console, run: RunView, now: Callable[[], datetime], *, hint: str = "") -> None:
        self.run = run
        self._now = now
        self._hint = hint
        super().__init__(console, self._picture)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hint = ""
        await super().__aexit__(kind, error, trace)

    def show(self, event: Happening) -> None:
        self.run = advance(self.run, event)

    def _picture(self) -> RunPicture:
        return RunPicture(self.run, self._now(), hint=self._hint)
