"""Ends what moves no more."""

import asyncio
from types import TracebackType
from typing import Self

_PARTS = 10


class Idle:
    """Use: `async with Idle(seconds) as idle`, then `idle.moved()` with every byte. Leaving raises TimeoutError when
    nothing has moved for that long, or up to a tenth less."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timeout = asyncio.timeout(seconds)
        self._loop = asyncio.get_running_loop()
        self._next = self._loop.time() + seconds / _PARTS

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._timeout.__aexit__(kind, error, traceback)

    def moved(self) -> None:
        now = self._loop.time()
        if now >= self._next and not self._timeout.expired():
            self._next = now + self._seconds / _PARTS
            self._timeout.reschedule(now + self._seconds)
