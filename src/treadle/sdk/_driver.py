"""Carries out what flows command, synchronously."""

from collections.abc import Callable, Iterator
from contextlib import closing
from types import TracebackType
from typing import Self, TypeVar

import httpx2

from treadle.sdk import _flows as flows
from treadle.sdk._calls import Call
from treadle.sdk._connection import Connection
from treadle.sdk._flows import Command, Emit, Feed, Flow, Open, Read, Reply, Retry, Send

T = TypeVar("T")


class Driver:
    """Carries out what flows command."""

    def __init__(
        self, connection: Connection, http: httpx2.Client, sleep: Callable[[float], None], retry: Retry
    ) -> None:
        self.retry = retry
        self._connection = connection
        self._http = http
        self._sleep = sleep

    def call(self, call: Call[T]) -> T:
        return self.run(flows.send(call, self.retry))

    def run(self, flow: Flow[T]) -> T:
        with closing(flow), Exchange(self._connection, self._http, self._sleep) as exchange:
            try:
                command = next(flow)
                while True:
                    try:
                        reply = exchange.perform(command)
                    except httpx2.RequestError as error:
                        command = flow.throw(error)
                    else:
                        command = flow.send(reply)
            except StopIteration as end:
                result: T = end.value
                return result

    def iterate(self, feed: Feed[T]) -> Iterator[T]:
        with closing(feed), Exchange(self._connection, self._http, self._sleep) as exchange:
            try:
                command = next(feed)
                while True:
                    if isinstance(command, Emit):
                        yield command.value
                        command = next(feed)
                        continue
                    try:
                        reply = exchange.perform(command)
                    except httpx2.RequestError as error:
                        command = feed.throw(error)
                    else:
                        command = feed.send(reply)
            except StopIteration:
                return


class Exchange:
    """One flow's traffic: at most one open stream, closed at the end of the block."""

    def __init__(self, connection: Connection, http: httpx2.Client, sleep: Callable[[float], None]) -> None:
        self._connection = connection
        self._http = http
        self._sleep = sleep
        self._response: httpx2.Response | None = None
        self._pieces: Iterator[str] = iter(())

    def perform(self, command: Command) -> Reply:
        if isinstance(command, Read):
            return next(self._pieces, None)
        self._close()
        if isinstance(command, Send):
            with self._connection.built(self._http, command.request) as request:
                return self._http.send(request)
        if isinstance(command, Open):
            return self._open(command)
        self._sleep(command.seconds)
        return None

    def _open(self, command: Open) -> httpx2.Response:
        with self._connection.built(self._http, command.request, read_seconds=command.read_seconds) as request:
            self._response = response = self._http.send(request, stream=True)
        if response.is_success:
            self._pieces = response.iter_text()
        else:
            response.read()
        return response

    def _close(self) -> None:
        """Whatever comes after a stream, but its next piece, has no use for it any more."""
        if self._response is not None:
            self._response.close()
            self._response, self._pieces = None, iter(())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
