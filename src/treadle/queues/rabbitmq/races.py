"""Waiting for a library that has a will of its own."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def first(deadline: float, *events: "asyncio.Future[Any] | Coroutine[Any, Any, object]") -> bool:
    """Whether one of them came before the deadline (of the loop's clock). Futures are left as they are, coroutines
    ended."""
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(event) for event in events if asyncio.iscoroutine(event)]
    futures = [event for event in events if isinstance(event, asyncio.Future)]
    try:
        done, _ = await asyncio.wait(
            {*tasks, *futures}, timeout=max(0.0, deadline - loop.time()), return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        for task in tasks:
            task.cancel()
    return bool(done)


async def whole(work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns or raises. The library ends what runs on a lost connection by cancelling it; here that is a
    ConnectionError, for nobody asked the caller to end."""
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise
    if task.cancelled():
        raise ConnectionError("the connection was lost")
    return task.result()
