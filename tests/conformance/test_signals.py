"""What every adapter of the Signals port must do. `LONG` is a deadline that is never meant to be reached."""

import asyncio

import pytest

from treadle.ports import Signals
from treadle.queues.database import ProcessSignals

pytestmark = pytest.mark.anyio

LONG = 30.0


@pytest.fixture(params=["process"])
def signals(request: pytest.FixtureRequest) -> Signals:
    adapters = {"process": ProcessSignals}
    return adapters[request.param]()


async def test_a_notification_wakes_everybody_who_follows_the_run(signals: Signals) -> None:
    async with signals.subscribe(1) as one, signals.subscribe(1) as two, signals.subscribe(2) as other:
        waiting = [asyncio.create_task(subscription.wait(LONG)) for subscription in (one, two)]
        await asyncio.sleep(0)
        signals.notify(1)
        assert await asyncio.gather(*waiting) == [True, True]
        assert await other.wait(0.01) is False


async def test_nothing_is_missed_between_subscribing_and_waiting(signals: Signals) -> None:
    async with signals.subscribe(1) as subscription:
        signals.notify(1)
        assert await subscription.wait(0) is True


async def test_nothing_is_missed_between_two_waits(signals: Signals) -> None:
    async with signals.subscribe(1) as subscription:
        signals.notify(1)
        assert await subscription.wait(LONG) is True
        signals.notify(1)
        assert await subscription.wait(LONG) is True


async def test_several_notifications_are_one(signals: Signals) -> None:
    async with signals.subscribe(1) as subscription:
        for _ in range(3):
            signals.notify(1)
        assert await subscription.wait(LONG) is True
        assert await subscription.wait(0.01) is False


async def test_a_notification_before_the_subscription_is_none(signals: Signals) -> None:
    signals.notify(1)
    async with signals.subscribe(1) as subscription:
        assert await subscription.wait(0.01) is False


async def test_a_cancelled_wait_keeps_the_notification(signals: Signals) -> None:
    async with signals.subscribe(1) as subscription:
        waiting = asyncio.create_task(subscription.wait(LONG))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        signals.notify(1)
        assert await subscription.wait(LONG) is True


async def test_a_subscription_ends_with_its_block(signals: Signals) -> None:
    with pytest.raises(RuntimeError, match="inside"):
        async with signals.subscribe(1):
            raise RuntimeError("inside")
    async with signals.subscribe(1) as second:
        async with signals.subscribe(1):
            pass
        signals.notify(1)
        assert await second.wait(LONG) is True


async def test_process_signals_keep_nothing_of_ended_subscriptions() -> None:
    signals = ProcessSignals()
    async with signals.subscribe(1), signals.subscribe(1), signals.subscribe(2):
        assert len(signals._subscriptions) == 2
    assert not signals._subscriptions
