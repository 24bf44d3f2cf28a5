"""Who asked how often, on each database, under a clock that the test sets: the server's where there is one."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from tests.support.executors import LostAnswers, SetClock
from tests.support.stores import NOW, World, later

from treadle.ports.directory import Admission
from treadle.store import rates
from treadle.store.sql import SqlStore

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]

#: What is asked in a moment, by whatever clock and on whatever machine, is within it.
HOUR = 3600

#: Requests as they were sent and answered.
Times = Sequence[tuple[float, float]]


@dataclass
class Door:
    """`limit` requests in `seconds`; asked `after` so many seconds."""

    store: SqlStore
    clock: SetClock
    limit: int = 60
    seconds: int = 30
    name: str = "standard/key"

    def set(self, now: datetime) -> datetime:
        self.clock.now = now
        return now

    async def ask(self, after: float = 0, name: str | None = None) -> Admission:
        now = self.set(later(after))
        return await self.store.admit(name or self.name, limit=self.limit, seconds=self.seconds, now=now)

    async def passes(self, after: float) -> bool:
        return (await self.ask(after)).is_admitted

    async def passed(self, times: int, after: float = 0) -> int:
        return [await self.passes(after) for _ in range(times)].count(True)


@pytest.fixture
def door(world: World) -> Door:
    clock = SetClock(world.store._executor, NOW)
    world.store._executor = clock
    return Door(world.store, clock)


def seconds(micros: int) -> float:
    return micros / 1_000_000


async def test_of_sixty_one_in_thirty_seconds_sixty_pass(door: Door) -> None:
    answers = [await door.ask(number * 0.49) for number in range(61)]
    assert [answer.is_admitted for answer in answers] == [True] * 60 + [False]
    assert [answer.remaining for answer in answers] == [*range(59, -1, -1), 0]
    assert [answer.retry_after for answer in answers[:59]] == [0] * 59
    assert answers[58].reset == 30
    assert answers[60].retry_after == pytest.approx(30 - 60 * 0.49, abs=1e-6)
    assert answers[60].reset == pytest.approx(30 - 0.49, abs=1e-6)


async def test_one_passes_when_the_first_is_as_old_as_the_rate_and_not_before(door: Door) -> None:
    assert await door.passed(60) == 60
    wait = (await door.ask(7)).retry_after
    assert wait == pytest.approx(23, abs=1e-4)
    assert not await door.passes(30 - seconds(1))
    assert await door.passes(7 + wait)


async def test_refused_ones_do_not_count(door: Door) -> None:
    assert await door.passed(60) == 60
    assert await door.passed(200, after=29) == 0
    assert await door.passed(61, after=30.001) == 60


async def test_an_edge_between_two_windows_lets_no_more_pass(door: Door) -> None:
    """Half of them shortly before a full minute, the others and more after it."""
    start = 52 - NOW.second + 60
    assert await door.passed(30, after=start + 7) == 30
    assert await door.passed(60, after=start + 9) == 30
    assert await door.passed(60, after=start + 36.999) == 0
    assert await door.passed(60, after=start + 37.001) == 30
    assert await door.passed(60, after=start + 39.001) == 30


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_comes_when_the_limit_is_kept_and_used(door: Door, seed: int) -> None:
    """At any moment as many have passed in the last seconds as asked, or the limit, if more did."""
    random, at, passed = Random(seed), 0.0, list[float]()
    door.limit, door.seconds = random.randint(1, 7), random.randint(1, 20)
    for _ in range(150):
        at += random.choice([0.0, 0.000_02, 0.1, 1.0, 3.0])
        within = [one for one in passed if one > at - door.seconds + 1e-4]
        near = [one for one in passed if abs(one - (at - door.seconds)) <= 1e-4]
        answer = await door.ask(at)
        if not near:  # else it is a matter of microseconds, which a server counts up
            assert answer.is_admitted == (len(within) < door.limit)
        if answer.is_admitted:
            passed.append(at)
    assert all(late - early > door.seconds - 1e-3 for early, late in zip(passed, passed[door.limit :], strict=False))


async def test_each_name_has_a_limit_of_its_own(door: Door) -> None:
    door.limit = 1
    for name in ("logs/key", "logs/other", "standard/key", "standard/ä\0\ud800"):
        assert (await door.ask(name=name)).is_admitted
        assert not (await door.ask(name=name)).is_admitted


async def test_a_limit_that_is_lowered_counts_what_has_passed(door: Door) -> None:
    for number in range(10):
        assert await door.passes(number)
    door.limit = 3
    answer = await door.ask(10)
    assert (answer.is_admitted, answer.remaining) == (False, 0)
    assert answer.retry_after == pytest.approx(27, abs=1e-4)
    assert not await door.passes(36.9)
    assert await door.passes(37.001)


async def test_a_clock_that_is_set_back_far_blocks_for_one_span(door: Door) -> None:
    door.limit = 2
    assert await door.passed(2, after=3600) == 2
    answer = await door.ask(0)
    assert (answer.is_admitted, answer.retry_after) == (False, 30)
    assert not await door.passes(29.9)
    assert await door.passed(3, after=30.001) == 2


async def test_a_clock_that_is_set_back_a_little_lets_no_more_pass(door: Door) -> None:
    door.limit = 2
    assert await door.passed(2, after=10) == 2
    answer = await door.ask(0)
    assert not answer.is_admitted
    assert answer.retry_after == pytest.approx(40, abs=1e-4)
    assert not await door.passes(39.9)
    assert await door.passes(40.001)


async def test_requests_that_arrive_out_of_order_count(door: Door) -> None:
    """Several processes read the same machine's clock and then wait for the file."""
    door.limit = 4
    assert [await door.passes(after) for after in (1.0, 0.999, 1.001, 0.998, 0.997)] == [True] * 4 + [False]
    assert not await door.passes(30.9)
    assert await door.passed(5, after=31.01) == 4


