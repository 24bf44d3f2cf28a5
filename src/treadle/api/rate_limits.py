"""How often a caller may ask: a sliding window, in this process."""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from treadle.domain.errors import TooManyRequests
from treadle.ports import Clock


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
    """Counts by fixed windows and weighs the previous one by how much of it the last `seconds` still cover, so that
    nobody gets twice the limit at an edge."""

    def __init__(self, rate: Rate, clock: Clock, *, name: str) -> None:
        self._rate = rate
        self._clock = clock
        self._name = name
        self._window = 0
        self._current: dict[Hashable, int] = {}
        self._previous: Mapping[Hashable, int] = {}

    def admit(self, key: Hashable) -> Mapping[str, str]:
        """The headers to answer with. Raises TooManyRequests."""
        limit, span = self._rate.limit, self._rate.seconds
        window, elapsed = divmod(self._clock.now().timestamp(), span)
        self._turn_to(int(window))
        current, previous = self._current.get(key, 0), self._previous.get(key, 0)
        used = current + previous * (1 - elapsed / span)
        if used + 1 > limit:
            raise TooManyRequests(
                f"More than {limit} requests in {span} seconds.",
                retry_after=max(1, math.ceil(self._wait(current, previous, elapsed))),
            )
        self._current[key] = current + 1
        return self._headers(int(limit - used - 1), math.ceil(span - elapsed))

    def refused_headers(self, retry_after: int) -> Mapping[str, str]:
        """The headers of a 429."""
        return self._headers(0, retry_after)

    def _turn_to(self, window: int) -> None:
        if window != self._window:
            self._previous = self._current if window == self._window + 1 else {}
            self._current, self._window = {}, window

    def _wait(self, current: int, previous: int, elapsed: float) -> float:
        """Seconds until one more fits, if nothing else is asked."""
        limit, span = self._rate.limit, self._rate.seconds
        if current < limit:  # then it is the previous window's weight that must shrink
            return span * (1 - (limit - 1 - current) / previous) - elapsed
        return span - elapsed + span * (1 - (limit - 1) / current)

    def _headers(self, remaining: int, reset: int) -> Mapping[str, str]:
        return {
            "RateLimit-Policy": f'"{self._name}";q={self._rate.limit};w={self._rate.seconds}',
            "RateLimit": f'"{self._name}";r={remaining};t={reset}',
        }
