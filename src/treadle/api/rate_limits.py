"""How often a caller may ask, counted in the store: for all processes of the API together."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from treadle.domain.errors import TooManyRequests
from treadle.ports import Clock
from treadle.ports.directory import RateStore


@dataclass(frozen=True, slots=True)
class Rate:
    """`limit` requests in `seconds`."""

    limit: int
    seconds: int

    @classmethod
    def parse(cls, setting: str) -> "Rate | None":
        """`60/30`; `0` is none."""
        limit, slash, seconds = setting.partition("/")
        return cls(int(limit), int(seconds)) if slash else None


class RateLimit:
    """One group of routes; `name` is the group's, in the store and in the headers."""

    def __init__(self, rate: Rate, store: RateStore, clock: Clock, *, name: str) -> None:
        self._rate = rate
        self._store = store
        self._clock = clock
        self._name = name

    async def admit(self, key: str) -> Mapping[str, str]:
        """The headers to answer with; `key` is whose requests are counted. Raises TooManyRequests, and Unavailable
        rather than let anybody pass whom nobody counts: the request itself would need the store too."""
        limit, span = self._rate.limit, self._rate.seconds
        answer = await self._store.admit(f"{self._name}/{key}", limit=limit, seconds=span, now=self._clock.now())
        if not answer.is_admitted:
            # Whole seconds, rounded up: whoever waits so long passes.
            raise TooManyRequests(
                f"More than {limit} requests in {span} seconds.", retry_after=max(1, math.ceil(answer.retry_after))
            )
        return self._headers(answer.remaining, math.ceil(answer.reset))

    def refused_headers(self, retry_after: int) -> Mapping[str, str]:
        """The headers of a 429."""
        return self._headers(0, retry_after)

    def _headers(self, remaining: int, reset: int) -> Mapping[str, str]:
        return {
            "RateLimit-Policy": f'"{self._name}";q={self._rate.limit};w={self._rate.seconds}',
            "RateLimit": f'"{self._name}";r={remaining};t={reset}',
        }
