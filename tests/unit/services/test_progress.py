"""What a worker writes about its run, while the store is in trouble."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime

import pytest

from treadle.clock import SystemClock
from treadle.domain.errors import LeaseLost, TreadleError, Unavailable
from treadle.domain.events import Draft, EventType
from treadle.ports import Fence, StepUpdate
from treadle.queues.database import ProcessSignals
from treadle.redaction import Redactor
from treadle.services.progress import Progress

pytestmark = pytest.mark.anyio


class TroubledStore:
    """Refuses the first `times` writes with `error`; `is_deaf`: does them, but the answer is lost."""

    def __init__(self, times: int, error: type[TreadleError] = Unavailable, *, is_deaf: bool = False) -> None:
        self.left = times
        self.error = error
        self.is_deaf = is_deaf
        self.texts: list[object] = []
        self.last_write = 0
        self.written = asyncio.Event()

    async def record(
        self,
        _fence: Fence,
        events: Sequence[Draft],
        _now: datetime,
        *,
        step: StepUpdate | None = None,  # noqa: ARG002 - the port's
        has_diff: bool = False,  # noqa: ARG002 - the port's
        write: int,
    ) -> int:
        await asyncio.sleep(0)
        if self.left and not self.is_deaf:
            self.left -= 1
            raise self.error("The disk is full.")
        assert write in {self.last_write, self.last_write + 1}
        if write > self.last_write:
            self.last_write = write
            self.texts += [event.data["text"] for event in events]
        if self.left:
            self.left -= 1
            raise self.error("The connection broke at the commit.")
        self.written.set()
        return 1


def said(text: str) -> Draft:
    return Draft(EventType.ENGINE_TEXT, {"text": text})


def opened(store: TroubledStore) -> AbstractAsyncContextManager[Progress]:
    return Progress.open(store, ProcessSignals(), SystemClock(), Fence(1, 1), Redactor(()))


@pytest.mark.parametrize("is_deaf", [False, True])
async def test_what_could_not_be_made_sure_of_is_sent_again_once_and_in_order(is_deaf: bool) -> None:
    store = TroubledStore(1, is_deaf=is_deaf)
    async with opened(store) as progress, asyncio.timeout(60):
        with pytest.raises(Unavailable):
            await progress.record(said("one"))
        await progress.record(said("two"))
    assert store.texts == ["one", "two"]


async def test_a_cancelled_record_is_sent_again() -> None:
    store = TroubledStore(0)
    async with opened(store) as progress, asyncio.timeout(60):
        writing = asyncio.create_task(progress.record(said("one")))
        await asyncio.sleep(0)  # it is on its way to the store
        writing.cancel()
        await asyncio.wait({writing})
        assert writing.cancelled()
        await progress.record(said("two"))
    assert store.texts == ["one", "two"]


async def test_a_record_that_is_cancelled_in_the_line_is_sent_by_the_next() -> None:
    """What a phase has cost, while the events before it are still on their way."""
    store = TroubledStore(0)
    async with opened(store) as progress, asyncio.timeout(60):
        first = asyncio.create_task(progress.record(said("one")))
        second = asyncio.create_task(progress.record(said("two")))
        await asyncio.sleep(0)  # the second waits for the first
        for writing in (second, first):
            writing.cancel()
        await asyncio.wait({first, second})
        assert first.cancelled()
        assert second.cancelled()
        await progress.record()
    assert store.texts == ["one", "two"]


async def test_a_record_behind_one_that_fails_is_kept() -> None:
    store = TroubledStore(2)
    async with opened(store) as progress, asyncio.timeout(60):
        for text in ("one", "two"):
            with pytest.raises(Unavailable):
                await progress.record(said(text))
        await progress.record()
    assert store.texts == ["one", "two"]


async def test_events_of_a_batch_outlive_the_store_s_trouble() -> None:
    store = TroubledStore(3)
    async with opened(store) as progress, asyncio.timeout(60):
        await progress.note(said("one"), said("two"))
        await store.written.wait()
        store.written.clear()
        await progress.note(said("three"))  # the flusher lives
        await store.written.wait()
    assert store.texts == ["one", "two", "three"]


async def test_a_lost_lease_is_not_asked_again() -> None:
    store = TroubledStore(1, LeaseLost)
    async with opened(store) as progress:
        for _ in range(2):
            with pytest.raises(LeaseLost):
                await progress.record(said("one"))
    assert store.texts == []
