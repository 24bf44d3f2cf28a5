"""A memory of a few seconds."""

from datetime import timedelta

from tests.support.deployment import StillClock

from treadle.services.recent import Recent


def test_it_forgets_what_is_old() -> None:
    clock = StillClock()
    recent: Recent[str, int] = Recent(clock, seconds=5, size=10)
    recent.put("a", 1)
    recent.put("b", 2, until=clock.now() + timedelta(seconds=2))
    recent.put("c", 3, until=clock.now() + timedelta(hours=1))
    clock.advance(1.9)
    assert [recent.get(key) for key in "abcd"] == [1, 2, 3, None]
    clock.advance(0.1)
    assert [recent.get(key) for key in "abc"] == [1, None, 3]
    clock.advance(3)
    assert [recent.get(key) for key in "abc"] == [None, None, None]


def test_it_is_bounded_and_the_oldest_goes_first() -> None:
    recent: Recent[int, int] = Recent(StillClock(), seconds=5, size=3)
    for number in range(4):
        recent.put(number, number)
    recent.put(1, 11)
    recent.put(4, 4)
    assert [recent.get(number) for number in range(5)] == [None, 11, None, 3, 4]
    recent.clear()
    assert recent.get(4) is None
