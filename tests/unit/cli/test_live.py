import io
from datetime import timedelta
from functools import reduce

import pytest
from rich.console import Console
from tests.unit.cli.story import START, STORY, tell, waiting

from treadle.cli.live import LiveView, RunPicture
from treadle.cli.progress import RunView, advance, waiting_steps


def drawn(run: RunView, *, at: int = 30, width: int = 80, height: int = 24, encoding: str = "utf-8") -> list[str]:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=stream, width=width, height=height, markup=False, force_terminal=False)
    console.print(RunPicture(run, START + timedelta(seconds=at), hint="Ctrl-C kills the run"))
    stream.flush()
    stream.seek(0)
    return [line.rstrip() for line in stream.read().splitlines()]


def told(events: int) -> RunView:
    return reduce(advance, STORY[:events], waiting())


def test_a_run_on_its_way() -> None:
    assert drawn(told(14), at=14) == [
        "⠋ main → feature/top  Dummy  6f2c1a3e                            Running    13s",
        "  ✓  1 Describe the project             analysis  1.2k in, 345 out, $0.01   5.0s",
        "  ⠋  2 Add a --top option                           Implementation, try 2   5.0s",
        "       Write src/top.py",
        "  Ctrl-C kills the run",
    ]


def test_a_run_at_its_end() -> None:
    assert drawn(told(len(STORY))) == [
        "✓ main → feature/top  Dummy  6f2c1a3e                            Success    20s",
        "  ✓  1 Describe the project             analysis  1.2k in, 345 out, $0.01   5.0s",
        "  ✓  2 Add a --top option               c0ffee12  1.2k in, 345 out, $0.01    11s",
        "Success: 2 of 2 steps, in 20s, 1 file, +5 -2, 2.4k in, 690 out, $0.02",
    ]


def test_without_unicode_the_signs_are_ascii() -> None:
    assert all(line.isascii() for line in drawn(told(14), encoding="ascii"))


@pytest.mark.parametrize("width", [20, 40, 79, 200])
def test_every_line_fits(width: int) -> None:
    for count in range(len(STORY) + 1):
        assert all(len(line) <= width for line in drawn(told(count), width=width))


def test_a_long_run_shows_what_is_around_its_running_step() -> None:
    run = RunView("id", "repo", "main", "work", "Dummy", waiting_steps([(f"Step {n}", True) for n in range(1, 21)]))
    events = [
        event
        for n in range(1, 13)
        for event in tell(("step.started", n, None, {}), ("step.finished", n, None, {"status": "Success"}))
    ]
    run = reduce(advance, [*events, *tell(("step.started", 13, None, {}))], run)
    lines = drawn(run, height=12)
    assert len(lines) < 12
    assert any("Step 13" in line for line in lines)
    assert any("earlier" in line for line in lines)
    assert any("more" in line for line in lines)


def test_hostile_text_is_drawn_as_text() -> None:
    events = tell(
        ("step.started", 1, None, {"text": "x"}),
        ("engine.text", 1, "Analysis", {"text": "[bold red]not markup[/] \x1b]0;owned\x07 \x9b2J :smile: \u202eright"}),
    )
    lines = drawn(reduce(advance, events, waiting()))
    assert "       [bold red]not markup[/] :smile: \\u202eright" in lines
    assert not any("\x1b" in line or "\x9b" in line for line in lines)


@pytest.mark.anyio
async def test_the_view_draws_in_place_and_stays_as_a_summary() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=80, height=24, markup=False, force_terminal=True, color_system=None)
    view = LiveView(console, waiting(), lambda: START + timedelta(seconds=30))
    async with view:
        for event in STORY:
            view.show(event)
    drawn_again = stream.getvalue().split("\x1b[1A\x1b[2K")
    assert len(drawn_again) > 1
    assert "Success: 2 of 2 steps" in drawn_again[-1]
    assert stream.getvalue().rstrip().endswith("\x1b[?25h")
