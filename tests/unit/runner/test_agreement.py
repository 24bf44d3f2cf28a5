"""Clocks that differ."""

from datetime import datetime, timedelta
from typing import cast

import pytest
from tests.support.deployment import StillClock

from treadle.domain.errors import Unavailable
from treadle.ports import RunStore
from treadle.runner import agreement as module
from treadle.runner.agreement import Agreement

pytestmark = pytest.mark.anyio

LEASE = 30


class Database:
    """Of the store, its clock; an answer takes `seconds` each way."""

    def __init__(self, clock: StillClock, ahead: float | None, seconds: float = 0) -> None:
        self.clock = clock
        self.ahead = ahead
        self.seconds = seconds
        self.is_away = False
        self.asked = 0

    async def time(self) -> datetime | None:
        self.asked += 1
        if self.is_away:
            raise Unavailable("away")
        self.clock.advance(self.seconds)
        told = None if self.ahead is None else self.clock.now() + timedelta(seconds=self.ahead)
        self.clock.advance(self.seconds)
        return told


def made(database: Database) -> Agreement:
    return Agreement(cast("RunStore", database), database.clock, LEASE)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMPARE_SECONDS", 0.0)


@pytest.mark.parametrize("ahead", [None, 0, 8, -8])
async def test_a_little_is_tolerated(ahead: float | None) -> None:
    assert await made(Database(StillClock(), ahead)).holds()


@pytest.mark.parametrize("ahead", [11, -11, 3600, -3600])
@pytest.mark.usefixtures("often")
async def test_more_is_not_until_it_is_mended(ahead: float) -> None:
    database = Database(StillClock(), ahead)
    agreement = made(database)
    assert not await agreement.holds()
    database.is_away = True
    assert not await agreement.holds(), "as it was"
    database.is_away = False
    database.ahead = 0
    assert await agreement.holds()


@pytest.mark.parametrize("ahead", [0, 8, -8])
async def test_a_slow_answer_is_no_difference(ahead: float) -> None:
    assert await made(Database(StillClock(), ahead, seconds=40)).holds()


async def test_the_database_is_not_asked_all_the_time() -> None:
    database = Database(StillClock(), 0)
    agreement = made(database)
    for _ in range(3):
        await agreement.holds()
    assert database.asked == 1
