"""Threads that do work for asyncio. Results come back a batch at a time: one wake-up of the loop for a whole commit."""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from treadle.domain.errors import ConfigurationError

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Job(Generic[T]):
    """A function, and where its result goes. `work` takes what the lane gives it."""

    __slots__ = ("error", "future", "loop", "result", "work")

    def __init__(self, work: Callable[[T], object], loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[object] = loop.create_future()
        self.result: object = None
        self.error: BaseException | None = None

    def settle(self) -> None:
        """On the loop's thread."""
        if self.future.done():  # whoever waited was cancelled; the work was done all the same
            if self.error is not None:
                _log.warning("Nobody waits for a failed query any more: %s", self.error)
        elif self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


def deliver(jobs: Sequence[Job[T]]) -> None:
    """From any thread."""
    loops = {job.loop for job in jobs}
    for loop in loops:
        mine = jobs if len(loops) == 1 else [job for job in jobs if job.loop is loop]
        try:
            loop.call_soon_threadsafe(_settle, mine)
        except RuntimeError:  # the loop is closed: nobody waits there any more
            _log.debug("A loop was closed before its queries were answered.")


def _settle(jobs: Sequence[Job[T]]) -> None:
    for job in jobs:
        job.settle()


class Lane(Generic[T]):
    """A queue of jobs and the threads that serve it. `serve` is called with one batch after another, about `batch` jobs
    at most, and leaves in each job its result or error.

    What a turn of the event loop submits is handed over when the turn ends: a thread that wakes up earlier only waits
    for the interpreter's lock, and finds one job where many would have come.
    """

    def __init__(self, name: str, serve: Sequence[Callable[[Sequence[Job[T]]], None]], *, batch: int) -> None:
        """One thread for each of `serve`."""
        self._jobs: SimpleQueue[list[Job[T]] | None] = SimpleQueue()
        self._submitted: dict[asyncio.AbstractEventLoop, list[Job[T]]] = {}  # each list is its loop's own
        self._batch = batch
        self._gate = threading.Lock()
        self._is_closed = False
        # Daemons: a process that forgot to close the store still ends; a commit is whole or not at all.
        self._threads = [
            threading.Thread(target=self._work, args=(one,), name=f"{name}-{index}", daemon=True)
            for index, one in enumerate(serve)
        ]
        for thread in self._threads:
            thread.start()

    async def submit(self, work: Callable[[T], object]) -> object:
        loop = asyncio.get_running_loop()
        job = Job(work, loop)
        submitted = self._submitted.get(loop)
        if submitted is None:
            self._submitted[loop] = [job]
            loop.call_soon(self.flush, loop)
        else:
            submitted.append(job)
        return await job.future

    def flush(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hands over what `loop` has submitted. On its thread."""
        jobs = self._submitted.pop(loop, [])
        with self._gate:  # nothing comes after the last marker
            if not self._is_closed:
                for start in range(0, len(jobs), self._batch):
                    self._jobs.put(jobs[start : start + self._batch])
                return
        for job in jobs:
            job.error = ConfigurationError("The store is closed.")
            job.settle()

    def close(self) -> None:
        """Blocks until what was submitted is done."""
        with self._gate:
            if not self._is_closed:
                self._is_closed = True
                for _ in self._threads:
                    self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self, serve: Callable[[Sequence[Job[T]]], None]) -> None:
        is_open = True
        while is_open:
            jobs = self._jobs.get()
            if jobs is None:
                break
            while len(jobs) < self._batch:
                try:
                    more = self._jobs.get_nowait()
                except Empty:
                    break
                if more is None:
                    is_open = False
                    break
                jobs += more
            try:
                serve(jobs)
            except BaseException as error:  # noqa: BLE001 - a thread that died would leave everybody waiting
                for job in jobs:
                    job.error = error
            deliver(jobs)
