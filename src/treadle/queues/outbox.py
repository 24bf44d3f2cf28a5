"""Run ids on their way to other processes: each once, in order, and no more of them than a limit."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import islice


class Outbox:
    """Filled by whoever has news, emptied by the one task that sends. When nothing can be sent it keeps the newest
    `limit` of them: they are hints, and who waits for one looks by himself after a while."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._run_ids: dict[int, None] = {}
        self._under_way = 0
        self._filled = asyncio.Event()
        self._sent = asyncio.Event()
        self._sent.set()

    def __len__(self) -> int:
        return len(self._run_ids)

    def add(self, run_id: int) -> None:
        self._run_ids[run_id] = None
        if len(self._run_ids) > self._limit:
            del self._run_ids[next(iter(self._run_ids))]
        self._filled.set()
        self._sent.clear()

    async def wait(self) -> None:
        """Until there is something to send."""
        await self._filled.wait()

    def take(self, most: int) -> Sequence[int]:
        """The oldest, to be sent now; `settled` or `restore` has to follow."""
        taken = list(islice(self._run_ids, most))
        for run_id in taken:
            del self._run_ids[run_id]
        self._under_way += len(taken)
        if not self._run_ids:
            self._filled.clear()
        return taken

    def settled(self, count: int) -> None:
        """So many of those taken are sent, or given up."""
        self._under_way -= count
        if not self._under_way and not self._run_ids:
            self._sent.set()

    def restore(self, run_ids: Iterable[int]) -> None:
        """They could not be sent and go first when it is possible again."""
        returned = dict.fromkeys(run_ids)
        self._run_ids = returned | self._run_ids
        self._under_way -= len(returned)
        for run_id in list(islice(self._run_ids, max(0, len(self._run_ids) - self._limit))):
            del self._run_ids[run_id]
        if self._run_ids:
            self._filled.set()

    async def flush(self, seconds: float) -> bool:
        """Whether everything is sent, in that time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._sent.wait()
        return self._sent.is_set()
