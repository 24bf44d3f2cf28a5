"""What both clients do, as generators that open nothing and wait for nothing: they yield commands, and a client's
driver carries each out and sends the outcome back, or throws the transport's error in.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar, cast
from uuid import UUID

import httpx2

from treadle.sdk import _calls as calls
from treadle.sdk._calls import Call, Request, Statuses
from treadle.sdk._connection import Connection
from treadle.sdk._errors import (
    ConflictError,
    ConnectionFailedError,
    NotFoundError,
    TreadleApiError,
    UnexpectedAnswerError,
    error_of,
)
from treadle.sdk._models import Process, ProcessStatus

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Send:
    """Send it and read the whole answer."""

    request: Request


@dataclass(frozen=True, slots=True)
class Open:
    """Send it and leave the answer's body to `Read`. An earlier one is closed. A body that is silent for `read_seconds`
    is a httpx2.ReadTimeout."""

    request: Request
    read_seconds: float


@dataclass(frozen=True, slots=True)
class Read:
    """The next piece of text of what was opened, None at its end."""


@dataclass(frozen=True, slots=True)
class Sleep:
    seconds: float


@dataclass(frozen=True, slots=True)
class Emit(Generic[T]):
    """Hand it to whoever iterates."""

    value: T


Command: TypeAlias = Send | Open | Read | Sleep
Reply: TypeAlias = httpx2.Response | str | None
#: Ends in a value.
Flow: TypeAlias = Generator[Command, Reply, T]
#: Emits values on its way.
Feed: TypeAlias = Generator[Command | Emit[T], Reply, None]

#: Answers that may be another tomorrow.
PASSING = frozenset({429, 502, 503, 504})
#: Failures before anything was sent.
_UNSENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
#: A server that asks for a longer pause than this is obeyed by giving up.
LONGEST_PAUSE = 60.0

PAGE_SIZE = 100


@dataclass(frozen=True, slots=True)
class Retry:
    """`times`: further attempts after the first. `random()` is uniform in [0, 1)."""

    times: int
    random: Callable[[], float]
    connection: Connection

    def pause(self, attempt: int, asked: float | None = None) -> float:
        """Seconds before the next attempt, after `attempt` failed ones: doubling from half a second to eight, spread so
        that clients which failed together do not return together; never less than the server asked for."""
        spread = 0.5 + self.random() / 2
        return (asked or 0.0) + min(8.0, 0.5 * 2.0 ** (attempt - 1)) * spread

    def error(self, response: httpx2.Response) -> TreadleApiError:
        return error_of(
            response.status_code, response.headers, response.content, is_anonymous=self.connection.is_anonymous
        )

    def unreachable(self, error: httpx2.RequestError) -> TreadleApiError:
        said = str(error) or type(error).__name__
        if isinstance(error, httpx2.DecodingError):
            return UnexpectedAnswerError(f"The answer of {self.connection.base_url} cannot be read: {said}.")
        if isinstance(error, _UNSENT):
            return ConnectionFailedError(
                f"Treadle cannot be reached at {self.connection.base_url}: {said}.",
                hint="Is `treadle serve` running there? base_url=… or TREADLE_URL names another address.",
            )
        return ConnectionFailedError(f"The connection to {self.connection.base_url} broke: {said}.")


def send(call: Call[T], retry: Retry) -> Flow[T]:
    """The call's result, after as many attempts as it may take."""
    attempt = 0
    while True:
        attempt += 1
        try:
            response = cast("httpx2.Response", (yield Send(call.request)))
        except httpx2.RequestError as error:
            failure, is_passing = retry.unreachable(error), call.is_repeatable or isinstance(error, _UNSENT)
            is_passing &= isinstance(error, httpx2.TransportError) and not isinstance(error, httpx2.UnsupportedProtocol)
            failure.__cause__ = error
        else:
            if response.is_success:
                return _read(call, response)
            failure = retry.error(response)
            status = response.status_code
            # Too many requests: this one was turned away before anything came of it.
            is_passing = status in PASSING and (call.is_repeatable or status == httpx2.codes.TOO_MANY_REQUESTS)
        failure.attempts = attempt
        asked = getattr(failure, "retry_after", None)
        if not is_passing or attempt > retry.times or (asked or 0.0) > LONGEST_PAUSE:
            raise failure
        yield Sleep(retry.pause(attempt, asked))


def _read(call: Call[T], response: httpx2.Response) -> T:
    try:
        return call.read(response)
    except ValueError as error:
        raise UnexpectedAnswerError(
            f"The answer of {response.request.url.copy_with(query=None)} is not one of Treadle's: {error}",
            status=response.status_code,
            hint="Is Treadle at that address, and of this SDK's version?",
        ) from error


def delete_file(file_id: UUID | str, retry: Retry) -> Flow[None]:
    """When the first answer got lost, the next may say that there is no such file any more."""
    try:
        yield from send(calls.delete_file(file_id), retry)
    except NotFoundError as error:
        if error.attempts == 1:
            raise


def kill(process_id: UUID | str, retry: Retry) -> Flow[None]:
    """When the first answer got lost, the next may say that the process has ended: by this, or by itself?"""
    try:
        yield from send(calls.kill(process_id), retry)
    except ConflictError as error:
        if error.attempts == 1:
            raise
        process = yield from send(calls.get(process_id), retry)
        if process.status != ProcessStatus.KILLED:
            raise


def iterate(status: Statuses, retry: Retry) -> Feed[Process]:
    """Every process, a page at a time. Those started meanwhile push others to the next page: none comes twice."""
    seen: set[UUID] = set()
    skip = 0
    while True:
        page = yield from send(calls.processes(status, skip, PAGE_SIZE), retry)
        for process in page:
            if process.id not in seen:
                seen.add(process.id)
                yield Emit(process)
        if len(page) < PAGE_SIZE:
            return
        skip += len(page)
