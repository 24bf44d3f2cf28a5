"""Rates, and what callers are told of them."""

import pytest
from tests.support.deployment import Deployment

from treadle.api.rate_limits import Rate, RateLimit
from treadle.domain.errors import TooManyRequests

pytestmark = pytest.mark.anyio


def test_a_rate_is_read_from_its_setting() -> None:
    assert Rate.parse("60/30") == Rate(60, 30)
    assert Rate.parse("0") is None


async def refusal(limit: RateLimit, key: str = "key") -> int:
    with pytest.raises(TooManyRequests) as caught:
        await limit.admit(key)
    return caught.value.retry_after


async def test_of_sixty_one_sixty_pass_and_are_told_how_many_are_left(here: Deployment) -> None:
    limit = RateLimit(Rate(60, 30), here.services.rates, here.clock, name="standard")
    for left in reversed(range(60)):
        assert await limit.admit("key") == {
            "RateLimit-Policy": '"standard";q=60;w=30',
            "RateLimit": f'"standard";r={left};t=30',
        }
    wait = await refusal(limit)
    assert wait == 30
    assert limit.refused_headers(wait)["RateLimit"] == '"standard";r=0;t=30'
    await limit.admit("other")


@pytest.mark.parametrize(("passed", "wait"), [(0.0, 30), (29.5, 1), (29.999_999, 1), (12.000_001, 18), (12.0, 18)])
async def test_whoever_waits_as_long_as_it_is_told_passes(here: Deployment, passed: float, wait: int) -> None:
    """Whole seconds, at least one, and never too few."""
    limit = RateLimit(Rate(1, 30), here.services.rates, here.clock, name="standard")
    await limit.admit("key")
    here.clock.advance(passed)
    assert await refusal(limit) == wait
    here.clock.advance(wait)
    await limit.admit("key")


async def test_each_group_of_routes_counts_for_itself(here: Deployment) -> None:
    standard = RateLimit(Rate(1, 30), here.services.rates, here.clock, name="standard")
    logs = RateLimit(Rate(1, 30), here.services.rates, here.clock, name="logs")
    await standard.admit("key")
    await logs.admit("key")
    await refusal(standard)
    await refusal(logs)


async def test_two_processes_share_a_limit(here: Deployment) -> None:
    first, second = (RateLimit(Rate(5, 30), here.services.rates, here.clock, name="standard") for _ in range(2))
    for number in range(5):
        await (first, second)[number % 2].admit("key")
    await refusal(first)
    await refusal(second)
