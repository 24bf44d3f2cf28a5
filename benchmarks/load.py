"""A load of keep-alive connections that costs little: raw bytes over asyncio, one answer at a time each."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """What a load saw. Latencies in seconds."""

    per_second: float
    latencies: list[float]
    bodies: list[bytes]


def send(port: int, request: Callable[[int], bytes], *, connections: int, seconds: float) -> Load:
    """Sends `request(n)` over and over. Raises RuntimeError for an answer that is not 200."""
    return asyncio.run(_send(port, request, connections, seconds))


async def _send(port: int, request: Callable[[int], bytes], connections: int, seconds: float) -> Load:
    latencies: list[float] = []
    bodies: list[bytes] = []
    end = time.perf_counter() + seconds
    number = 0

    async def client() -> None:
        nonlocal number
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            while (began := time.perf_counter()) < end:
                number += 1
                writer.write(request(number))
                head = await reader.readuntil(b"\r\n\r\n")
                if not head.startswith(b"HTTP/1.1 200"):
                    raise RuntimeError(f"not 200: {head!r}")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                body = await reader.readexactly(length)
                latencies.append(time.perf_counter() - began)
                if len(bodies) < 1000:
                    bodies.append(body)
        finally:
            writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(connections)))
    return Load(len(latencies) / (time.perf_counter() - began), latencies, bodies)


def post(path: str, key: str, body: bytes) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nX-Api-Key: {key}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def get(path: str, key: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\nX-Api-Key: {key}\r\n\r\n".encode()