@pytest.mark.parametrize("is_done", [True, False])
async def test_a_request_whose_answer_is_lost_counts_once(door: Door, is_done: bool) -> None:
    door.limit = 3
    clock = door.clock
    door.store._executor = LostAnswers(clock, is_done=is_done)
    answers = [await door.ask(number / 1000) for number in range(5)]
    assert [answer.is_admitted for answer in answers] == [True, True, True, False, False]
    assert [answer.remaining for answer in answers] == [2, 1, 0, 0, 0]
    door.store._executor = clock
    assert not await door.passes(1)


async def test_many_at_once_whose_answers_are_lost_do_not_pass_for_each_other(world: World) -> None:
    await needs_a_server(world)
    world.store._executor = LostAnswers(world.store._executor, is_done=True)
    lossy = [world.store.admit("name", limit=10, seconds=HOUR, now=NOW) for _ in range(15)]
    other = await SqlStore.open(world.url)
    try:
        sound = [other.admit("name", limit=10, seconds=HOUR, now=NOW) for _ in range(15)]
        answers = await asyncio.gather(*lossy, *sound)
    finally:
        await other.close()
    assert [answer.is_admitted for answer in answers].count(True) == 10


async def needs_a_server(world: World) -> None:
    """Only there a commit's answer can be lost, and only it has a clock of its own."""
    if await world.store.time() is None:
        pytest.skip("a file has no server")


async def test_old_names_are_forgotten_and_no_others(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "PORTION", 2)
    door.limit = 1
    for number in range(5):
        assert (await door.ask(number, name=f"standard/{number}")).is_admitted
    assert await door.store.prune_rates(door.set(later(30 - 1e-3))) == 0
    assert await door.store.prune_rates(door.set(later(32.001))) == 3
    assert await door.store.prune_rates(door.set(later(32.001))) == 0
    assert [(await door.ask(32.001, name=f"standard/{number}")).is_admitted for number in range(5)] == [
        *(True, True, True),
        *(False, False),
    ]


async def test_of_many_at_once_no_more_than_the_limit_pass(world: World) -> None:
    other = await SqlStore.open(world.url)
    try:
        answers = await asyncio.gather(
            *((world.store, other)[n % 2].admit("name", limit=60, seconds=HOUR, now=NOW) for n in range(200))
        )
    finally:
        await other.close()
    assert [answer.is_admitted for answer in answers].count(True) == 60
    assert sorted(answer.remaining for answer in answers if answer.is_admitted) == list(range(60))


async def test_processes_whose_clocks_differ_agree_by_the_servers(world: World) -> None:
    await needs_a_server(world)
    skewed = [NOW, NOW - timedelta(days=900), NOW + timedelta(days=900), later(HOUR + 1), later(-HOUR - 1)]
    answers = [await world.store.admit("name", limit=3, seconds=HOUR, now=now) for now in skewed]
    assert [answer.is_admitted for answer in answers] == [True] * 3 + [False] * 2
    assert await world.store.prune_rates(NOW + timedelta(days=9000)) == 0


# ---- processes -------------------------------------------------------------------------------------------------------


def asker(url: str, *options: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.asker", url, "name", *options],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


async def asked(url: str, *options: str) -> tuple[Times, Times]:
    """By two processes: what passed, in the order of the answers, and what was refused."""
    processes = [asker(url, *options) for _ in range(2)]
    try:
        for process in processes:
            assert process.stdout is not None
            assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
        outputs = await asyncio.gather(*(asyncio.to_thread(process.communicate, "go\n", 120) for process in processes))
        assert [process.returncode for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    found = [json.loads(output) for output, _ in outputs]
    passed, refused = (
        [(sent, answered) for one in found for sent, answered in one[what]] for what in ("passed", "refused")
    )
    return sorted(passed, key=lambda one: one[1]), refused


async def test_of_two_hundred_from_two_processes_sixty_pass(world: World) -> None:
    passed, refused = await asked(world.url, "--limit=60", f"--seconds={HOUR}", "--times=100")
    assert (len(passed), len(refused)) == (60, 140)


async def test_two_processes_share_the_limit_across_every_edge(world: World) -> None:
    """For some seconds both ask all the time: what passes is never too much, and nothing is refused that might pass.
    A request that stood still for longer than the limit looks back would count as one of a clock that was set back."""
    passed, refused = await asked(world.url, "--limit=40", "--seconds=4", "--passes=50")
    assert refused
    assert len(passed) >= 100
    assert_kept(passed, limit=40, span=4)
    assert_used(passed, refused, limit=40, span=4)


def assert_used(passed: Times, refused: Times, *, limit: int, span: float) -> None:
    """Of each that was refused: so many had passed within the span before it."""
    for sent, answered in refused:
        assert sum(one[1] > sent - span - 0.001 and one[0] <= answered for one in passed) >= limit


def assert_kept(passed: Times, *, limit: int, span: float) -> None:
    """Each passed at some moment between its request and its answer."""
    assert all(early[1] <= late[1] for early, late in pairwise(passed))
    sent = sorted(one[0] for one in passed)
    answered = [one[1] for one in passed]
    for first, over in zip(sent, answered[limit:], strict=False):
        assert over - first >= span - 0.001
