"""What a worker writes about its run, while the store is in trouble."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import cast

import pytest

from treadle.clock import SystemClock
from treadle.domain.errors import ConfigurationError, LeaseLost
from treadle.domain.events import Draft, EventType
from treadle.ports import Fence, RunStore, StepUpdate
from treadle.queues.database import ProcessSignals
from treadle.redaction import Redactor
from treadle.services import progress as module
from treadle.services.progress import Progress

pytestmark = pytest.mark.anyio


class TroubledStore:
    """Refuses the first `times` writes, as a full disk does, or each with `error`."""

    def __init__(self, times: int, error: type[ConfigurationError | LeaseLost] = ConfigurationError) -> None:
        self.left = times
        self.error = error
        self.texts: list[object] = []
        self.written = asyncio.Event()

    async def record(
        self,
        _fence: Fence,
        events: Sequence[Draft],
        _now: datetime,
        *,
        step: StepUpdate | None = None,  # noqa: ARG002 - the port's
        has_diff: bool = False,  # noqa: ARG002 - the port's
    ) -> int:
        await asyncio.sleep(0)
        if self.left:
            self.left -= 1
            raise self.error("The disk is full.")
        self.texts += [event.data["text"] for event in events]
        self.written.set()
        return 1


class QuickClock(SystemClock):
    async def sleep(self, seconds: float) -> None:  # noqa: ARG002 - the port's
        await asyncio.sleep(0)


def said(text: str) -> Draft:
    return Draft(EventType.ENGINE_TEXT, {"text": text})


def opened(store: TroubledStore) -> AbstractAsyncContextManager[Progress]:
    # Of the port, only `record` is used here.
    return Progress.open(cast("RunStore", store), ProcessSignals(), QuickClock(), Fence(1, 1), Redactor(()))


async def test_events_of_a_batch_outlive_the_store_s_trouble() -> None:
    store = TroubledStore(3)
    async with opened(store) as progress, asyncio.timeout(10):
        await progress.note(said("one"), said("two"))
        await store.written.wait()
        store.written.clear()
        await progress.note(said("three"))  # the flusher lives
        await store.written.wait()
    assert store.texts == ["one", "two", "three"]


async def test_a_record_outlives_it_with_what_waited_before_it_in_order() -> None:
    store = TroubledStore(3)
    async with opened(store) as progress, asyncio.timeout(10):
        await progress.note(said("one"))
        writing = asyncio.create_task(progress.record(said("three")))
        await progress.note(said("two"))
        await writing
        await progress.record()
    assert sorted(map(str, store.texts)) == ["one", "three", "two"]
    assert store.texts.index("one") < store.texts.index("three")


async def test_a_trouble_that_lasts_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TROUBLE_SECONDS", 0.02)
    async with opened(TroubledStore(10**9)) as progress:
        with pytest.raises(ConfigurationError):
            await progress.record(said("one"))


async def test_a_lost_lease_is_not_asked_again() -> None:
    store = TroubledStore(1, LeaseLost)
    async with opened(store) as progress:
        for _ in range(2):
            with pytest.raises(LeaseLost):
                await progress.record(said("one"))
    assert store.texts == []
