"""MCP's official client at every door of a service: streamable HTTP in both of its generations, and `treadle mcp`."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal

import httpx2
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from tests.support.cli import PATIENCE_SECONDS, TREADLE

Door = Literal["http", "http of before", "stdio", "stdio of before"]

DOORS: tuple[Door, ...] = ("http", "http of before", "stdio", "stdio of before")

Json = dict[str, Any]  # what tests read of answers; they assert on every field they use


class Told:
    """What a client's progress callback heard."""

    def __init__(self) -> None:
        self.numbers: list[float] = []
        self.totals: set[float | None] = set()
        self.messages: list[str] = []
        self._news = asyncio.Event()

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        self.totals.add(total)
        self.numbers.append(progress)
        self.messages.append(message or "")
        self._news.set()

    async def heard(self, text: str) -> None:
        """Until some message has had that in it."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not any(text in said for said in self.messages):
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def connected(door: Door, url: str, key: str) -> AsyncIterator[Client]:
    """`url`: the service's."""
    mode = "legacy" if "before" in door else "auto"
    if door.startswith("stdio"):
        server = StdioServerParameters(
            command=str(TREADLE), args=["mcp"], env={"TREADLE_URL": url, "TREADLE_API_KEY": key}
        )
        async with Client(server, mode=mode) as client:
            yield client
        return
    async with (
        httpx2.AsyncClient(headers={"X-Api-Key": key}, timeout=PATIENCE_SECONDS) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


async def call(client: Client, tool: str, told: Told | None = None, /, **arguments: object) -> Json:
    """What the tool answers, as structured content."""
    answer = await client.call_tool(tool, arguments, progress_callback=told)
    assert not answer.is_error, (tool, answer.content)
    assert isinstance(answer.structured_content, Mapping), (tool, answer)
    return dict(answer.structured_content)


async def refused(client: Client, tool: str, told: Told | None = None, /, **arguments: object) -> str:
    """What it says instead of an answer."""
    answer = await client.call_tool(tool, arguments, progress_callback=told)
    assert answer.is_error, (tool, answer)
    (content,) = answer.content
    assert content.type == "text"
    assert "Traceback" not in content.text
    return content.text
