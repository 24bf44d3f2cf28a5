"""The pulse of a claimed run: renews its lease, and says when the work must stop."""

import asyncio
from enum import Enum, auto

import structlog

from treadle.domain.errors import LeaseLost
from treadle.ports import Clock, Fence, RunStore, Signals, Subscription
from treadle.runner.limits import Limits
from treadle.runner.patience import Hold, now_on_this_machine

log = structlog.get_logger(__name__)


class StopReason(Enum):
    KILL = auto()
    LEASE_LOST = auto()
    STORE_AWAY = auto()  # for so long that the lease may be lost
    DRAIN = auto()


async def watch(
    store: RunStore,
    controls: Signals,
    clock: Clock,
    fence: Fence,
    limits: Limits,
    hold: Hold,
    draining: asyncio.Event,
) -> StopReason:
    """Returns when the work must stop, and why. While the store does not answer it goes on for as long as the lease
    surely holds, and no longer: after that another worker may have the run."""
    async with controls.subscribe(fence.run_id) as subscription:
        while True:
            asked = now_on_this_machine()
            try:
                async with asyncio.timeout(hold.remaining):
                    pulse = await store.ping(fence, clock.now())
            except LeaseLost:
                return StopReason.LEASE_LOST
            except Exception as error:  # noqa: BLE001 - whatever keeps the store from answering, the lease decides
                log.warning("the lease could not be renewed", error=str(error) or type(error).__name__)
                if hold.remaining <= 0:
                    return StopReason.STORE_AWAY
            else:
                hold.renew(asked)
                if pulse.is_kill_requested:
                    return StopReason.KILL
            if await _pause(subscription, draining, min(limits.poll, limits.lease / 3)):
                return StopReason.DRAIN


async def _pause(subscription: Subscription, draining: asyncio.Event, seconds: float) -> bool:
    """Until the next ping is due or asked for; whether the worker drains."""
    if draining.is_set():
        return True
    waits = {asyncio.create_task(subscription.wait(seconds)), asyncio.create_task(draining.wait())}
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waits:
            each.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    return draining.is_set()
