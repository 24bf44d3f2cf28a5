"""Waiting for a batch's end. Nothing tells of a batch: it is looked at."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Annotated

from mcp.server.mcpserver import Context
from pydantic import Field

from treadle.api.deps import Services
from treadle.api.mcp.batch_shapes import BatchId, BatchShape, BatchWaitShape
from treadle.api.mcp.batch_tools import find_batch
from treadle.api.mcp.calls import Call, told
from treadle.api.mcp.waiting import DEFAULT_WAIT_SECONDS, MAX_WAIT_SECONDS, Waiter
from treadle.domain.batch import Batch
from treadle.domain.identity import Principal
from treadle.services.batches import Batches, is_batch_seen

#: Between two looks at a batch that somebody waits for, in seconds.
BATCH_LOOK_SECONDS = 1.0

_AGAIN = "The batch goes on: call wait_for_batch again. It loses nothing by that."
_STOPPING = "The server is about to stop: call wait_for_batch again in some seconds. The batch goes on."

Tell = Callable[[Batch], Awaitable[None]]


class BatchWaitingTool:
    def __init__(self, services: Services, waiter: Waiter, *, public_url: str | None) -> None:
        self._services = services
        self._waiter = waiter
        self._public_url = public_url

    @told
    async def wait_for_batch(
        self,
        context: Context,
        batch: BatchId,
        seconds: Annotated[
            int, Field(ge=1, le=MAX_WAIT_SECONDS, description="How long to wait at most.")
        ] = DEFAULT_WAIT_SECONDS,
    ) -> BatchWaitShape:
        """Wait until a batch has ended, with notifications of how many of its repositories have, and show it. When it
        has not ended in time, `advice` says to call again."""
        call = Call.of(context)
        found = await find_batch(self._services, call.principal, batch)

        async def tell(now: Batch) -> None:
            await context.report_progress(now.counts.ended, now.counts.items, _sentence(now))

        if not found.is_finished:
            await self._waiter.until(
                call,
                _follow(self._services.batches, call.principal, found, tell),
                seconds,
                what=f"batch {found.id}",
                may_see=partial(is_batch_seen, found),
            )
            found = await find_batch(self._services, call.principal, found.id)
        advice = None if found.is_finished else _STOPPING if self._waiter.closed.is_set() else _AGAIN
        return BatchWaitShape(batch=BatchShape.of(found, self._public_url), advice=advice)


async def _follow(batches: Batches, principal: Principal, batch: Batch, tell: Tell) -> None:
    told = -1
    with suppress(OSError):  # the client is gone, and its request with it
        while not batch.is_finished:
            if batch.counts.ended > told:  # a retry takes some back, and progress only grows
                told = batch.counts.ended
                await tell(batch)
            await asyncio.sleep(BATCH_LOOK_SECONDS)
            batch = await batches.get(principal, batch.id)


def _sentence(batch: Batch) -> str:
    counts = batch.counts
    parts = [f"{counts.ended:,} of {counts.items:,} repositories have ended", f"{counts.running:,} running"]
    parts += [f"{counts.failed:,} failed"] if counts.failed else []
    return f"{batch.status}: {', '.join(parts)}"
