"""The hints that this process has heard of and nobody has taken yet."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

#: Hints kept one by one; more become a single one to look for any run. Without that, a worker whose slots were full for
#: a while would then look in vain for each run that others have long taken.
MAX_PENDING = 100


@dataclass(frozen=True, slots=True)
class Hint:
    """The Announcement port, where there is nobody to acknowledge to."""

    run_id: int | None

    async def settle(self) -> None:
        return


class Pending:
    """An ordered set that one event loop fills and takes from. A run that still waits to be taken is in it once."""

    def __init__(self) -> None:
        self._run_ids: dict[int | None, None] = {}
        self._changed = asyncio.Event()
        self._is_closed = False

    def add(self, run_id: int | None) -> None:
        """`None`: look for any, which stands for all the others too."""
        if self._is_closed or None in self._run_ids:
            return
        if run_id is None or (len(self._run_ids) >= MAX_PENDING and run_id not in self._run_ids):
            self._run_ids.clear()
            run_id = None
        self._run_ids[run_id] = None
        self._changed.set()

    async def take(self, seconds: float) -> Hint | None:
        # Nothing is awaited between the look and the wait, nor after the wait: no hint is missed, and none is lost to
        # a taker that is cancelled.
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._run_ids and not self._is_closed:
                    self._changed.clear()
                    await self._changed.wait()
        if not self._run_ids:
            return None
        run_id = next(iter(self._run_ids))
        del self._run_ids[run_id]
        return Hint(run_id)

    def close(self) -> None:
        """Forgets every hint and lets the takers go, empty-handed."""
        self._is_closed = True
        self._run_ids.clear()
        self._changed.set()
