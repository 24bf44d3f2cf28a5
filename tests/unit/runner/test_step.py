"""What a step does when it is stopped."""

import asyncio

import pytest

from treadle.runner.step import begun_is_done

pytestmark = pytest.mark.anyio


async def test_what_has_begun_is_done_when_it_is_cancelled() -> None:
    may_end, done = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await may_end.wait()
        done.set()

    waiting = asyncio.create_task(begun_is_done(work(), 30))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.sleep(0.01)
    assert not waiting.done()
    may_end.set()
    await asyncio.wait({waiting}, timeout=30)
    assert waiting.cancelled(), "the cancellation is passed on"
    assert done.is_set()


async def test_but_it_does_not_hold_up_the_end() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    waiting = asyncio.create_task(begun_is_done(work(), 0.05))
    await begun.wait()
    waiting.cancel()
    await asyncio.wait({waiting}, timeout=30)
    assert waiting.cancelled()
    assert ended.is_set(), "nothing of it goes on"


async def test_its_failure_is_told() -> None:
    async def work() -> None:
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        await begun_is_done(work(), 1)
