"""What a worker writes about the run it holds: fenced, redacted, in order, and batched where nobody waits for it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from treadle.domain.errors import ConfigurationError, LeaseLost
from treadle.domain.events import Draft
from treadle.domain.run import StructuredOutput
from treadle.domain.validation import CommandResult
from treadle.ports import Clock, Fence, Signals, StepUpdate
from treadle.redaction import Redactor

#: How long an event of a talkative engine may wait for company, in seconds, and how many may wait.
BATCH_SECONDS = 0.05
BATCH_EVENTS = 200


class Recorder(Protocol):
    """Of the RunStore port, what is needed here. It is the one that asks again when the store is in trouble."""

    async def record(
        self,
        fence: Fence,
        events: Sequence[Draft],
        now: datetime,
        *,
        step: StepUpdate | None = None,
        has_diff: bool = False,
        write: int,
    ) -> int: ...


@dataclass(frozen=True, slots=True)
class _Write:
    """One transaction, sent again as it was until it is known to be there."""

    events: Sequence[Draft]
    step: StepUpdate | None
    has_diff: bool


class Progress:
    """The one writer of a claimed run. Every method raises LeaseLost once another worker owns the run."""

    def __init__(self, store: Recorder, signals: Signals, clock: Clock, fence: Fence, redactor: Redactor) -> None:
        self.fence = fence
        self._store = store
        self._signals = signals
        self._clock = clock
        self._redactor = redactor
        self._waiting: list[Draft] = []
        self._unsent = deque[_Write]()  # the first may be there already: sent, and no answer came
        self._written = 0
        self._writing = asyncio.Lock()
        self._arrived = asyncio.Event()
        self._lost: LeaseLost | None = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls, store: Recorder, signals: Signals, clock: Clock, fence: Fence, redactor: Redactor
    ) -> AsyncIterator["Progress"]:
        """Flushes what waits every BATCH_SECONDS while open. Leaving does not flush: the ending decides what to
        write."""
        progress = cls(store, signals, clock, fence, redactor)
        flusher = asyncio.create_task(progress._flush_batches(), name=f"events of run {fence.run_id}")
        try:
            yield progress
        finally:
            flusher.cancel()
            with suppress(asyncio.CancelledError, LeaseLost):
                await flusher

    async def note(self, *drafts: Draft) -> None:
        """Events that may wait for the next batch; waits itself when too many do."""
        self._raise_if_lost()
        now = self._clock.now()
        self._waiting += [replace(draft, date=draft.date or now) for draft in drafts]
        self._arrived.set()
        if len(self._waiting) >= BATCH_EVENTS:
            await self.record()

    async def record(self, *drafts: Draft, step: StepUpdate | None = None, has_diff: bool = False) -> None:
        """Events, what waits before them, and a step's update: durable on return. What an earlier call could not make
        sure of, or was cancelled in, goes first; so nothing that was asked for here is dropped."""
        self._raise_if_lost()
        if self._waiting or drafts or step is not None or has_diff:
            events = [self._clean(draft) for draft in (*self._waiting, *drafts)]
            self._waiting.clear()
            self._arrived.clear()
            self._unsent.append(_Write(events, self._clean_step(step), has_diff))
        async with self._writing:
            while self._unsent:
                await self._send(self._unsent[0])

    async def _send(self, write: _Write) -> None:
        """The first of those that are unsent. It keeps its number until it is known to be there."""
        self._raise_if_lost()
        try:
            await self._store.record(
                self.fence,
                write.events,
                self._clock.now(),
                step=write.step,
                has_diff=write.has_diff,
                write=self._written + 1,
            )
        except LeaseLost as lost:
            self._lost = lost
            raise
        except ConfigurationError:
            self._arrived.set()  # the flusher tries it again
            raise
        self._unsent.popleft()
        self._written += 1
        self._signals.notify(self.fence.run_id)

    def clean(self, text: str) -> str:
        """`text` without the run's secrets."""
        return self._redactor.text(text)

    def clean_answer(self, answer: StructuredOutput | None) -> StructuredOutput | None:
        """A structured answer without the run's secrets."""
        if answer is None:
            return None
        return replace(answer, output=self._redactor.text(answer.output), thinking=self._redactor.text(answer.thinking))

    def _raise_if_lost(self) -> None:
        if self._lost is not None:
            raise self._lost

    def _clean(self, draft: Draft) -> Draft:
        return replace(draft, data=self._redactor.object(draft.data))

    def _clean_step(self, step: StepUpdate | None) -> StepUpdate | None:
        if step is None:
            return None
        return replace(
            step,
            output=self._redactor.text(step.output) if step.output is not None else None,
            failure_details=self._redactor.text(step.failure_details) if step.failure_details is not None else None,
            structured_output=self.clean_answer(step.structured_output),
            validation=None if step.validation is None else tuple(map(self._clean_result, step.validation)),
        )

    def _clean_result(self, result: CommandResult) -> CommandResult:
        clean = self._redactor.text
        return replace(result, command=clean(result.command), output=clean(result.output))

    async def _flush_batches(self) -> None:
        while True:
            await self._arrived.wait()
            await asyncio.sleep(BATCH_SECONDS)
            with suppress(ConfigurationError):  # `record` has said so; they wait for the next attempt
                await self.record()
