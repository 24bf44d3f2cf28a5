"""What every adapter of the Signals port must do. `LONG` is a deadline that is never meant to be reached."""

import asyncio

import pytest
from tests.conformance.test_queues import LONG, SOON, until_available, until_unavailable
from tests.support.messages import Installation, Messages
from tests.support.rabbit import RabbitServer

from treadle.ports import Signals, Subscription
from treadle.queues.subscriptions import Subscriptions

pytestmark = pytest.mark.anyio

#: Time for a signal to come that must not come.
NEVER = 0.2


@pytest.fixture
def signals(messages: Messages) -> Signals:
    return messages.signals


async def until_heard(sender: Signals, run_id: int, subscription: Subscription) -> None:
    """Notifies until it arrives, as a busy run does."""
    async with asyncio.timeout(LONG):
        while True:
            sender.notify(run_id)
            if await subscription.wait(0.1):
                return


# ---- one process


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
        assert await subscription.wait(NEVER) is False  # nor does it hear of itself by way of the server


async def test_a_notification_before_the_subscription_is_none(signals: Signals) -> None:
    signals.notify(1)
    async with signals.subscribe(1) as subscription:
        assert await subscription.wait(NEVER) is False


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


async def test_nothing_is_kept_of_ended_subscriptions(signals: Signals) -> None:
    async with signals.subscribe(1), signals.subscribe(1), signals.subscribe(2):
        assert len(_subscriptions(signals)) == 2
    assert not len(_subscriptions(signals))


async def test_events_and_controls_are_apart(messages: Messages) -> None:
    async with messages.signals.subscribe(1) as event, messages.controls.subscribe(1) as control:
        messages.controls.notify(1)
        assert await control.wait(LONG) is True
        assert await event.wait(NEVER) is False


# ---- several processes


async def test_a_notification_reaches_every_process(shared_installation: Installation) -> None:
    worker, one, two = [await shared_installation.process() for _ in range(3)]
    async with (
        one.signals.subscribe(1) as here,
        two.signals.subscribe(1) as there,
        two.signals.subscribe(2) as other,
        two.controls.subscribe(1) as control,
    ):
        worker.signals.notify(1)
        assert await here.wait(LONG) is True
        assert await there.wait(LONG) is True
        assert await other.wait(NEVER) is False
        assert await control.wait(0) is False
        assert await there.wait(0) is False


async def test_a_kill_reaches_the_worker(shared_installation: Installation) -> None:
    api, worker = [await shared_installation.process() for _ in range(2)]
    async with worker.controls.subscribe(7) as subscription:
        api.controls.notify(7)
        assert await subscription.wait(LONG) is True


async def test_of_many_notifications_each_is_heard(shared_installation: Installation) -> None:
    worker, api = [await shared_installation.process() for _ in range(2)]
    runs = range(1, 2001)  # more than one message holds
    subscriptions = [api.signals.subscribe(run_id) for run_id in runs]
    following = [await subscription.__aenter__() for subscription in subscriptions]
    for run_id in runs:
        worker.signals.notify(run_id)
    assert all(await asyncio.gather(*(each.wait(LONG) for each in following)))
    for subscription in subscriptions:
        await subscription.__aexit__(None, None, None)


async def test_the_newest_state_is_heard_after_a_burst(shared_installation: Installation) -> None:
    worker, api = [await shared_installation.process() for _ in range(2)]
    async with api.signals.subscribe(1) as subscription, api.signals.subscribe(2) as last:
        for _ in range(200):
            worker.signals.notify(1)
            await asyncio.sleep(0)
        assert await subscription.wait(LONG) is True
        worker.signals.notify(2)
        assert await last.wait(LONG) is True


async def test_while_the_server_is_away_nobody_waits_for_it(shared_installation: Installation) -> None:
    loop = asyncio.get_running_loop()
    with shared_installation.link() as link:
        process = await shared_installation.process_behind(link)
        link.cut()
        await until_unavailable(process.queue)
        async with process.signals.subscribe(1) as subscription:
            began = loop.time()
            process.signals.notify(1)
            assert await subscription.wait(0) is True
            for run_id in range(1, 20_001):
                process.signals.notify(run_id)
            assert loop.time() - began < SOON
        assert len(process.signals.outbox) == 10_000  # type: ignore[attr-defined]  # both shared adapters have one


async def test_what_was_missed_is_made_up_for(shared_installation: Installation) -> None:
    with shared_installation.link() as link:
        worker, api = await shared_installation.process(), await shared_installation.process_behind(link)
        async with api.signals.subscribe(1) as subscription, api.signals.subscribe(2) as silent:
            link.cut()
            await until_unavailable(api.queue)
            worker.signals.notify(1)
            link.heal()
            assert await subscription.wait(LONG) is True
            assert await silent.wait(LONG) is True  # whoever follows anything looks once
            assert await silent.wait(NEVER) is False
            await until_available(api.queue)
            worker.signals.notify(1)
            assert await subscription.wait(LONG) is True


async def test_what_could_not_be_told_is_told_later(shared_installation: Installation) -> None:
    with shared_installation.link() as link:
        worker, api = await shared_installation.process_behind(link), await shared_installation.process()
        async with api.signals.subscribe(1) as subscription:
            link.cut()
            await until_unavailable(worker.queue)
            worker.signals.notify(1)
            link.heal()
            assert await subscription.wait(LONG) is True


async def test_the_server_may_die_and_come_back(frail_installation: Installation) -> None:
    worker, api = [await frail_installation.process() for _ in range(2)]
    server = frail_installation.server
    assert server is not None
    async with api.signals.subscribe(1) as subscription:
        worker.signals.notify(1)
        assert await subscription.wait(LONG) is True
        if isinstance(server, RabbitServer):
            server.sync()
        await asyncio.to_thread(server.kill9)
        await until_unavailable(api.queue)
        await asyncio.to_thread(server.start)
        await until_available(api.queue)
        await until_available(worker.queue)
        await subscription.wait(1)  # it was raised for what it may have missed
        await until_heard(worker.signals, 1, subscription)


def _subscriptions(signals: Signals) -> Subscriptions:
    found: object = signals._subscriptions  # type: ignore[attr-defined]  # every adapter has them
    assert isinstance(found, Subscriptions)
    return found
