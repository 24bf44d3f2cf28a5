"""How much of the event loop one run's requests may take: heartbeats, the API and other runs are on it too."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

#: The part of the loop's time that taking one run's requests apart may have.
LOOP_SHARE = 0.05

#: Processor time that a run may have had in advance before the next request waits: real ones take some milliseconds.
BURST_SECONDS = 0.1


class Pace:
    """Of one run. A thread would not help: the parser holds the interpreter's lock."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._paid_until = 0.0  # by the loop's clock: when what was taken is no more than the run's share

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """What is within is done at once: one request at a time, and later ones after a pause for what it took."""
        async with self._turn:
            now = asyncio.get_running_loop().time
            await asyncio.sleep(max(0.0, self._paid_until - BURST_SECONDS / LOOP_SHARE - now()))
            began = time.thread_time()
            try:
                yield
            finally:
                self._paid_until = max(self._paid_until, now()) + (time.thread_time() - began) / LOOP_SHARE
