from dataclasses import replace
from functools import reduce

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.cli.story import START, STORY, Told, tell, waiting

from treadle.cli.event_data import Cost, describe_tool
from treadle.cli.progress import RunView, advance


def told(*events: Told) -> RunView:
    return reduce(advance, events, waiting())


def test_a_story_ends_in_success() -> None:
    run = told(*STORY)
    assert (run.status, run.done, run.files, run.additions, run.deletions) == ("Success", 2, 1, 5, 2)
    assert run.cost == Cost(2_400, 690, 0.0246)
    assert run.seconds(START) == 20
    assert run.steps[1].commit_sha == "c0ffee12" + "0" * 32
    assert run.steps[0].commit_sha is None


def test_a_retry_shows_while_it_waits_and_the_attempt_after() -> None:
    assert told(*STORY[:12]).steps[1].activity == "trying again in 2.5 s: API Error: 529"
    assert told(*STORY[:13]).steps[1].attempt == 2
    assert told(*STORY[:14]).steps[1].activity == "Write src/top.py"


def test_a_killed_run_ends_its_running_step() -> None:
    end = tell(("run.finished", None, None, {"status": "Killed", "failureDetails": "The run was killed."}))
    run = told(*STORY[:14], *end)
    assert (run.status, run.failure) == ("Killed", "The run was killed.")
    assert (run.steps[1].status, run.steps[1].failure) == ("Failed", "killed")


def test_a_run_that_lost_its_worker_says_so() -> None:
    run = told(*STORY[:3], *tell(("run.requeued", None, None, {"reason": "lease_expired", "lease": 1})))
    assert (run.status, run.activity) == ("New", "its worker was lost, waiting for another")


def test_a_tool_shows_the_telling_part_of_its_input() -> None:
    assert describe_tool({"tool": "Bash", "input": {"description": "x", "command": "make"}}) == "Bash make"
    assert describe_tool({"tool": "Think", "input": {}}) == "Think"
    assert describe_tool({"input": "odd"}) == "tool"


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
keys = st.sampled_from(["text", "usage", "status", "sha", "tool", "input", "delaySeconds", "attempt", "name", "files"])


@given(
    st.sampled_from([*{event.type for event in STORY}, "run.requeued", "artifact.kept", "some.day"]),
    st.none() | st.integers(-1, 4),
    st.dictionaries(keys, json_values, max_size=5),
)
def test_no_event_whatever_it_holds_breaks_the_view(type_: str, step: int | None, data: dict[str, object]) -> None:
    run = advance(told(*STORY[:13]), Told(1, type_, START, step, "Analysis", data))
    assert len(run.steps) == 2
    assert replace(run, steps=()) is not run
