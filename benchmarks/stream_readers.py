"""Many readers of one event stream in one thread: each event's age when it arrives."""

import asyncio
import json
import time
from datetime import datetime
from urllib.parse import urlsplit


class Readers:
    """`count` connections to `url`."""

    def __init__(self, url: str, key: str, count: int) -> None:
        self._url = urlsplit(url)
        self._key = key
        self._count = count
        self._chunks: list[list[tuple[float, bytes]]] = [[] for _ in range(count)]

    def read(self) -> None:
        """Until every stream has ended."""
        asyncio.run(self._read())

    def lags(self, kind: str) -> list[float]:
        """Seconds between an event's date and its arrival, for every event of that type and every reader. Computed
        afterwards, so that counting delays nothing."""
        return [lag for chunks in self._chunks for lag in _lags(chunks, kind)]

    async def _read(self) -> None:
        await asyncio.gather(*(self._one(chunks) for chunks in self._chunks))

    async def _one(self, chunks: list[tuple[float, bytes]]) -> None:
        reader, writer = await asyncio.open_connection(self._url.hostname, self._url.port)
        head = f"GET {self._url.path} HTTP/1.1\r\nHost: x\r\nX-Api-Key: {self._key}\r\nAccept: text/event-stream\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode())
        while data := await reader.read(1 << 16):
            chunks.append((time.time(), data))
        writer.close()
        await writer.wait_closed()


def _lags(chunks: list[tuple[float, bytes]], kind: str) -> list[float]:
    found = []
    text = bytearray()
    for at, data in chunks:
        text += data
        *frames, rest = bytes(text).split(b"\n\n")
        text = bytearray(rest)
        for frame in frames:
            for line in frame.splitlines():
                if line.startswith(b"data:"):
                    event = json.loads(line[5:])
                    if event["type"] == kind:
                        found.append(at - datetime.fromisoformat(event["date"]).timestamp())
    return found
