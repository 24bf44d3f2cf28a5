"""Following a process: its events, and waiting for its end. Generators like those of `_flows`."""

from collections.abc import Callable
from math import inf
from typing import cast
from uuid import UUID

import httpx2

from treadle.sdk import _calls as calls
from treadle.sdk._errors import TreadleApiError, UnexpectedAnswerError, WaitTimeoutError
from treadle.sdk._flows import LONGEST_PAUSE, PASSING, Emit, Feed, Flow, Open, Read, Retry, Sleep, send
from treadle.sdk._models import Event, Process
from treadle.sdk._sse import SseDecoder

#: Longer than a server leaves a stream without a sign of life.
_READ_SECONDS = 45.0
#: The same for `wait`, which may look at the process instead: something between may be holding the stream back.
_WAIT_READ_SECONDS = 20.0
#: Before a stream that ended by itself is opened again.
_REOPEN_SECONDS = 0.5

_PAGE_SIZE = 1000


def past_events(process_id: UUID | str, after: int, retry: Retry) -> Feed[Event]:
    """The events that there are."""
    while True:
        page = yield from send(calls.event_page(process_id, after, _PAGE_SIZE), retry)
        for event in page:
            yield Emit(event)
        if len(page) < _PAGE_SIZE:
            return
        after = page[-1].number


def events(process_id: UUID | str, after: int, retry: Retry) -> Feed[Event]:
    """Events as they happen, until the last one. A broken stream is taken up where it broke."""
    failures = 0
    while True:
        stream = _Stream(after)
        asked: float | None = None
        try:
            yield from _open(stream, process_id, _READ_SECONDS, retry)
            while (batch := (yield from stream.read())) is not None:
                for event in batch:
                    failures, after = 0, event.number
                    yield Emit(event)
                    if event.is_terminal:
                        return
        except httpx2.RequestError as error:
            failure = retry.unreachable(error)
            failure.__cause__ = error
        except TreadleApiError as error:
            if error.status not in PASSING:
                raise
            failure, asked = error, getattr(error, "retry_after", None)
        else:
            # The server ended it, to restart or because there is nothing more to come.
            if stream.is_empty and (yield from send(calls.get(process_id), retry)).is_finished:
                return
            yield Sleep(_REOPEN_SECONDS)
            continue
        failures += 1
        if failures > retry.times or (asked or 0.0) > LONGEST_PAUSE:
            raise failure
        yield Sleep(retry.pause(failures, asked))


def wait(
    process_id: UUID | str, timeout: float | None, poll: float, retry: Retry, clock: Callable[[], float]
) -> Flow[Process]:
    """The process when it has ended. Listens to its events; where there is no stream, looks at it every `poll`
    seconds."""
    end = inf if timeout is None else clock() + timeout
    last, is_streaming = 0, True
    while True:
        process = yield from send(calls.get(process_id), retry)
        if process.is_finished:
            return process
        left = end - clock()
        if left <= 0:
            raise WaitTimeoutError(
                f"Process {process.id} is still {process.status} after {timeout:g} seconds.", process=process
            )
        stream, is_silent = _Stream(last), False
        if is_streaming:
            try:
                yield from _listen(stream, process_id, min(_WAIT_READ_SECONDS, left), end, retry, clock)
            except httpx2.ReadTimeout:
                is_silent = True  # which was pause enough
            except httpx2.RequestError:
                pass
            except TreadleApiError as error:
                is_streaming = error.status in PASSING
        last = stream.last
        if not (is_silent or stream.is_over):
            yield Sleep(max(0.0, min(poll, end - clock())))


def _listen(
    stream: "_Stream",
    process_id: UUID | str,
    seconds: float,
    end: float,
    retry: Retry,
    clock: Callable[[], float],
) -> Flow[None]:
    """Until the last event, the end of the stream, or the end of the time."""
    yield from _open(stream, process_id, seconds, retry)
    while not stream.is_over and clock() < end:
        if (yield from stream.read()) is None:
            return


def _open(stream: "_Stream", process_id: UUID | str, seconds: float, retry: Retry) -> Flow[None]:
    response = cast("httpx2.Response", (yield Open(calls.event_stream(process_id, stream.last), seconds)))
    if not response.is_success:
        raise retry.error(response)
    if response.status_code == httpx2.codes.NO_CONTENT:
        return  # there is nothing to come, and nothing to read
    kind = response.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != calls.EVENT_STREAM:
        raise UnexpectedAnswerError(
            f"{retry.connection.base_url} answered {kind or 'nothing'} instead of a stream of events."
        )


class _Stream:
    """One connection's events."""

    def __init__(self, after: int) -> None:
        self.last = after
        self.is_empty = True
        self.is_over = False  # the last event came
        self._decoder = SseDecoder()

    def read(self) -> Flow[list[Event] | None]:
        """The events in the next piece of text, none of which came before; None at the end."""
        text = cast("str | None", (yield Read()))
        if text is None:
            return None
        try:
            sent = [Event.read(message.json()) for message in self._decoder.feed(text)]
        except ValueError as error:
            raise UnexpectedAnswerError(f"An event is not one of Treadle's: {error}") from error
        found: list[Event] = []
        for event in sent:
            if event.number > self.last:
                found.append(event)
                self.last, self.is_empty = event.number, False
                self.is_over |= event.is_terminal
        return found
