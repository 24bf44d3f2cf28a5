"""The real time."""

import asyncio
from datetime import UTC, datetime


class SystemClock:
    """ports.Clock on the machine's clock and the running event loop."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
