"""How to behave towards a server that is away: try again, ever less often, not all at once, and say so sparingly."""

import time
from collections.abc import Callable, Iterator

from structlog.typing import FilteringBoundLogger

#: Pauses between tries to connect, in seconds: the first, doubled each time, up to the longest.
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 15.0

#: The same complaint is logged once in so many seconds.
COMPLAIN_SECONDS = 60.0


def pauses(jitter: Callable[[], float]) -> Iterator[float]:
    """Seconds, for ever. `jitter` gives numbers from 0 to 1, so that the processes of an installation do not all come
    back at the same moment."""
    pause = FIRST_PAUSE
    while True:
        yield pause * (0.5 + jitter() / 2)
        pause = min(2 * pause, LONGEST_PAUSE)


class Complaints:
    """Warnings that would otherwise come with every message."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._last: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def warn(self, event: str, **fields: object) -> None:
        now = time.monotonic()
        if event in self._last and now - self._last[event] < COMPLAIN_SECONDS:
            self._left_out[event] = self._left_out.get(event, 0) + 1
            return
        self._last[event] = now
        left_out = self._left_out.pop(event, 0)
        self._log.warning(event, **fields, **({"times_before": left_out} if left_out else {}))
