"""Ctrl-C: the first asks politely, the second ends what is going on, the third ends the process."""

import asyncio
import os
import signal
from collections.abc import Coroutine
from types import TracebackType
from typing import Final, Self, TypeVar

from treadle.cli.failures import Stopped
from treadle.cli.output import INTERRUPTED

T = TypeVar("T")

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Takes the signals that ask this process to end. While `is_polite`, the first of them only sets `asked`."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.is_polite = False
        self._task: asyncio.Task[object] | None = None
        self._is_cancelled = False

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.remove_signal_handler(number)

    def _on_signal(self) -> None:
        was_asked = self.asked.is_set()
        self.asked.set()
        if self.is_polite and not was_asked:
            return
        if self._is_cancelled:
            # The engines die with this process; what they left is cleared away by the next one.
            os._exit(INTERRUPTED)
        self._is_cancelled = True
        if self._task is not None:
            self._task.cancel()


def run(work: Coroutine[object, object, T]) -> T:
    """Runs a command's coroutine; one that was cancelled ends the command as interrupted."""
    try:
        return asyncio.run(work)
    except (asyncio.CancelledError, KeyboardInterrupt):
        raise Stopped(INTERRUPTED) from None
