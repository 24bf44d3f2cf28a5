"""Carries out what flows command, on asyncio."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import closing
from types import TracebackType
from typing import Self, TypeVar

import httpx2

from treadle.sdk import _flows as flows
from treadle.sdk._calls import Call
from treadle.sdk._connection import Connection
from treadle.sdk._flows import Command, Emit, Feed, Flow, Open, Read, Reply, Retry, Send

T = TypeVar("T")


class AsyncDriver:
    """Carries out what flows command."""

    def __init__(
        self,
        connection: Connection,
        http: httpx2.AsyncClient,
        sleep: Callable[[float], Awaitable[None]],
        retry: Retry,
    ) -> None:
        self.retry = retry
        self._connection = connection
        self._http = http
        self._sleep = sleep

    async def call(self, call: Call[T]) -> T:
        return await self.run(flows.send(call, self.retry))

    async def run(self, flow: Flow[T]) -> T:
        with closing(flow):
            async with AsyncExchange(self._connection, self._http, self._sleep) as exchange:
                try:
                    command = next(flow)
                    while True:
                        try:
                            reply = await exchange.perform(command)
                        except httpx2.RequestError as error:
                            command = flow.throw(error)
                        else:
                            command = flow.send(reply)
                except StopIteration as end:
                    result: T = end.value
                    return result

    async def iterate(self, feed: Feed[T]) -> AsyncGenerator[T, None]:
        with closing(feed):
            async with AsyncExchange(self._connection, self._http, self._sleep) as exchange:
                try:
                    command = next(feed)
                    while True:
                        if isinstance(command, Emit):
                            yield command.value
                            command = next(feed)
                            continue
                        try:
                            reply = await exchange.perform(command)
                        except httpx2.RequestError as error:
                            command = feed.throw(error)
                        else:
                            command = feed.send(reply)
                except StopIteration:
                    return


class AsyncExchange:
    """One flow's traffic: at most one open stream, closed at the end of the block."""

    def __init__(
        self, connection: Connection, http: httpx2.AsyncClient, sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._connection = connection
        self._http = http
        self._sleep = sleep
        self._response: httpx2.Response | None = None
        self._pieces: AsyncIterator[str] | None = None

    async def perform(self, command: Command) -> Reply:
        if isinstance(command, Read):
            return await anext(self._pieces, None) if self._pieces is not None else None
        await self._close()
        if isinstance(command, Send):
            with self._connection.built(self._http, command.request) as request:
                return await self._http.send(request)
        if isinstance(command, Open):
            return await self._open(command)
        await self._sleep(command.seconds)
        return None

    async def _open(self, command: Open) -> httpx2.Response:
        with self._connection.built(self._http, command.request, read_seconds=command.read_seconds) as request:
            self._response = response = await self._http.send(request, stream=True)
        if response.is_success:
            self._pieces = response.aiter_text()
        else:
            await response.aread()
        return response

    async def _close(self) -> None:
        if self._response is not None:
            await self._response.aclose()
            self._response, self._pieces = None, None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()
