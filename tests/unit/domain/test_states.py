from hypothesis import given
from hypothesis import strategies as st

from treadle.domain.states import (
    RUN_ALIVE,
    RUN_TERMINAL,
    RUN_TRANSITIONS,
    STEP_TERMINAL,
    STEP_TRANSITIONS,
    RunStatus,
    StepStatus,
    sources_of,
)


def test_every_status_has_its_row() -> None:
    assert set(RUN_TRANSITIONS) == set(RunStatus)
    assert set(STEP_TRANSITIONS) == set(StepStatus)


def test_a_finished_run_is_only_reopened_by_resume() -> None:
    assert {RunStatus.SUCCESS, RunStatus.FAILED, RunStatus.KILLED} == RUN_TERMINAL
    assert {status: RUN_TRANSITIONS[status] for status in RUN_TERMINAL} == {
        status: {RunStatus.NEW} for status in RUN_TERMINAL
    }


def test_a_finished_step_stays_finished() -> None:
    assert all(not STEP_TRANSITIONS[status] for status in STEP_TERMINAL)


@given(st.sampled_from(sorted(RunStatus)))
def test_sources_of_turns_the_table_around(target: RunStatus) -> None:
    assert sources_of(target) == {source for source in RunStatus if target in RUN_TRANSITIONS[source]}


def test_every_living_run_can_be_killed() -> None:
    assert sources_of(RunStatus.KILLED) >= RUN_ALIVE
