"""What both clients do with agent runs. Generators like those of `_flows`."""

from collections.abc import Callable
from math import inf
from sys import maxsize
from typing import Protocol, TypeVar

from treadle.sdk import _agent_calls as calls
from treadle.sdk._agent_calls import LogPage, Page
from treadle.sdk._agent_models import AgentLog, AgentRun
from treadle.sdk._calls import Call
from treadle.sdk._errors import AgentWaitTimeoutError, NotFoundError, RateLimitedError
from treadle.sdk._flows import LONGEST_PAUSE, PAGE_SIZE, Emit, Feed, Flow, Retry, Sleep, send
from treadle.sdk._organization_models import CheckSuiteSettings
from treadle.sdk._wire import JsonValue

T = TypeVar("T")


class Numbered(Protocol):
    """What is in a list."""

    @property
    def id(self) -> int: ...


N = TypeVar("N", bound=Numbered)


class Home:
    """The organization of calls that name none: the first that the key may see, asked for once."""

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self._found: int | None = None

    def of(self, given: int | None) -> Flow[int]:
        """Raises NotFoundError when the key has none."""
        if given is not None:
            return given
        if self._found is None:
            page = yield from send(calls.organizations(0, 1), self._retry)
            if not page.items:
                raise NotFoundError("The key belongs to no organization.")
            self._found = page.items[0].id
        return self._found

    def call(self, given: int | None, call: Callable[[int], Call[T]]) -> Flow[T]:
        """The result of a call to the organization."""
        organization = yield from self.of(given)
        return (yield from send(call(organization), self._retry))

    def pages(self, given: int | None, ask: Callable[[int, int, int], Call[Page[N]]], limit: int | None) -> Feed[N]:
        """Every item, or the first `limit`, a page at a time; `ask` takes the organization, skip and limit."""
        organization = yield from self.of(given)
        yield from pages(lambda skip, size: ask(organization, skip, size), limit, self._retry)

    def logs(self, given: int | None, run_id: int, skip: int, *, reverse: bool) -> Feed[AgentLog]:
        organization = yield from self.of(given)

        def ask(skip: int) -> Call[LogPage]:
            return calls.logs(organization, run_id, skip, PAGE_SIZE, reverse=reverse)

        yield from _newest_first(ask, skip, self._retry) if reverse else _oldest_first(ask, skip, self._retry)

    def follow(self, given: int | None, run_id: int, skip: int, poll: float) -> Feed[AgentLog]:
        organization = yield from self.of(given)
        yield from _as_it_grows(
            lambda skip: calls.logs(organization, run_id, skip, PAGE_SIZE, reverse=False), skip, poll, self._retry
        )

    def wait(
        self, given: int | None, run_id: int, timeout: float | None, poll: float, clock: Callable[[], float]
    ) -> Flow[AgentRun]:
        """The run when it has ended."""
        organization = yield from self.of(given)
        end = inf if timeout is None else clock() + timeout
        while True:
            run = yield from _patiently(calls.get(organization, run_id), self._retry, end, clock)
            if run.is_finished:
                return run
            left = end - clock()
            if left <= 0:
                raise AgentWaitTimeoutError(f"Agent run {run.id} is still {run.status} after {timeout:g} s.", run=run)
            yield Sleep(min(poll, left))

    def update_check_suite_settings(
        self, given: int | None, repository: int, body: dict[str, JsonValue]
    ) -> Flow[CheckSuiteSettings]:
        """The settings as they are then: the answer to the change has no promised form."""
        organization = yield from self.of(given)
        yield from send(calls.update_check_suite_settings(organization, repository, body), self._retry)
        return (yield from send(calls.check_suite_settings(organization, repository), self._retry))


def pages(ask: Callable[[int, int], Call[Page[N]]], limit: int | None, retry: Retry) -> Feed[N]:
    """What is new pushes the rest to the next page: nothing comes twice."""
    seen = set[int]()
    skip = 0
    while limit is None or len(seen) < limit:
        size = PAGE_SIZE if limit is None else min(PAGE_SIZE, limit - len(seen))
        page = yield from send(ask(skip, size), retry)
        for item in page.items:
            if item.id not in seen:
                seen.add(item.id)
                yield Emit(item)
        if len(page.items) < size:
            return
        skip += len(page.items)


def _oldest_first(ask: Callable[[int], Call[LogPage]], skip: int, retry: Retry) -> Feed[AgentLog]:
    """The entries that there are. New ones come at the end, and move no other."""
    while True:
        page = yield from send(ask(skip), retry)
        yield from _each(page)
        if len(page.items) < PAGE_SIZE:
            return
        skip += len(page.items)


def _newest_first(ask: Callable[[int], Call[LogPage]], skip: int, retry: Retry) -> Feed[AgentLog]:
    """New entries push the others to the next page, so they are told apart by their place from the oldest, which
    stays."""
    oldest = maxsize  # the place, from 0, of the oldest one that came
    while True:
        page = yield from send(ask(skip), retry)
        for place, entry in enumerate(page.items, start=skip + 1):
            if page.total - place < oldest:
                oldest = page.total - place
                yield Emit(entry)
        if len(page.items) < PAGE_SIZE:
            return
        skip = max(0, page.total - oldest)


def _as_it_grows(ask: Callable[[int], Call[LogPage]], skip: int, poll: float, retry: Retry) -> Feed[AgentLog]:
    """Entries until the run has ended and all have come."""
    is_over = False
    while True:
        page = yield from _patiently(ask(skip), retry)
        yield from _each(page)
        skip += len(page.items)
        if len(page.items) == PAGE_SIZE:
            continue
        # The run may have ended after its entries were read: what is read once more, afterwards, is all.
        if is_over and page.run.is_finished:
            return
        is_over = page.run.is_finished
        if not is_over:
            yield Sleep(poll)


def _each(page: LogPage) -> Feed[AgentLog]:
    for entry in page.items:
        yield Emit(entry)


def _patiently(call: Call[T], retry: Retry, end: float = inf, clock: Callable[[], float] = lambda: 0.0) -> Flow[T]:
    """The call's result. Who waits anyway gives way to others of the same key for as long as it takes, to `end`."""
    while True:
        try:
            return (yield from send(call, retry))
        except RateLimitedError as error:
            pause = retry.pause(retry.times + 1, error.retry_after)
            if (error.retry_after or 0.0) > LONGEST_PAUSE or clock() + pause > end:
                raise
            yield Sleep(pause)
