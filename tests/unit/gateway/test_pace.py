"""What one run's requests may take of the event loop before they are sent on."""

import asyncio
import time
from collections.abc import Callable

import pytest
from tests.support.gateway_runs import PATIENCE_SECONDS, Opened
from tests.support.model_server import ModelServer

from treadle.gateway import dialect
from treadle.gateway.pace import BURST_SECONDS, LOOP_SHARE, Pace

pytestmark = pytest.mark.anyio


class Clocks:
    """The loop's, moved by whoever sleeps, and the processor's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.worked = 0.0
        self.slept: list[float] = []
        loop, really = asyncio.get_running_loop(), asyncio.sleep

        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)
            self.now += seconds
            await really(0)

        monkeypatch.setattr(loop, "time", lambda: self.now, raising=False)
        monkeypatch.setattr(time, "thread_time", lambda: self.worked)
        monkeypatch.setattr("treadle.gateway.pace.asyncio.sleep", sleep)

    def work(self, seconds: float) -> None:
        self.now += seconds
        self.worked += seconds


async def test_a_run_gets_its_share_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        clocks, pace = Clocks(patch), Pace()
        began = clocks.now
        for _ in range(100):
            async with pace.turn():
                clocks.work(0.3)
        taken, passed = clocks.worked, clocks.now - began
    assert taken <= LOOP_SHARE * passed + BURST_SECONDS + 0.3
    assert taken >= LOOP_SHARE * passed * 0.9, "and no less"


async def test_real_requests_wait_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of ten subagents at once, and then one each second."""
    with monkeypatch.context() as patch:
        clocks, pace = Clocks(patch), Pace()
        for number in range(100):
            async with pace.turn():
                clocks.work(0.009)
            clocks.now += 1.0 if number >= 10 else 0.0
        slept = clocks.slept
    assert len(slept) == 100
    assert not any(slept)


async def test_one_request_is_prepared_at_a_time() -> None:
    pace, inside, most = Pace(), 0, 0

    async def prepare() -> None:
        nonlocal inside, most
        async with pace.turn():
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(prepare() for _ in range(20)))
    assert most == 1


async def test_what_waits_can_be_given_up() -> None:
    """A client that hangs up leaves the turn to the next."""
    pace, holds = Pace(), asyncio.Event()

    async def hold() -> None:
        async with pace.turn():
            holds.set()
            await asyncio.Event().wait()

    holding = asyncio.create_task(hold())
    await holds.wait()
    waiting = asyncio.create_task(hold())
    await asyncio.sleep(0)
    for task in (waiting, holding):
        task.cancel()
    await asyncio.gather(holding, waiting, return_exceptions=True)
    async with asyncio.timeout(PATIENCE_SECONDS), pace.turn():
        pass


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The bodies that were taken apart."""
    found: list[bytes] = []
    really: Callable[[bytes], None] = dialect._check_parts

    def look(body: bytes) -> None:
        found.append(body)
        really(body)

    monkeypatch.setattr(dialect, "_check_parts", look)
    return found


async def test_nothing_of_a_run_that_may_not_spend_is_taken_apart(
    run: Opened, model: ModelServer, looks: list[bytes]
) -> None:
    assert (await run.ask()).is_success
    assert len(looks) == 1
    run.account.limit_usd = 0.0
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        for body in (b"{}", b"[" * 1000):
            assert (await run.http.post(path, content=body)).status_code == 402
    assert len(looks) == len(model.requests) == 1


async def test_requests_take_their_turns(run: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes while one pays for what it took is not taken apart; nor does it hold up the loop."""
    paid, waits = asyncio.Event(), asyncio.Event()
    really = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if seconds > 0:
            waits.set()
            await paid.wait()
        await really(0)

    spent = iter((0.0, 60.0))
    monkeypatch.setattr("treadle.gateway.pace.time.thread_time", lambda: next(spent, 60.0))
    monkeypatch.setattr("treadle.gateway.pace.asyncio.sleep", sleep)
    assert (await run.ask()).is_success, "the one that takes long is not held up itself"
    later = asyncio.create_task(run.ask())
    async with asyncio.timeout(PATIENCE_SECONDS):
        await waits.wait()
        assert (await run.http.get("/v1/models")).is_success
        assert not later.done()
        paid.set()
        assert (await later).is_success
