"""(k) A model request through the gateway beside none: its first byte, its stream, and many at once."""

import asyncio
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection

from benchmarks.measure import Row, ratio
from treadle.clock import SystemClock
from treadle.domain.credentials import EngineCredential, OAuthLicense
from treadle.domain.run import EngineName
from treadle.gateway import build
from treadle.ports.gateway import ModelAnswer, Renew
from treadle.settings import Settings

REQUESTS, ROUNDS, STREAMED, PARALLEL = 300, 7, 32 * 1024 * 1024, 16

_DELTA = b'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 0, "delta": %b}\n\n'
_EVENT = _DELTA % json.dumps({"type": "text_delta", "text": "the next few words "}).encode()
_USAGE = {"input_tokens": 10, "output_tokens": 20}
_START = b"data: %b\n\n" % json.dumps({"type": "message_start", "message": {"model": "m", "usage": _USAGE}}).encode()
_END = b"data: %b\n\n" % json.dumps({"type": "message_delta", "usage": _USAGE}).encode()
_PIECE = _EVENT * 100


class _Free:
    """An account that is never asked to pay."""

    async def credential(self) -> EngineCredential:
        return EngineCredential(api_key="sk-of-a-benchmark")

    async def renewed(self, used: EngineCredential, new: EngineCredential) -> None: ...

    async def permit(self, under_way_usd: float = 0.0) -> bool:  # noqa: ARG002 - no budget
        return True

    async def charge(self, answer: ModelAnswer) -> None: ...


class _Unlicensed:
    """What renews no license, since the account has none."""

    async def once(self, used: OAuthLicense, renew: Renew) -> OAuthLicense | None: ...


@dataclass(frozen=True)
class _Way:
    """To the model: a TCP port, or a socket with a token."""

    port: int = 0
    socket: str = ""
    token: str = "none"

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.socket:
            return await asyncio.open_unix_connection(self.socket)
        return await asyncio.open_connection("127.0.0.1", self.port)

    def request(self, size: int, thinking: float = 0.0) -> bytes:
        """As large as a CLI's first one. `size`: of the answer; `thinking`: seconds before it."""
        asked = {"model": "m", "stream": True, "size": size, "thinking": thinking, "text": "x" * 40_000}
        body = json.dumps(asked).encode()
        head = f"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nx-api-key: {self.token}\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def rows() -> Iterator[Row]:
    with _process(_serve_model) as model, _process(partial(_serve_gateway, model.port)) as gateway:
        ways = {"none": model, "the gateway": gateway}
        for name, unit, take, scale in (
            ("first byte", "ms", partial(_first_byte, count=REQUESTS, thinking=0.0), 1e3),
            ("first byte of a model that thinks 0.3 s", "ms", partial(_first_byte, count=3, thinking=0.3), 1e3),
            ("a stream of 32 MiB, in pieces of 100 events", "s", partial(_stream, size=STREAMED), 1.0),
            (f"{PARALLEL} streams of 2 MiB at once", "s", partial(_streams, size=STREAMED // PARALLEL), 1.0),
        ):
            yield from _compared(name, unit, take, scale, ways)


def _compared(
    name: str, unit: str, take: Callable[[_Way], float], scale: float, ways: Mapping[str, _Way]
) -> Iterator[Row]:
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, found in ways.items():
            taken[way].append(take(found))
    for way, times in taken.items():
        yield Row(f"{name}, through {way}", statistics.median(times) * scale, unit)
    added = statistics.median(a - b for a, b in zip(taken["the gateway"], taken["none"], strict=True))
    yield Row(f"{name}: added", added * scale, unit)
    yield Row(f"{name}: ratio", ratio(taken["the gateway"], taken["none"]))


def _first_byte(way: _Way, count: int, thinking: float) -> float:
    """Seconds, the median over requests on one connection."""

    async def ask() -> float:
        reader, writer = await way.connect()
        request, times = way.request(0, thinking), []
        for _ in range(count):
            began = time.perf_counter()
            writer.write(request)
            first = await reader.read(1)
            times.append(time.perf_counter() - began)
            await _rest(reader, first)
        writer.close()
        return statistics.median(times)

    return asyncio.run(ask())


def _stream(way: _Way, size: int) -> float:
    return asyncio.run(_read_one(way, size))


def _streams(way: _Way, size: int) -> float:
    async def all_of_them() -> float:
        began = time.perf_counter()
        await asyncio.gather(*(_read_one(way, size) for _ in range(PARALLEL)))
        return time.perf_counter() - began

    return asyncio.run(all_of_them())


async def _read_one(way: _Way, size: int) -> float:
    began = time.perf_counter()
    reader, writer = await way.connect()
    writer.write(way.request(size))
    await _rest(reader, b"")
    writer.close()
    return time.perf_counter() - began


async def _rest(reader: asyncio.StreamReader, first: bytes) -> None:
    tail = first
    while not tail.endswith(b"\r\n0\r\n\r\n"):
        tail = (tail + await reader.read(1 << 18))[-16:]


async def _model(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers with as many events as it is asked for, and does little else."""
    while head := await _head(reader):
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        asked = json.loads(await reader.readexactly(length))
        await asyncio.sleep(asked["thinking"])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"%x\r\n%s\r\n" % (len(_START), _START))
        for _ in range(asked["size"] // len(_PIECE)):
            writer.write(b"%x\r\n%s\r\n" % (len(_PIECE), _PIECE))
            await writer.drain()
        writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(_END), _END))
        await writer.drain()
    writer.close()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


async def _serve_model(tell: Connection) -> None:
    async with await asyncio.start_server(_model, "127.0.0.1", 0) as server:
        tell.send(_Way(port=server.sockets[0].getsockname()[1]))
        await asyncio.to_thread(tell.recv)


async def _serve_gateway(port: int, tell: Connection) -> None:
    gateway = build(Settings.load({}, claude_base_url=f"http://127.0.0.1:{port}"), SystemClock(), _Unlicensed())
    async with gateway.open(EngineName.CLAUDE, _Free()) as door:
        tell.send(_Way(socket=str(door.door.socket), token=door.token))
        await asyncio.to_thread(tell.recv)
    await gateway.aclose()


def _run(serve: Callable[[Connection], Coroutine[None, None, None]], tell: Connection) -> None:
    asyncio.run(serve(tell))


@contextmanager
def _process(serve: Callable[[Connection], Coroutine[None, None, None]]) -> Iterator[_Way]:
    """Another process, so that nobody's work is counted twice; the way to it, as it tells."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(serve, theirs))
    process.start()
    try:
        yield _told(ours)
    finally:
        ours.send(None)
        process.join()


def _told(tell: Connection) -> _Way:
    found = tell.recv()
    assert isinstance(found, _Way)
    return found
