"""Chores are done one process at a time, tried again, and handed over at the end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from treadle.clock import SystemClock
from treadle.domain.errors import Unavailable
from treadle.ports.chores import Chore, ChoreKind
from treadle.runner import chores as module
from treadle.runner.chores import ChoreRunner
from treadle.runner.limits import Limits
from treadle.services.chores import Chores, Handler
from treadle.settings import Settings
from treadle.store.address import sqlite_url
from treadle.store.sql import SqlStore

pytestmark = pytest.mark.anyio

CLOCK = SystemClock()


@asynccontextmanager
async def doing(
    store: SqlStore, handler: Handler, *, lease: float = 30, kind: ChoreKind = ChoreKind.BATCH
) -> AsyncIterator[Chores]:
    """A process that does chores."""
    chores = Chores(store)
    chores.handle(kind, handler)
    limits = Limits.of(Settings.model_validate({"lease_seconds": lease, "poll_seconds": 0.05}))
    runner = asyncio.create_task(ChoreRunner("one", store, chores, CLOCK, limits).run())
    try:
        yield chores
    finally:
        runner.cancel()
        with suppress(asyncio.CancelledError):
            await runner


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    opened = await SqlStore.open(sqlite_url(tmp_path / "t.db"))
    yield opened
    await opened.close()


async def test_a_handler_says_when_it_is_due_again_and_when_it_is_over(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, over, end_chore = list[int](), asyncio.Event(), store.end_chore

    async def handler(chore: Chore) -> datetime | None:
        seen.append(chore.subject)
        return CLOCK.now() if len(seen) < 3 else None

    async def end(chore: Chore, *, again: datetime | None, failed: bool = False) -> bool:
        is_ended = await end_chore(chore, again=again, failed=failed)
        if again is None:
            over.set()  # and not before: who is stopped with a chore in hand hands it over
        return is_ended

    monkeypatch.setattr(store, "end_chore", end)
    async with doing(store, handler) as chores:
        await chores.plan(ChoreKind.BATCH, 7, CLOCK.now())
        await asyncio.wait_for(over.wait(), 60)
    assert seen == [7, 7, 7]
    assert await _left(store) is None


async def test_one_that_fails_is_tried_again_after_a_growing_pause(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.05)
    tries, over = list[int](), asyncio.Event()

    async def handler(chore: Chore) -> datetime | None:
        tries.append(chore.tries)
        if chore.tries < 2:
            raise Unavailable("not now") if chore.tries else RuntimeError("a defect")
        over.set()
        return None

    async with doing(store, handler) as chores:
        await chores.plan(ChoreKind.BATCH, 7, CLOCK.now())
        await asyncio.wait_for(over.wait(), 60)
    assert tries == [0, 1, 2]


async def test_what_is_being_done_at_the_end_is_handed_over_at_once(store: SqlStore) -> None:
    begun, broken_off = asyncio.Event(), asyncio.Event()

    async def handler(_chore: Chore) -> datetime | None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            broken_off.set()
        return None

    async with doing(store, handler) as chores:
        await chores.plan(ChoreKind.BATCH, 7, CLOCK.now())
        await asyncio.wait_for(begun.wait(), 60)
        assert await _left(store) is None
    assert broken_off.is_set()
    left = await _left(store)
    assert left is not None
    assert (left.subject, left.tries) == (7, 0)


async def test_who_loses_the_lease_is_broken_off(store: SqlStore) -> None:
    begun, broken_off = asyncio.Event(), asyncio.Event()

    async def handler(_chore: Chore) -> datetime | None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            broken_off.set()
        return None

    async with doing(store, handler, lease=1) as chores:
        await chores.plan(ChoreKind.BATCH, 7, CLOCK.now())
        await asyncio.wait_for(begun.wait(), 60)
        far = CLOCK.now() + timedelta(hours=1)
        thief = await store.claim_chore("two", far, lease_seconds=7200, kinds=frozenset({ChoreKind.BATCH}))
        assert thief is not None
        await asyncio.wait_for(broken_off.wait(), 60)
        assert await store.end_chore(thief, again=None)


async def _left(store: SqlStore) -> Chore | None:
    return await store.claim_chore("two", CLOCK.now(), lease_seconds=1, kinds=frozenset({ChoreKind.BATCH}))


async def test_one_that_waits_for_long_holds_up_no_other_of_its_kind(store: SqlStore) -> None:
    """A schedule whose repository's host does not answer is one organization's, and the clock is everybody's."""
    done, never = asyncio.Event(), asyncio.Event()

    async def handler(chore: Chore) -> datetime | None:
        if chore.subject == 1:
            await never.wait()
        done.set()
        return None

    async with doing(store, handler, kind=ChoreKind.SCHEDULE) as chores:
        for subject in (1, 2):
            await chores.plan(ChoreKind.SCHEDULE, subject, CLOCK.now() - timedelta(seconds=9 - subject))
        await asyncio.wait_for(done.wait(), 60)
