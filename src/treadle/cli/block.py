"""A block of lines on a terminal that is drawn again in place, and stays at the end."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Final, Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from treadle.cli.text import neutral

REDRAW_SECONDS: Final = 0.1

_SPINNER: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_ASCII_SPINNER: Final = "|/-\\"


def spinner(now: datetime, *, is_unicode: bool) -> str:
    """The sign of something that goes on, as it looks at a moment."""
    frames = _SPINNER if is_unicode else _ASCII_SPINNER
    return frames[int(now.timestamp() / REDRAW_SECONDS) % len(frames)]


class Block:
    """Drawn from when it is entered to when it is left; `picture` says what it looks like at the moment."""

    def __init__(self, console: Console, picture: Callable[[], RenderableType]) -> None:
        self._live = Live(console=console, auto_refresh=False, get_renderable=picture, vertical_overflow="crop")
        self._drawing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._live.start(refresh=True)
        self._drawing = asyncio.create_task(self._draw(), name="live view")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._drawing is not None:
            self._drawing.cancel()
            await asyncio.gather(self._drawing, return_exceptions=True)
        self._live.vertical_overflow = "visible"
        self._live.stop()

    def say(self, text: str) -> None:
        """A line above the block."""
        self._live.console.print(Text(neutral(text)))

    async def _draw(self) -> None:
        while True:
            self._live.refresh()
            await asyncio.sleep(REDRAW_SECONDS)
