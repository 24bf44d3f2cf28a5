"""The proxy on its socket, servers on loopback that stand in for the internet, and what a client gets of them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from treadle.domain.network import NetworkPolicy
from treadle.egress import EgressProxy
from treadle.egress.line import Patience
from treadle.ports.gateway import Connection

#: For what takes no time, on a machine that is busy.
PATIENCE = 120.0

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Names:
    """A name server: each name's answers, one after the other; the last one stays."""

    known: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def look_up(self, host: str, _: int) -> Sequence[str]:
        self.asked.append(host)
        if host.endswith(".nowhere.test"):
            raise OSError("no such host")
        answers = self.known.get(host, [["127.0.0.1"]])
        return answers[min(self.asked.count(host), len(answers)) - 1]


@dataclass
class Told:
    """The run's trace."""

    connections: list[Connection] = field(default_factory=list)

    async def __call__(self, connection: Connection) -> None:
        self.connections.append(connection)


@dataclass(frozen=True)
class Door:
    """The proxy for one run."""

    path: Path
    told: Told

    async def dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(self.path)

    async def say(self, request: bytes) -> bytes:
        """All that comes back."""
        async with asyncio.timeout(PATIENCE):
            reader, writer = await self.dial()
            try:
                writer.write(request)
                with suppress(ConnectionError):
                    await writer.drain()
                return await _rest(reader)
            finally:
                await hang_up(writer)

    async def tunnel(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await self.dial()
        writer.write(connect(host, port))
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        assert head.startswith(b"HTTP/1.1 200 "), head
        return reader, writer


def connect(host: str, port: int) -> bytes:
    return f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def _rest(reader: asyncio.StreamReader) -> bytes:
    found = b""
    with suppress(ConnectionError):
        while piece := await reader.read(1 << 16):
            found += piece
    return found


@asynccontextmanager
async def door(
    policy: str = "full",
    *,
    names: Names | None = None,
    told: Told | None = None,
    patience: Patience | None = None,
    max_connections: int = 256,
) -> AsyncIterator[Door]:
    """With everything on loopback taken for the internet."""
    told = told or Told()
    proxy = EgressProxy(
        look_up=(names or Names()).look_up,
        is_open=lambda _: True,
        patience=patience,
        max_connections=max_connections,
    )
    async with proxy.open(NetworkPolicy.parse(policy), told) as path:
        yield Door(path, told)


@asynccontextmanager
async def server(handler: Handler) -> AsyncIterator[int]:
    """Its port, on loopback."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.transport.abort()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends all back, and ends when the other side has."""
    while piece := await reader.read(1 << 16):
        writer.write(piece)
        await writer.drain()
    writer.write_eof()
    await writer.drain()


def answering(answer: bytes, heard: list[bytes] | None = None) -> Handler:
    """A server that reads a request's head, and its body if it has a length, then gives `answer` and hangs up."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lower = head.lower()
        if b"content-length: " in lower:
            head += await reader.readexactly(int(lower.split(b"content-length: ")[1].split(b"\r\n")[0]))
        elif b"transfer-encoding: chunked" in lower:
            head += await reader.readuntil(b"0\r\n\r\n")
        if heard is not None:
            heard.append(head)
        writer.write(answer)
        await writer.drain()
        writer.write_eof()
        await reader.read()  # until it is hung up

    return handle
