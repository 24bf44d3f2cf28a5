from hypothesis import example, given
from hypothesis import strategies as st

from treadle.domain.batch import (
    BATCH_TERMINAL,
    BATCH_TRANSITIONS,
    ENDED_AS,
    ITEM_OPEN,
    ITEM_RETRIED,
    ITEM_TERMINAL,
    ITEM_TRANSITIONS,
    BatchStatus,
    ItemStatus,
    share,
)
from treadle.domain.states import RUN_TERMINAL


def test_every_status_has_its_row() -> None:
    assert set(BATCH_TRANSITIONS) == set(BatchStatus)
    assert set(ITEM_TRANSITIONS) == set(ItemStatus)
    assert set(ENDED_AS) == RUN_TERMINAL


def test_out_of_an_end_leads_only_a_retry() -> None:
    for batch in BATCH_TERMINAL:
        assert BATCH_TRANSITIONS[batch] <= {BatchStatus.RUNNING}
    for item in ITEM_TERMINAL:
        assert ITEM_TRANSITIONS[item] == ({ItemStatus.NOT_STARTED} if item in ITEM_RETRIED else frozenset())


def test_what_is_open_can_come_to_every_end_of_a_run() -> None:
    assert ITEM_TRANSITIONS[ItemStatus.RUNNING] == set(ENDED_AS.values())
    assert set(ItemStatus) == ITEM_TERMINAL | ITEM_OPEN | {ItemStatus.NOT_STARTED}


@given(
    st.floats(0.0001, 1e6),
    st.integers(1, 100),
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=60),
)
def test_promises_and_what_is_spent_are_never_more_than_the_whole(
    limit: float, concurrency: int, ends: list[tuple[float, bool]]
) -> None:
    """However runs end, each with a part of what it was promised: the batch is passed by last answers alone."""
    settled, held = 0.0, list[float]()
    for part, ends_first in ends:
        found = share(limit, settled, sum(held), concurrency) if len(held) < concurrency else None
        if found is not None:
            held.append(found)
            assert found >= 0.0001
        assert settled + sum(held) <= limit * (1 + 1e-9) + 1e-6
        if held and (found is None or part > 0.5):
            settled += held.pop(0 if ends_first else -1) * part
    while held:
        settled += held.pop()
    assert settled <= limit * (1 + 1e-9) + 1e-6


@given(st.floats(0.001, 1e6), st.integers(1, 100))
@example(0.001, 11)
def test_when_nothing_is_under_way_whatever_is_left_is_shared(limit: float, concurrency: int) -> None:
    found, fair = share(limit, 0, 0, concurrency), limit / concurrency
    if not 0.0000999 < fair < 0.0001:  # which is nearly the least, and rounded
        assert (found is not None) == (fair >= 0.0001)
