from functools import reduce

import pytest
from tests.unit.cli.story import START, STORY, Told, tell, waiting

from treadle.cli.event_data import Cost
from treadle.cli.lines import cost_text, count, duration, ending_lines, event_line, full_text
from treadle.cli.progress import advance

GOLDEN = """\
08:15:30Z  run.created               -      2 steps, engine Dummy
08:15:31Z  run.started               -      worker host-1, lease 1
08:15:32Z  workspace.prepared        -      new branch at aaaaaaaa, cold mirror, 41 ms
08:15:33Z  step.started              1/2    Describe the project
08:15:34Z  phase.started             1/2    Analysis
08:15:35Z  engine.started            1/2    Analysis        dummy
08:15:36Z  engine.text               1/2    Analysis        It counts words. That is all.
08:15:37Z  phase.finished            1/2    Analysis        1.2k in, 345 out, $0.01, 2.5 s
08:15:38Z  step.finished             1/2    Success
08:15:39Z  step.started              2/2    Add a --top option
08:15:40Z  phase.started             2/2    Implementation
08:15:41Z  engine.retry              2/2    Implementation  in 2.5 s: API Error: 529
08:15:42Z  phase.started             2/2    Implementation  attempt 2
08:15:43Z  tool.started              2/2    Implementation  Write src/top.py
08:15:44Z  tool.finished             2/2    Implementation  written
08:15:45Z  phase.finished            2/2    Implementation  1.2k in, 345 out, $0.01, 2.5 s
08:15:46Z  git.committed             2/2    c0ffee12 1 file, +5 -2
08:15:47Z  git.compared              2/2    1 ahead, 0 behind
08:15:48Z  git.pushed                2/2    c0ffee12 feature/top
08:15:49Z  diff.ready                2/2    1 file, +5 -2
08:15:50Z  step.finished             2/2    Success
08:15:51Z  run.finished              -      Success
"""

ENDING = """\
Success: 2 of 2 steps, in 20s, 2.4k in, 690 out, $0.02
  c0ffee12  Add a --top option
"""


def test_a_run_in_plain_lines() -> None:
    assert "".join(f"{event_line(event, 2)}\n" for event in STORY) == GOLDEN


def test_its_ending() -> None:
    assert "".join(f"{line}\n" for line in ending_lines(reduce(advance, STORY, waiting()))) == ENDING


def test_hostile_text_stays_on_its_line() -> None:
    (event,) = tell(("engine.text", 1, "Analysis", {"text": "ok\x1b[2J\x1b]0;owned\x07\r\n99:99:99Z  run.finished"}))
    line = event_line(event, 1)
    assert line.count("\n") == 0
    assert "\x1b" not in line
    assert line.startswith("08:15:30Z  engine.text")


def test_an_unknown_event_shows_its_data() -> None:
    (event,) = tell(("some.day", None, None, {"a": 1}))
    assert event_line(event, 1) == '08:15:30Z  some.day                  -      {"a": 1}'


def test_long_text_is_cut_on_the_line_and_whole_below() -> None:
    event = Told(1, "engine.text", START, 1, "Analysis", {"text": "first\n" + "x" * 500})
    assert len(event_line(event, 1)) < 280
    assert list(full_text(event)) == ["    first", "    " + "x" * 500]
    assert not list(full_text(Told(1, "engine.text", START, 1, None, {"text": "short"})))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0.0s"), (0.04, "0.0s"), (9.99, "9.9s"), (10, "10s"), (59.9, "59s"), (61, "1:01"), (3_661, "1:01:01")],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_counts_and_costs() -> None:
    assert [count(n) for n in (999, 1_000, 12_345, 3_400_000)] == ["999", "1.0k", "12.3k", "3.4M"]
    assert cost_text(Cost(1, 2)) == "1 in, 2 out"
