"""A command whose walls nobody has to watch."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Plain:
    """The Enclosed port, for a command without limits of its own."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)

    async def breached(self) -> str:
        never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        return await never

    def hit(self) -> str | None:
        return None
