"""Who is told of what, and for how long it is tried."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.domain.events import EventType
from treadle.domain.messages import (
    MAX_MESSAGE_TEXT,
    MAX_RETRY_AFTER_SECONDS,
    RETRY_SECONDS,
    TOLD,
    Filter,
    Message,
    MessageStatus,
    MessageType,
    pause_after,
    source_faults,
    told_of,
    type_faults,
)

NOW = datetime(2031, 4, 5, tzinfo=UTC)
MESSAGE = Message(1, uuid4(), 1, "run 1", MessageType.RUN_FINISHED, {}, MessageStatus.WAITING, 0, NOW, NOW, NOW)


@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_it_is_tried_for_a_day_and_then_it_is_dead(chance: float) -> None:
    message, now = MESSAGE, NOW
    while (pause := pause_after(message, now, chance, None)) is not None:
        assert RETRY_SECONDS[message.tries] <= pause <= RETRY_SECONDS[message.tries] * 1.2
        now += timedelta(seconds=pause)
        message = replace(message, tries=message.tries + 1)
    assert message.tries == len(RETRY_SECONDS)
    assert timedelta(days=1) < now - NOW < timedelta(days=1.5)


def test_what_waited_for_long_behind_another_is_tried_once() -> None:
    assert pause_after(MESSAGE, NOW + timedelta(hours=25), 0, None) is not None
    assert pause_after(MESSAGE, NOW + timedelta(hours=27), 0, None) is None


def test_a_receiver_may_ask_for_more_time_within_bounds() -> None:
    assert pause_after(MESSAGE, NOW, 0, 60) == 60
    assert pause_after(MESSAGE, NOW, 0, 1) == 5
    assert pause_after(MESSAGE, NOW, 0, 1e9) == MAX_RETRY_AFTER_SECONDS


@pytest.mark.parametrize(
    ("wanted", "is_wanted"),
    [
        (Filter(), True),
        (Filter(types=("run.finished",)), True),
        (Filter(types=("run.*",)), True),
        (Filter(types=("run.started", "step.*")), False),
        (Filter(statuses=("Failed",)), True),
        (Filter(statuses=("Success",)), False),
        (Filter(repositories=(7,)), True),
        (Filter(repositories=(8,)), False),
        (Filter(sources=("API",)), True),
        (Filter(sources=("SLACK",)), False),
    ],
)
def test_a_filter_leaves_out_what_it_names_and_the_message_has_not(wanted: Filter, is_wanted: bool) -> None:
    assert wanted.admits(MessageType.RUN_FINISHED, "Failed", repository=7, source="API") is is_wanted


def test_statuses_are_of_ends_and_repositories_of_runs() -> None:
    assert Filter(statuses=("Failed",)).admits(MessageType.RUN_STARTED, None)
    assert Filter(repositories=(7,), sources=("API",)).admits(MessageType.BATCH_CREATED, None)
    assert not Filter(repositories=(7,)).admits(MessageType.RUN_STARTED, None)


_texts = st.lists(st.text()).map(tuple)


@given(_texts, st.lists(st.integers(1)).map(tuple), _texts, _texts)
def test_a_filter_is_read_as_it_was_kept(
    types: tuple[str, ...], repositories: tuple[int, ...], statuses: tuple[str, ...], sources: tuple[str, ...]
) -> None:
    made = Filter(types, repositories, statuses, sources)
    assert Filter.read(made.json()) == made


def test_names_that_name_nothing() -> None:
    assert type_faults(["run.finished", "run.*", "runs", "nothing.*", ""]) == ["runs", "nothing.*", ""]
    assert source_faults(["API", "api"]) == ["api"]


def test_texts_are_cut_and_other_fields_stay_here() -> None:
    told = told_of(
        {"output": "x" * (MAX_MESSAGE_TEXT + 5), "status": "Failed", "prompt": "…"}, frozenset({"output", "status"})
    )
    assert told == {"output": "x" * MAX_MESSAGE_TEXT, "status": "Failed", "clipped": 5}


def test_messages_of_runs_are_called_as_their_events() -> None:
    assert {type_.value for type_, _ in TOLD.values()} == {event.value for event in TOLD}
    assert EventType.ENGINE_TEXT not in TOLD
