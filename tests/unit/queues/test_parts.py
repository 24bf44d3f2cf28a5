"""What the adapters have in common."""

import asyncio
from itertools import islice

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from treadle.queues.outbox import Outbox
from treadle.queues.patience import FIRST_PAUSE, LONGEST_PAUSE, Complaints, pauses
from treadle.queues.pending import MAX_PENDING, Pending
from treadle.queues.subscriptions import Subscriptions

pytestmark = pytest.mark.anyio


async def test_too_many_hints_become_one_for_any() -> None:
    pending = Pending()
    for run_id in range(1, MAX_PENDING + 2):
        pending.add(run_id)
    pending.add(1)
    hint = await pending.take(0)
    assert hint is not None
    assert hint.run_id is None
    assert await pending.take(0) is None


async def test_as_many_hints_as_fit_are_kept_one_by_one() -> None:
    pending = Pending()
    for _ in range(2):
        for run_id in range(MAX_PENDING):
            pending.add(run_id)
    hints = [await pending.take(0) for _ in range(MAX_PENDING)]
    assert [hint.run_id for hint in hints if hint is not None] == list(range(MAX_PENDING))
    assert await pending.take(0) is None


async def test_a_hint_for_any_stands_for_all() -> None:
    pending = Pending()
    pending.add(1)
    pending.add(None)
    hint = await pending.take(0)
    assert hint is not None
    assert hint.run_id is None
    assert await pending.take(0) is None


async def test_an_outbox_keeps_the_newest() -> None:
    outbox = Outbox(3)
    for run_id in (1, 2, 3, 4, 2):
        outbox.add(run_id)
    assert outbox.take(10) == [2, 3, 4]


async def test_what_could_not_be_sent_goes_first() -> None:
    outbox = Outbox(10)
    for run_id in (1, 2, 3):
        outbox.add(run_id)
    taken = outbox.take(2)
    outbox.add(4)
    outbox.restore(taken)
    assert outbox.take(10) == [1, 2, 3, 4]


async def test_a_restored_outbox_keeps_to_its_limit() -> None:
    outbox = Outbox(3)
    for run_id in (1, 2, 3):
        outbox.add(run_id)
    taken = outbox.take(3)
    for run_id in (4, 5):
        outbox.add(run_id)
    outbox.restore(taken)
    assert outbox.take(10) == [3, 4, 5]


async def test_an_outbox_is_flushed_when_all_is_settled() -> None:
    outbox = Outbox(10)
    assert await outbox.flush(0)
    outbox.add(1)
    assert not await outbox.flush(0)
    taken = outbox.take(1)
    assert not await outbox.flush(0)
    outbox.settled(len(taken))
    assert await outbox.flush(0)


async def test_an_outbox_wakes_its_sender() -> None:
    outbox = Outbox(10)
    waiting = asyncio.create_task(outbox.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    outbox.add(1)
    await waiting
    outbox.settled(len(outbox.take(1)))
    again = asyncio.create_task(outbox.wait())
    await asyncio.sleep(0)
    assert not again.done()
    outbox.add(2)
    await again


async def test_all_subscriptions_are_raised_at_once() -> None:
    subscriptions = Subscriptions()
    async with subscriptions.subscribe(1) as one, subscriptions.subscribe(2) as two:
        subscriptions.raise_all()
        assert await one.wait(0)
        assert await two.wait(0)
        assert not await one.wait(0)


@given(st.floats(0, 1))
def test_pauses_grow_and_are_bounded(chance: float) -> None:
    found = list(islice(pauses(lambda: chance), 20))
    assert FIRST_PAUSE / 2 <= found[0] <= FIRST_PAUSE
    assert found == sorted(found)
    assert LONGEST_PAUSE / 2 <= found[-1] <= LONGEST_PAUSE


def test_pauses_differ_among_processes() -> None:
    assert list(islice(pauses(lambda: 0.1), 5)) != list(islice(pauses(lambda: 0.9), 5))


def test_a_complaint_is_made_once() -> None:
    complaints = Complaints(structlog.get_logger("tests"))
    with capture_logs() as lines:
        for number in range(5):
            complaints.warn("it is away", number=number)
        complaints.warn("another thing")
    assert [line["event"] for line in lines] == ["it is away", "another thing"]
